"""The numbers of laboratories and readers as checked settings; values and sources are in ``clinical.yaml``."""

from __future__ import annotations

from pydantic import Field

from data_pipeline.phantoms.sourced import Sourced
from domain.patterns import Pattern


class Assay(Sourced):
    """How the laboratory distorts the true antibodies; ``strongest_share`` of strong results have the last grade."""

    sensitivity: dict[str, float]
    false_positive_sample: float
    false_positive_keys: dict[str, float]
    weak_if_false: float
    weak_if_true: float
    untested_by_default: dict[str, float]
    ro52_missing: float
    panel_missing_specialist: float
    panel_missing_general: float
    general_sites: float
    weak_grade: int
    strong_grades: tuple[int, int]
    strongest_share: float
    sensitivity_of_rest: float


class Decimals(Sourced):
    """Decimals of the covariates in the table."""

    of: dict[str, int]


class ReaderErrors(Sourced):
    """How a reader's error rate depends on the scan; ``most`` is the highest rate."""

    clear: float
    unclear: float
    other_unclear: float
    most: float


class Reader(Sourced):
    """One radiologist: how often the true pattern is named."""

    name: str = Field(pattern=r"^[a-z][a-z0-9]*$")
    accuracy: float = Field(ge=0, le=1)


class ReaderConfusions(Sourced):
    """What a reader who is wrong says instead."""

    nsip: dict[Pattern, float]
    op: dict[Pattern, float]
    mixed: dict[Pattern, float]
    other: dict[Pattern, float]

    def of(self, pattern: Pattern) -> dict[Pattern, float]:
        """The wrong answers for a true pattern."""
        return {Pattern.NSIP: self.nsip, Pattern.OP: self.op, Pattern.MIXED: self.mixed, Pattern.OTHER: self.other}[
            pattern
        ]
