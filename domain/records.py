"""What one room hands to another: a series found, a case of the cohort, a result. Plain values, no arrays of voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from domain.antibodies import AntibodyResult
from domain.covariates import CovariateValue
from domain.findings import Decision, Finding, QualityCode, Stage
from domain.patterns import Pattern

# ---------------------------------------------------------------------------------------------------- series


@dataclass(frozen=True, slots=True)
class SeriesTable:
    """One row of ``series.csv`` without the free columns: what the header says of a series, None where silent."""

    num_files: int
    num_slices: int
    rows: int | None = None
    columns: int | None = None
    row_spacing_mm: float | None = None
    column_spacing_mm: float | None = None
    slice_gap_mm: float | None = None
    slice_thickness_mm: float | None = None
    kernel: str | None = None
    patient_position: str | None = None
    phase: str | None = None
    manufacturer: str | None = None
    transfer_syntax: str | None = None


@dataclass(frozen=True, slots=True)
class SourceIdentity:
    """What identifies a person or a source. Only ever written under ``private/``."""

    study_uid: str = ""
    series_uid: str = ""
    patient_id: str = ""
    study_date: str = ""
    path: str = ""
    description: str = ""  # of the series, as typed: names have been met in it


@dataclass(frozen=True, slots=True)
class SeriesRef:
    """One series as ingestion found it: enough to read it again, nothing decoded yet.

    Attributes:
        series_key: Stable key of the series; no UID can be read off it.
        study_key: The same for its study.
        reader: Name of the reader that can read it (``dicom``, ``nifti``, ``metaimage``).
        files: Source files in slice order; ``archive.zip!member`` for a file inside an archive.
        table: Facts of the header.
        findings: What was noticed so far.
        decision: What follows from the findings.
        selected: It is the HRCT chosen for its study.
        message: Why it was chosen, or not, in plain words.
        identity: For ``private/`` only.
        frame_order: For multi-frame files: (index into ``files``, frame) per slice; empty when each file is one slice.
        alternatives: Of the selected series: the study's other usable series, best first, for when it fails.
        names_other_region: Its header names a part of the body that is not the chest.
    """

    series_key: str
    study_key: str
    reader: str
    files: Sequence[str]
    table: SeriesTable
    findings: tuple[Finding, ...] = ()
    decision: Decision = Decision.ACCEPT
    selected: bool = False
    message: str = ""
    identity: SourceIdentity = field(default_factory=SourceIdentity)
    frame_order: tuple[tuple[int, int], ...] = ()
    alternatives: tuple[SeriesRef, ...] = ()
    names_other_region: bool = False

    @property
    def codes(self) -> tuple[QualityCode, ...]:
        """Codes of the findings, each once, in order."""
        return tuple(dict.fromkeys(finding.code for finding in self.findings))


class FileStatus(StrEnum):
    """What became of a file."""

    USED = "used"
    IGNORED = "ignored"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One row of ``files.csv``."""

    path: str
    status: FileStatus
    code: QualityCode | None = None


# ---------------------------------------------------------------------------------------------------- cohort


IGNORED_PREFIX = "x_"  # of columns of a case table that a user keeps for themselves
DEFAULT_EVENT_COLUMN = "event"


@dataclass(frozen=True, slots=True)
class Outcome:
    """First event after the index CT.

    Attributes:
        time_days: Days from the index CT, >= 0.
        event: Word of the event column, ``alive`` for instance; the endpoint says what it counts as.
    """

    time_days: float
    event: str


@dataclass(frozen=True, slots=True)
class Case:
    """One patient at one index CT: a row of ``cases.csv``.

    Attributes:
        case_id: Unique in the table.
        patient_id: Splits keep a patient together.
        scan: Folder or file relative to SCANS, or a StudyInstanceUID; None when the row has no scan.
        site: Hospital or scanner site.
        pattern_votes: Reader -> pattern; empty when unlabelled.
        antibodies: Key -> result; a missing key is not tested.
        covariates: Key -> value in the canonical unit; a missing key is missing.
        outcome: From the columns ``time_days`` and ``event``; None when follow-up is unknown.
        further_outcomes: Event column -> outcome, for endpoints with columns of their own (``rp_ild_event``).
        extents_percent: Extent column of ``domain.quantities.READER_EXTENTS`` -> percent of lung a reader scored.
        grades: Column that begins with ``domain.quantities.GRADE_PREFIX`` -> a reader's ordinal grade, 0 or more.
    """

    case_id: str
    patient_id: str
    scan: str | None = None
    site: str = ""
    pattern_votes: Mapping[str, Pattern] = field(default_factory=dict)
    antibodies: Mapping[str, AntibodyResult] = field(default_factory=dict)
    covariates: Mapping[str, CovariateValue] = field(default_factory=dict)
    outcome: Outcome | None = None
    further_outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    extents_percent: Mapping[str, float] = field(default_factory=dict)
    grades: Mapping[str, int] = field(default_factory=dict)

    def outcome_in(self, event_column: str) -> Outcome | None:
        """The outcome an endpoint looks at, by the name of its event column."""
        return self.outcome if event_column == DEFAULT_EVENT_COLUMN else self.further_outcomes.get(event_column)


# ---------------------------------------------------------------------------------------------------- results

SYNTHETIC_WORDS = ("synthetic", "phantom")  # in ``trained_on``: every output then says that it is not about patients


def is_synthetic(trained_on: str) -> bool:
    """A model was trained on synthetic patients, by its own words."""
    return any(word in trained_on.casefold() for word in SYNTHETIC_WORDS)


