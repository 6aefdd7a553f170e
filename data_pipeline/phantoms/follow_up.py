"""Second scans: the same body months later, with the disease grown, fading or moved, as the patient's risk has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_pipeline.phantoms.disease_settings import Course, FollowUpSettings, MostExtents, load_disease_settings
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.hazards import survival_and_incidence
from data_pipeline.phantoms.patients import PatientTruth
from domain.records import Case, Outcome


def draw_follow_up(truth: PatientTruth, share: float, rng: np.random.Generator) -> tuple[int, str] | None:
    """Day and course of a second scan; None where there is none, or the patient has left the cohort before.

    Args:
        truth: The patient.
        share: Probability of a second scan.
        rng: Generator of the patient's follow-up.
    """
    settings = load_disease_settings().follow_up
    draws = rng.random(3)
    day = int(settings.days.at(draws[1]))
    if draws[0] >= share or truth.case.outcome is None or truth.case.outcome.time_days <= day:
        return None
    chances = course_chances(settings, severity(settings, truth, day))
    return day, settings.courses[min(int(np.searchsorted(np.cumsum(chances), draws[2])), len(chances) - 1)].name


def severity(settings: FollowUpSettings, truth: PatientTruth, day: int) -> float:
    """How bad the course is, in deviations of the log odds of an event within the horizon; higher if one is near.

    Args:
        settings: Horizon, mean and deviation of the log odds, and what a near event adds.
        truth: The patient.
        day: Of the second scan.
    """
    survival, _ = survival_and_incidence(truth.hazards, [settings.risk.horizon_days])
    risk = float(np.clip(1 - survival[0], 1e-4, 1 - 1e-4))
    score = (float(np.log(risk / (1 - risk))) - settings.risk.mean) / settings.risk.deviation
    outcome = truth.case.outcome
    is_near = (
        outcome is not None
        and outcome.event in ("death", "progression")
        and outcome.time_days <= day + settings.soon_days.value
    )
    return score + settings.soon_adds.value * is_near


def course_chances(settings: FollowUpSettings, score: float) -> list[float]:
    """Probability of each course, in the order of the settings.

    Args:
        settings: Shares at the average risk, directions, and the tilt.
        score: See ``severity``.
    """
    weights = [
        course.share * float(np.exp(settings.tilt.value * course.direction * score)) for course in settings.courses
    ]
    return [weight / sum(weights) for weight in weights]


def later_plan(plan: DiseasePlan, course: Course, most: MostExtents) -> DiseasePlan:
    """The disease at the second scan. Where its patches are then is ``patches.move_patches``."""
    return replace(
        plan,
        ground_glass=min(plan.ground_glass * course.ground_glass, most.ground_glass),
        consolidation=min(plan.consolidation * course.consolidation, most.consolidation),
        reticulation=min(plan.reticulation * course.fibrosis, most.reticulation),
        honeycombing=min(plan.honeycombing * course.honeycombing, most.honeycombing),
    )


def later_case(case: Case, day: int) -> Case:
    """The row of the second scan: the clock starts again at its day."""
    assert case.outcome is not None, "a second scan needs a known outcome"
    rest = Outcome(round(case.outcome.time_days - day, 1), case.outcome.event)
    return replace(case, case_id=f"{case.case_id}-F1", scan=f"{case.case_id}-F1", outcome=rest)
