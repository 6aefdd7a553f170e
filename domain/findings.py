"""Typed findings about a file, series or volume. How severe a code is stands in ``configs/quality/policy.yaml``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """Steps of the flow, in order. A failure names the step it happened in."""

    DISCOVER = "discover"
    SELECT = "select"
    READ = "read"
    QUALITY = "quality"
    GRAPH = "graph"
    NETWORK = "network"
    PROGNOSIS = "prognosis"
    WRITE = "write"


class Severity(StrEnum):
    """What a finding does to the scan it is about, mildest first."""

    INFO = "info"
    WARN = "warn"
    REJECT = "reject"


class Decision(StrEnum):
    """What ingestion says of a series."""

    ACCEPT = "accept"
    WARN = "warn"
    REJECT = "reject"


class QualityCode(StrEnum):
    """Every reason the project can give. The list only grows at the end of a group; names are a contract."""

    # a file
    NOT_DICOM = "not_dicom"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    NO_PIXEL_DATA = "no_pixel_data"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    WRONG_TRANSFER_SYNTAX = "wrong_transfer_syntax"
    LOSSY_COMPRESSED = "lossy_compressed"
    MISSING_UID = "missing_uid"
    INVALID_UID = "invalid_uid"
    UNSAFE_ARCHIVE = "unsafe_archive"
    TOO_LARGE = "too_large"
    UNSUPPORTED_ARCHIVE = "unsupported_archive"
    # a series: what it is
    WRONG_MODALITY = "wrong_modality"
    LOCALIZER = "localizer"
    SECONDARY_CAPTURE = "secondary_capture"
    DERIVED_REFORMAT = "derived_reformat"
    DOSE_REPORT = "dose_report"
    NOT_A_CT_VOLUME = "not_a_ct_volume"
    MIXED_PATIENTS = "mixed_patients"
    # a series: geometry
    SINGLE_SLICE = "single_slice"
    TOO_FEW_SLICES = "too_few_slices"
    MATRIX_TOO_SMALL = "matrix_too_small"
    MISSING_SLICES = "missing_slices"
    UNEVEN_SPACING = "uneven_spacing"
    SEQUENTIAL_ACQUISITION = "sequential_acquisition"
    GANTRY_TILT = "gantry_tilt"
    DUPLICATE_SLICES = "duplicate_slices"
    REPEATED_POSITIONS = "repeated_positions"
    MIXED_ORIENTATION = "mixed_orientation"
    MIXED_MATRIX = "mixed_matrix"
    ORIENTATION_UNKNOWN = "orientation_unknown"
    NO_GEOMETRY = "no_geometry"
    # a series: acquisition
    THICK_SLICES = "thick_slices"
    SOFT_KERNEL = "soft_kernel"
    UNKNOWN_KERNEL = "unknown_kernel"
    CONTRAST_ENHANCED = "contrast_enhanced"
    PRONE = "prone"
    EXPIRATORY = "expiratory"
    # a volume: content
    NOT_HU = "not_hu"
    PADDING_BELOW_AIR = "padding_below_air"
    PARTIAL_LUNG_COVERAGE = "partial_lung_coverage"
    NOT_CHEST = "not_chest"
    MASK_FAILED = "mask_failed"
    MASK_DOUBTFUL = "mask_doubtful"
    INCONSISTENT_SLICES = "inconsistent_slices"
    MASK_LEAK = "mask_leak"
    MASK_HOLES = "mask_holes"
    DENSE_LUNG_MISSED = "dense_lung_missed"
    # a run
    DECODER_CRASHED = "decoder_crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    NO_USABLE_SERIES = "no_usable_series"
    SCAN_NOT_FOUND = "scan_not_found"
    AMBIGUOUS_SCAN = "ambiguous_scan"
    INTERNAL_ERROR = "internal_error"
    SERIES_PASSED_OVER = "series_passed_over"


# Reasons that lie in a run's machine, not in the scan: the next run tries such a study again.
RUN_CODES = frozenset(
    {QualityCode.DECODER_CRASHED, QualityCode.TIMED_OUT, QualityCode.OUT_OF_MEMORY, QualityCode.INTERNAL_ERROR}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing noticed, with the facts that made us say so.

    Attributes:
        code: What.
        severity: What it does to the scan, by policy.
        message: One sentence for people; no name, UID or path.
        facts: The numbers behind it; JSON scalars, unit in the key.
    """

    code: QualityCode
    severity: Severity
    message: str
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)


def decide(findings: Iterable[Finding]) -> Decision:
    """Reject where any finding rejects, warn where any warns, else accept."""
    severities = {finding.severity for finding in findings}
    if Severity.REJECT in severities:
        return Decision.REJECT
    return Decision.WARN if Severity.WARN in severities else Decision.ACCEPT
