"""True cause-specific hazards of each patient, solved so that every class keeps its published mortality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.clinical_settings import (
    AntibodyClass,
    ClinicalSettings,
    HazardTerm,
    PresetName,
    load_clinical_settings,
)
from data_pipeline.phantoms.clinical_truth import Columns, draw_patients

FloatArray = NDArray[np.float64]

DAYS_PER_MONTH = 30.4375
PERIODS = load_clinical_settings().periods
EDGES_DAYS = (0.0, *(round(months * DAYS_PER_MONTH, 4) for months in PERIODS.months))
LATE_FROM_PIECE = PERIODS.months.index(PERIODS.late_months) + 1  # later pieces use the late factor of a term
CAUSES = ("death", "progression", "transplant")
REFERENCE_PATIENTS = 2000
REFERENCE_SEED = 90210
HORIZON_DAYS = (90.0, 180.0, 365.0, 1096.0, 1826.0)


MDA5_ERAS = {"modern": "mda5_modern", "triple": "mda5_triple", "stepup": "mda5_stepup"}
EraName = Literal["modern", "triple", "stepup"]
ArsCourse = Literal["published", "japan"]


@dataclass(frozen=True, slots=True)
class Planted:
    """Which effects exist in the truth, and which mortality it follows.

    Attributes:
        image: Extents act on the hazards, in all classes alike.
        interactions: Antibody and image act together: ground glass and mixed pattern in MDA5, fibrosis in ARS.
        era: Treatment era of MDA5 mortality.
        ars_course: Mortality of the anti-synthetase classes: Western cohorts, or Japan's.
    """

    image: bool = True
    interactions: bool = True
    era: EraName = "modern"
    ars_course: ArsCourse = "published"

    def mortality_row(self, entry: AntibodyClass) -> str:
        """Key of the mortality row a class follows."""
        if entry.group == "mda5":
            return MDA5_ERAS[self.era]
        return "ars_japan" if entry.group == "ars" and self.ars_course == "japan" else entry.mortality


def linear_predictors(
    settings: ClinicalSettings, columns: Columns, terms: Sequence[HazardTerm]
) -> tuple[FloatArray, FloatArray]:
    """Log hazard of each patient in the early periods and later. Shapes (N,), (N,)."""
    group = columns["group"]
    early = np.zeros(len(group))
    late = np.zeros(len(group))
    for term in terms:
        value = columns[term.term].astype(float)
        if term.per is not None:
            value = value / term.per
        else:
            value = (value > term.above if term.above is not None else value < float(term.below or 0)).astype(float)
        effect = value * np.log(term.hazard_ratio) * settings.shrink.value
        effect = np.where((group == term.group) | (term.group == "all"), effect, 0.0)
        early += effect
        late += effect * term.late
    return early, late


def _solve_baseline(
    targets: Sequence[float], edges: Sequence[float], early: FloatArray, late: FloatArray
) -> list[float]:
    """Baseline hazard per day of each piece, so that the mean of exp(-H) over patients hits the targets."""
    cumulative = np.zeros(len(early))
    rates = []
    for piece, target in enumerate(targets):
        width = edges[piece + 1] - edges[piece]
        weight = np.exp(early if piece < LATE_FROM_PIECE else late)
        low, high = -30.0, 5.0
        for _ in range(60):
            middle = (low + high) / 2
            dead = 1 - np.exp(-cumulative - np.exp(middle) * width * weight).mean()
            low, high = (middle, high) if dead < target else (low, middle)
        rate = float(np.round(np.exp((low + high) / 2), 12))
        rates.append(rate)
        cumulative += rate * width * weight
    return rates


class HazardModel:
    """Hazards of one preset. Building it draws a reference population per class, once."""

    def __init__(self, settings: ClinicalSettings, preset: PresetName, planted: Planted | None = None) -> None:
        assert settings.periods == PERIODS, "hazards are cut at the periods of the shipped settings"
        self.settings = settings
        planted = planted or Planted()
        image = settings.image_terms if planted.image else ()
        together = settings.interaction_terms if planted.interactions else ()
        self._death_terms = (*settings.death_terms, *image, *together)
        is_image = {term.term for term in settings.image_terms}
        self._progression_terms = tuple(
            term for term in settings.progression_terms if planted.image or term.term not in is_image
        )
        self._baseline: list[tuple[list[float], list[float]]] = []
        transplant_days = settings.transplant.by_months * DAYS_PER_MONTH
        self._transplant = -np.log(1 - settings.transplant.probability) / transplant_days
        for index, entry in enumerate(settings.classes):
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(REFERENCE_SEED, spawn_key=(index,))))
            reference = draw_patients(settings, preset, np.full(REFERENCE_PATIENTS, index), rng)
            death = linear_predictors(settings, reference, self._death_terms)
            progression = linear_predictors(settings, reference, self._progression_terms)
            edge = settings.progression.by_months * DAYS_PER_MONTH
            one_rate = _solve_baseline([settings.progression.of(entry.group)], (0.0, edge), *progression)
            self._baseline.append(
                (_solve_baseline(settings.dead_by(planted.mortality_row(entry)), EDGES_DAYS, *death), one_rate)
            )

    def hazards(self, columns: Columns, centre_log_hazard: FloatArray) -> FloatArray:
        """Hazard per day. Shape (N, causes, pieces); the last piece goes on for ever.

        Args:
            columns: Patients of ``draw_patients``.
            centre_log_hazard: Effect of each patient's hospital on death. Shape (N,).
        """
        death_early, death_late = linear_predictors(self.settings, columns, self._death_terms)
        progress_early, progress_late = linear_predictors(self.settings, columns, self._progression_terms)
        pieces = len(EDGES_DAYS) - 1
        index = columns["class_index"].astype(np.intp)
        baseline = np.array([death for death, _ in self._baseline])[index]  # (N, pieces)
        progression = np.array([rates[0] for _, rates in self._baseline])[index]
        is_early = np.arange(pieces) < LATE_FROM_PIECE
        hazards = np.empty((len(index), len(CAUSES), pieces))
        shift = np.where(is_early, death_early[:, None], death_late[:, None]) + centre_log_hazard[:, None]
        hazards[:, 0] = baseline * np.exp(shift)
        shift = np.where(is_early, progress_early[:, None], progress_late[:, None])
        hazards[:, 1] = progression[:, None] * np.exp(shift)
        hazards[:, 2] = self._transplant
        return np.round(hazards, 12)


def survival_and_incidence(hazards: FloatArray, days: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    """Event-free survival and cumulative incidence of each cause under piecewise constant hazards.

    Args:
        hazards: Per day, shape (causes, pieces).
        days: Times, >= 0.

    Returns:
        Survival of shape (T,) and incidence of shape (causes, T); they add up to 1 at every time.
    """
    survival = np.ones(len(days))
    incidence = np.zeros((hazards.shape[0], len(days)))
    for position, day in enumerate(days):
        alive = 1.0
        for piece in range(hazards.shape[1]):
            start = EDGES_DAYS[piece]
            stop = EDGES_DAYS[piece + 1] if piece + 1 < hazards.shape[1] else np.inf
            width = min(day, stop) - start
            if width <= 0:
                break
            total = hazards[:, piece].sum()
            left = alive * np.exp(-total * width)
            incidence[:, position] += hazards[:, piece] / max(total, 1e-300) * (alive - left)
            alive = left
        survival[position] = alive
    return survival, incidence


def event_time(hazard: FloatArray, uniform: float) -> float:
    """Day at which the cumulative hazard of one cause reaches ``-log(uniform)``.

    Args:
        hazard: Per day, shape (pieces,).
        uniform: In (0, 1).
    """
    left = -np.log(max(uniform, 1e-300))
    for piece, rate in enumerate(hazard):
        stop = EDGES_DAYS[piece + 1] if piece + 1 < len(hazard) else np.inf
        room = rate * (stop - EDGES_DAYS[piece])
        if left <= room:
            return float(EDGES_DAYS[piece] + left / max(rate, 1e-300))
        left -= room
    return float("inf")
