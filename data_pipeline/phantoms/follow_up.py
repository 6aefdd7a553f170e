"""Second scans: the same body months later, with the disease grown, fading or moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.patients import PatientTruth
from domain.records import Case, Outcome

EARLIEST_DAYS, LATEST_DAYS = 90, 400  # first control scan (assumed)
# One-year course of treated anti-synthetase disease: improved, stable, worse (domain dossier 7.5, A); used for all.
COURSES = {"improved": 0.64, "stable": 0.28, "worse": 0.08}
GROUND_GLASS_FACTOR = {"improved": 0.4, "stable": 0.95, "worse": 1.5}
CONSOLIDATION_FACTOR = {"improved": 0.25, "stable": 0.9, "worse": 1.4}
FIBROSIS_FACTOR = {"improved": 0.95, "stable": 1.05, "worse": 1.4}


def draw_follow_up(truth: PatientTruth, share: float, rng: np.random.Generator) -> tuple[int, str] | None:
    """Day and course of a second scan; None where there is none, or the patient has left the cohort before.

    Args:
        truth: The patient.
        share: Probability of a second scan.
        rng: Generator of the patient's follow-up.
    """
    draws = rng.random(3)
    day = int(EARLIEST_DAYS + (LATEST_DAYS - EARLIEST_DAYS) * draws[1])
    if draws[0] >= share or truth.case.outcome is None or truth.case.outcome.time_days <= day:
        return None
    cumulative = np.cumsum(list(COURSES.values()))
    return day, list(COURSES)[min(int(np.searchsorted(cumulative, draws[2])), len(COURSES) - 1)]


def later_plan(plan: DiseasePlan, course: str) -> DiseasePlan:
    """The disease at the second scan. Patches are drawn anew elsewhere: organizing pneumonia migrates."""
    return replace(
        plan,
        ground_glass=min(plan.ground_glass * GROUND_GLASS_FACTOR[course], 0.85),
        consolidation=min(plan.consolidation * CONSOLIDATION_FACTOR[course], 0.5),
        reticulation=min(plan.reticulation * FIBROSIS_FACTOR[course], 0.6),
        honeycombing=min(plan.honeycombing * max(FIBROSIS_FACTOR[course], 1.0), 0.4),
    )


def later_case(case: Case, day: int) -> Case:
    """The row of the second scan: the clock starts again at its day."""
    assert case.outcome is not None, "a second scan needs a known outcome"
    rest = Outcome(round(case.outcome.time_days - day, 1), case.outcome.event)
    return replace(case, case_id=f"{case.case_id}-F1", scan=f"{case.case_id}-F1", outcome=rest)