class Record(BaseModel):
    """Base of everything written to ``cases/<case_key>.json``; its JSON Schema is published."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")


class CaseStatus(StrEnum):
    """How a study ended."""

    PREDICTED = "predicted"
    ABSTAINED = "abstained"
    REJECTED = "rejected"
    FAILED = "failed"


class FindingRecord(Record):
    """A finding as written to a file."""

    code: QualityCode
    severity: str
    message: str
    facts: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @classmethod
    def of(cls, finding: Finding) -> FindingRecord:
        """The written form of a finding."""
        return cls(
            code=finding.code, severity=finding.severity.value, message=finding.message, facts=dict(finding.facts)
        )


class PatternPrediction(Record):
    """Calibrated probabilities of the four patterns and what follows from them.

    Attributes:
        probabilities: Pattern -> probability; they add up to 1.
        pattern: The answer; None when abstained.
        pattern_set: Conformal set at ``set_level``.
        ood_score: Out-of-distribution score, 0 (like training) upward; abstains above ``ood_threshold``.
        reason: Why it abstained.
    """

    probabilities: dict[Pattern, float]
    pattern: Pattern | None
    abstained: bool
    reason: str = ""
    pattern_set: tuple[Pattern, ...]
    set_level: float
    ood_score: float
    ood_threshold: float


class HorizonRisk(Record):
    """Survival and cumulative incidence at one horizon; None where the model does not support the day."""

    days: float
    survival: float | None
    survival_lo: float | None = None
    survival_hi: float | None = None
    cumulative_incidence: dict[str, float | None] = Field(default_factory=dict)


class Contribution(Record):
    """Share of one block of inputs in a cause's log hazard at one time, against the training mean. They add up."""

    block: str
    days: float
    log_hazard: float
    cause: str = ""


class WhatIf(Record):
    """A model contrast: one antibody's state changed, all else kept. Not a treatment effect."""

    antibody: str
    status: str
    num_training_patients: int
    horizons: tuple[HorizonRisk, ...] = ()
    refused: str = ""


class EventTimeInterval(Record):
    """Conformal prediction interval for the time of the first event of any cause.

    Attributes:
        level: Nominal share of event times inside.
        measured_coverage: The same as measured on calibration patients; None where not available.
        stratum: Whom it was calibrated on: an antibody group, or ``all patients``.
        from_days: No event before this day; None where not available.
        until_days: An event by this day; None where it lies beyond the supported time.
        reason: Why it is not available.
    """

    level: float
    measured_coverage: float | None = None
    stratum: str
    from_days: float | None = None
    until_days: float | None = None
    reason: str = ""


class PrognosisPrediction(Record):
    """Answer of the prognostic head for one endpoint.

    Attributes:
        survival_means: In words, what survival is the probability of.
        curve: Survival and incidence on a fine grid, for plots.
        horizons: The same at the endpoint's horizons, with bands.
        band_level: Nominal level of the bands; ``band_coverage`` is what was measured.
        risk_group: Band of absolute risk at the endpoint's risk horizon.
        mode: ``full``, ``image_only``, ``tables_only`` or ``baseline_only``.
        plausible_range: Survival over the plausible states of the untested antibodies, where any was untested.
        event_time: Prediction interval for the time of the event; None where the model was not calibrated for one.
    """

    endpoint: str
    survival_means: str
    curve: tuple[HorizonRisk, ...]
    horizons: tuple[HorizonRisk, ...]
    band_level: float | None = None
    band_coverage: float | None = None
    risk_group: str | None = None
    mode: str
    inputs_used: tuple[str, ...]
    inputs_missing: tuple[str, ...]
    contributions: tuple[Contribution, ...] = ()
    what_if: tuple[WhatIf, ...] = ()
    plausible_range: tuple[HorizonRisk, ...] = ()
    event_time: EventTimeInterval | None = None
    notes: tuple[str, ...] = ()


class Prediction(Record):
    """All that the artefact says of one volume."""

    pattern: PatternPrediction | None = None
    prognoses: tuple[PrognosisPrediction, ...] = ()
    quantitative: dict[str, float | None] = Field(default_factory=dict)
    findings: tuple[FindingRecord, ...] = ()
    evidence_zones: dict[str, float] = Field(default_factory=dict)


class CaseResult(Record):
    """Everything about one study: ``cases/<case_key>.json``.

    Attributes:
        trained_on: What the model was trained on; ``synthetic patients`` is shown wherever the result is.
        antibodies: Antibody -> status as used.
        digests: Of input, model and graph: a result is done only for the same three.
        pictures: Files beside this one: name -> what it shows.
    """

    case_key: str
    status: CaseStatus
    trained_on: str = ""
    series_key: str = ""
    series_message: str = ""
    prediction: Prediction = Field(default_factory=Prediction)
    antibodies: dict[str, str] = Field(default_factory=dict)
    covariates: dict[str, float | str] = Field(default_factory=dict)
    scan_facts: dict[str, str | float | int | None] = Field(default_factory=dict)
    failure_stage: Stage | None = None
    failure_code: QualityCode | None = None
    failure_message: str = ""
    seconds: dict[str, float] = Field(default_factory=dict)
    digests: dict[str, str] = Field(default_factory=dict)
    pictures: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StudyTask:
    """One study to run: a selected series and the row of the case table, if there is one."""

    case_key: str
    series: SeriesRef
    case: Case | None = None
    output_dir: Path = Path()
