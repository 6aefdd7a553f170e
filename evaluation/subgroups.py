"""The same metrics for parts of the cohort: antibody class and state, site, sex, age. Small parts are not shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domain.antibodies import AntibodyStatus
from domain.endpoints import Endpoint
from domain.evaluation_result import CalibrationPoint, Metric
from domain.records import Case
from evaluation.cohort import Cohort
from evaluation.intervals import FloatArray
from evaluation.pattern_part import labelled_rows, pattern_metrics
from evaluation.survival_curves import calibration_points
from evaluation.survival_part import (
    MIN_EVENTS_SUBGROUP,
    outcome_rows,
    overall_metrics,
    survival_sample,
)

AGE_EDGES_YEARS = (50.0, 65.0)
MIN_LABELLED_SUBGROUP = 10
SHOWN_ANTIBODIES = ("mda5", "ro52")  # states shown one by one; all others through the class


def subgroup_values(cohort: Cohort) -> dict[str, tuple[str, ...]]:
    """Variable -> value per case; an empty value belongs to no subgroup."""
    values = {"antibody_class": cohort.antibody_classes, "site": cohort.sites}
    for key in SHOWN_ANTIBODIES:
        values[key] = tuple(_state(case, key) for case in cohort.cases)
    values["sex"] = tuple(str(case.covariates.get("sex", "")) for case in cohort.cases)
    values |= {name: tuple(map(str, texts)) for name, texts in cohort.scanners.items() if name != "kernel"}
    values["age"] = tuple(_age_band(case) for case in cohort.cases)
    return {name: column for name, column in values.items() if len(set(column) - {""}) > 1}


def subgroup_metrics(
    cohort: Cohort, counts: FloatArray, endpoint: Endpoint, level: float, seed: int
) -> tuple[list[Metric], list[CalibrationPoint]]:
    """Pattern and survival metrics of every subgroup, and calibration by antibody class.

    Survival figures of a subgroup with fewer than ``MIN_EVENTS_SUBGROUP`` events up to its last evaluable horizon are
    suppressed and say so.
    """
    metrics: list[Metric] = []
    points: list[CalibrationPoint] = []
    for variable, column in subgroup_values(cohort).items():
        for value in sorted(set(column) - {""}):
            rows = np.array([one == value for one in column], dtype=bool)
            name = f"{variable}={value}"
            metrics += _one_subgroup(cohort, counts, rows, endpoint, (level, name, seed))
            if variable == "antibody_class":
                points += _calibration(cohort, counts, rows, endpoint, (level, name))
    return metrics, points


def _one_subgroup(
    cohort: Cohort, counts: FloatArray, rows: NDArray[np.bool_], endpoint: Endpoint, words: tuple[float, str, int]
) -> list[Metric]:
    level, name, seed = words
    part, part_counts = cohort.take(rows), counts[:, rows]
    metrics: list[Metric] = []
    if labelled_rows(part).sum() >= MIN_LABELLED_SUBGROUP:
        metrics += pattern_metrics(part, part_counts, level, name, seed)
    sample = survival_sample(part, part_counts, endpoint) if outcome_rows(part).any() else None
    return metrics + overall_metrics(sample, part, level, name, MIN_EVENTS_SUBGROUP)


def _calibration(
    cohort: Cohort, counts: FloatArray, rows: NDArray[np.bool_], endpoint: Endpoint, words: tuple[float, str]
) -> list[CalibrationPoint]:
    level, name = words
    sample = survival_sample(cohort.take(rows), counts[:, rows], endpoint)
    if sample is None or sample.num_events < MIN_EVENTS_SUBGROUP:
        return []
    return calibration_points(sample, level, name)


def _state(case: Case, key: str) -> str:
    result = case.antibodies.get(key)
    return (result.status if result is not None else AntibodyStatus.NOT_TESTED).value


def _age_band(case: Case) -> str:
    age = case.covariates.get("age")
    if age is None or isinstance(age, str):
        return ""
    return ("under_50", "50_to_64", "65_and_over")[int(np.searchsorted(AGE_EDGES_YEARS, age, side="right"))]
