"""Defects by name: each code of the contract can be planted in a series the phantom writer made.

Most defects change the series. Those in ``ADDS_BESIDE`` leave it alone and put something next to it, as hospitals do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_pipeline.phantoms import content_defects, file_defects, geometry_defects, tag_defects
from data_pipeline.phantoms.series_editor import EditableSeries
from domain.errors import InputError
from domain.findings import QualityCode

Defect = Callable[[EditableSeries, np.random.Generator], None]

DEFECTS: dict[QualityCode, Defect] = {
    QualityCode.NOT_DICOM: file_defects.not_dicom,
    QualityCode.TRUNCATED: file_defects.truncated,
    QualityCode.UNREADABLE: file_defects.unreadable,
    QualityCode.NO_PIXEL_DATA: file_defects.no_pixel_data,
    QualityCode.UNSUPPORTED_TRANSFER_SYNTAX: file_defects.unsupported_transfer_syntax,
    QualityCode.LOSSY_COMPRESSED: file_defects.lossy_compressed,
    QualityCode.WRONG_TRANSFER_SYNTAX: file_defects.wrong_transfer_syntax,
    QualityCode.UNSAFE_ARCHIVE: file_defects.unsafe_archive,
    QualityCode.UNSUPPORTED_ARCHIVE: file_defects.unsupported_archive,
    QualityCode.MISSING_UID: tag_defects.missing_uid,
    QualityCode.INVALID_UID: tag_defects.invalid_uid,
    QualityCode.WRONG_MODALITY: tag_defects.wrong_modality,
    QualityCode.LOCALIZER: tag_defects.localizer,
    QualityCode.SECONDARY_CAPTURE: tag_defects.secondary_capture,
    QualityCode.DERIVED_REFORMAT: tag_defects.derived_reformat,
    QualityCode.DOSE_REPORT: tag_defects.dose_report,
    QualityCode.MIXED_PATIENTS: tag_defects.mixed_patients,
    QualityCode.SOFT_KERNEL: tag_defects.soft_kernel,
    QualityCode.UNKNOWN_KERNEL: tag_defects.unknown_kernel,
    QualityCode.SINGLE_SLICE: geometry_defects.single_slice,
    QualityCode.TOO_FEW_SLICES: geometry_defects.too_few_slices,
    QualityCode.MATRIX_TOO_SMALL: geometry_defects.matrix_too_small,
    QualityCode.MISSING_SLICES: geometry_defects.missing_slices,
    QualityCode.UNEVEN_SPACING: geometry_defects.uneven_spacing,
    QualityCode.SEQUENTIAL_ACQUISITION: geometry_defects.sequential_acquisition,
    QualityCode.GANTRY_TILT: geometry_defects.gantry_tilt,
    QualityCode.DUPLICATE_SLICES: geometry_defects.duplicate_slices,
    QualityCode.REPEATED_POSITIONS: geometry_defects.repeated_positions,
    QualityCode.MIXED_ORIENTATION: geometry_defects.mixed_orientation,
    QualityCode.MIXED_MATRIX: geometry_defects.mixed_matrix,
    QualityCode.ORIENTATION_UNKNOWN: geometry_defects.orientation_unknown,
    QualityCode.NO_GEOMETRY: geometry_defects.no_geometry,
    QualityCode.THICK_SLICES: geometry_defects.thick_slices,
    QualityCode.PRONE: geometry_defects.prone,
    QualityCode.PARTIAL_LUNG_COVERAGE: geometry_defects.partial_lung_coverage,
    QualityCode.CONTRAST_ENHANCED: content_defects.contrast_enhanced,
    QualityCode.EXPIRATORY: content_defects.expiratory,
    QualityCode.NOT_HU: content_defects.not_hu,
    QualityCode.PADDING_BELOW_AIR: content_defects.padding_below_air,
    QualityCode.NOT_CHEST: content_defects.not_chest,
    QualityCode.MASK_FAILED: content_defects.mask_failed,
    QualityCode.MASK_DOUBTFUL: content_defects.mask_doubtful,
    QualityCode.NOT_A_CT_VOLUME: content_defects.not_a_ct_volume,
    QualityCode.INCONSISTENT_SLICES: content_defects.inconsistent_slices,
}
ADDS_BESIDE: frozenset[QualityCode] = frozenset(
    {
        QualityCode.NOT_DICOM,
        QualityCode.UNREADABLE,
        QualityCode.UNSAFE_ARCHIVE,
        QualityCode.UNSUPPORTED_ARCHIVE,
        QualityCode.LOCALIZER,
        QualityCode.SECONDARY_CAPTURE,
        QualityCode.DERIVED_REFORMAT,
        QualityCode.DOSE_REPORT,
        QualityCode.WRONG_MODALITY,
    }
)


def defect_names() -> tuple[str, ...]:
    """Every name ``plant_defect`` knows."""
    return tuple(code.value for code in DEFECTS)


def plant_defect(series_dir: Path | str, name: str, rng: np.random.Generator | None = None) -> None:
    """Plant one defect in a series, in place.

    Args:
        series_dir: Folder of one phantom series.
        name: A code of ``domain.findings.QualityCode``.
        rng: Chooses which slices are hit; a fixed one where not given.

    Raises:
        InputError: No such defect, or no phantom series in the folder.

    Example:
        >>> plant_defect("cohort/scans/P0001", "missing_slices")  # doctest: +SKIP
    """
    if name not in defect_names():
        raise InputError(f"no defect is called {name!r}; there are: {', '.join(sorted(defect_names()))}")
    generator = rng if rng is not None else np.random.default_rng(0)
    DEFECTS[QualityCode(name)](EditableSeries.load(Path(series_dir)), generator)
