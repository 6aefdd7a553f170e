"""Prediction intervals for the time of the event, calibrated on patients the model never saw. Fits no hazards.

For a patient with predicted survival S(t | x), the interval runs from the day on which the predicted risk reaches
``lower_risk`` to the day on which it reaches ``upper_risk``. Both are chosen so that, weighting for censoring, events
of the calibration patients fall outside as often as the level allows, whether or not the model is calibrated.

Source: split conformal prediction with inverse-probability-of-censoring weights: Candes, Lei and Ren 2023 J R Stat Soc
B 85:24; Sesia and Svetnik 2025 (survival bands under right-censoring). Cross-fitted scores: Barber 2021 Ann Stat
49:486, approximate for penalised fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.prognostic_data import PrognosticData
from models.prognosis.antibody_coding import EXCLUSIVE_GROUPS
from models.prognosis.feature_space import FeatureSpace

FloatArray = NDArray[np.float64]

MIN_PATIENTS, MIN_EVENTS = 100, 30  # of a stratum: below, an interval would be noise with a promise attached
NUM_MEASURING_FOLDS = 5
EVERYONE, NO_SPECIFIC, NOT_TESTED = "all patients", "none", "not tested"
FOLD_SALT = 67


@dataclass(frozen=True)
class Stratum:
    """Limits for one group of patients.

    Attributes:
        name: Antibody group, ``none``, ``not tested``, or ``all patients``.
        num_patients: Calibration patients.
        num_events: Their events.
        lower_risk: Predicted risk at which the interval begins; None where not available.
        upper_risk: Predicted risk at which it ends; None where follow-up is too short to see most events.
        measured: Share of event times inside, measured on calibration patients left out in turn.
        reason: Why it is not available.
    """

    name: str
    num_patients: int
    num_events: int
    lower_risk: float | None = None
    upper_risk: float | None = None
    measured: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class ConformalBands:
    """Limits of all strata at one nominal level; ``all patients`` first."""

    level: float
    strata: tuple[Stratum, ...]

    def for_stratum(self, name: str) -> Stratum:
        """That of a patient's own antibody group where it is available, else that of all patients."""
        own = next((s for s in self.strata if s.name == name and s.lower_risk is not None), None)
        return own or self.strata[0]


def stratum_names(space: FeatureSpace, data: PrognosticData) -> tuple[str, ...]:
    """Antibody group of each patient: the exclusive group that is positive, ``none`` or ``not tested``. (N,)."""
    positive, unknown = space.antibody.group_states(data)
    columns = [i for i, group in enumerate(space.antibody.groups) if group in EXCLUSIVE_GROUPS]
    if not columns:
        return (NOT_TESTED,) * len(data)
    groups = [space.antibody.groups[i] for i in columns]
    best, untested = positive[:, columns], unknown[:, columns].max(axis=1) > 0.5
    return tuple(
        groups[int(row.argmax())] if row.max() > 0 else NOT_TESTED if is_untested else NO_SPECIFIC
        for row, is_untested in zip(best, untested, strict=True)
    )


def fit_conformal(
    risk: FloatArray, time_days: FloatArray, has_event: NDArray[np.bool_], names: tuple[str, ...], level: float
) -> ConformalBands:
    """Choose the limits of every stratum.

    Args:
        risk: Predicted risk of an event by the patient's own ``time_days``, by a model that never saw the patient.
            Shape (N,).
        time_days: Cleaned follow-up, at most the supported time. Shape (N,).
        has_event: Shape (N,).
        names: Stratum of each patient, shape (N,).
        level: Nominal share of event times inside, for instance 0.9.
    """
    cohort, stratum = _Calibration(risk, time_days, has_event), np.array(names)
    strata = [_fit_stratum(EVERYONE, cohort, level)]
    strata += [_fit_stratum(name, cohort.take(stratum == name), level) for name in sorted(set(names))]
    return ConformalBands(level, tuple(strata))


@dataclass(frozen=True, eq=False)
class _Calibration:
    risk: FloatArray
    time_days: FloatArray
    has_event: NDArray[np.bool_]

    def take(self, rows: NDArray[np.bool_]) -> _Calibration:
        return _Calibration(self.risk[rows], self.time_days[rows], self.has_event[rows])

    def weights(self) -> FloatArray:
        """1 / probability of being uncensored until just before the event, 0 for the censored; shape (N,)."""
        times = np.unique(self.time_days)
        at_risk = len(self.time_days) - np.searchsorted(np.sort(self.time_days), times, side="left")
        leaving = np.array([((self.time_days == day) & ~self.has_event).sum() for day in times])
        failing = np.array([((self.time_days == day) & self.has_event).sum() for day in times])
        # on one day events come first, so the censored leave from those who are still there
        free = np.cumprod(1.0 - leaving / np.maximum(at_risk - failing, 1))
        before = np.concatenate([[1.0], free[:-1]])[np.searchsorted(times, self.time_days)]
        return np.where(self.has_event, 1.0 / np.maximum(before, 1.0 / len(before)), 0.0)


def _fit_stratum(name: str, cohort: _Calibration, level: float) -> Stratum:
    num_patients, num_events = len(cohort.risk), int(cohort.has_event.sum())
    if num_patients < MIN_PATIENTS or num_events < MIN_EVENTS:
        reason = f"{num_patients} patients with {num_events} events; {MIN_PATIENTS} with {MIN_EVENTS} are needed"
        return Stratum(name, num_patients, num_events, reason=f"not available: {reason}")
    lower, upper = _limits(cohort, level)
    return Stratum(name, num_patients, num_events, lower, upper, _measure(cohort, level))


def _limits(cohort: _Calibration, level: float) -> tuple[float, float | None]:
    """Largest risk below which few enough events fall, smallest at or below which most fall."""
    size, tail = len(cohort.risk), (1.0 - level) / 2.0
    order = np.argsort(cohort.risk, kind="stable")
    risk, share = cohort.risk[order], np.cumsum(cohort.weights()[order])
    too_many = share + 1.0 > tail * (size + 1.0)
    lower = float(risk[too_many.argmax()]) if too_many.any() else float(risk[-1])
    enough = share >= (1.0 - tail) * (size + 1.0)
    return lower, float(risk[enough.argmax()]) if enough.any() else None


def _measure(cohort: _Calibration, level: float) -> float:
    """Share of event times inside the limits of the other folds; an open end holds all that comes later."""
    folds = np.random.default_rng(FOLD_SALT).permutation(len(cohort.risk)) % NUM_MEASURING_FOLDS
    weights = cohort.weights()
    outside = 0.0
    for fold in range(NUM_MEASURING_FOLDS):
        lower, upper = _limits(cohort.take(folds != fold), level)
        rows = folds == fold
        outside += float(weights[rows & (cohort.risk < lower)].sum())
        if upper is not None:
            outside += float(rows.sum() - weights[rows & (cohort.risk <= upper)].sum())
    return round(1.0 - outside / len(cohort.risk), 3)
