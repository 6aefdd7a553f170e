"""Cox regression with a ridge, strength chosen by cross-validation: the clinical comparator. Not the product's head.

Legend: N cases, P columns. Tied events by Breslow's rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import FloatArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

PENALTIES: tuple[float, ...] = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
MAX_STEPS = 40
TOLERANCE = 1e-9
CHOICE_TOLERANCE = 1e-4  # enough to rank penalties
LARGEST_SCORE = 30.0  # log hazards are kept inside, exp() stays finite
NUM_INNER_FOLDS = 5


@dataclass(frozen=True, eq=False)
class CoxModel:
    """A fitted model: coefficients on the given columns and a cumulative baseline hazard.

    Attributes:
        coefficients: Shape (P,).
        means: Column means of the training cases, where the baseline holds. Shape (P,).
        event_times: Distinct event times, days, rising.
        cumulative_hazard: Baseline at those times.
        penalty: Ridge strength used.
    """

    coefficients: FloatArray
    means: FloatArray
    event_times: FloatArray
    cumulative_hazard: FloatArray
    penalty: float

    def survival(self, design: FloatArray, days: FloatArray) -> FloatArray:
        """S(t | x), shape (N, len(days)); flat after the last event time."""
        score = np.clip((design - self.means) @ self.coefficients, -LARGEST_SCORE, LARGEST_SCORE)
        steps = np.searchsorted(self.event_times, days, side="right")
        hazard = np.concatenate([[0.0], self.cumulative_hazard])[steps]
        return np.asarray(np.exp(-np.exp(score)[:, None] * hazard[None, :]), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class RiskSets:
    """Cases by falling time, so that every risk set is a beginning of the order.

    Attributes:
        order: Place -> case, shape (N,).
        last: Per event, the last place of its risk set (ties belong together). Shape (E,).
        is_event: In order, shape (N,).
    """

    order: IntArray
    last: IntArray
    is_event: BoolArray

    @classmethod
    def of(cls, time_days: FloatArray, is_event: BoolArray) -> RiskSets:
        """Sort once, use for every step of a fit."""
        order = np.argsort(-time_days, kind="stable").astype(np.int64)
        falling = -time_days[order]
        last = np.searchsorted(falling, falling, side="right") - 1
        events = is_event[order]
        return cls(order, last[events].astype(np.int64), events)

    def log_likelihood(self, score: FloatArray) -> float:
        """Breslow's log partial likelihood of log hazards, shape (N,)."""
        ranked = score[self.order]
        top = float(ranked.max(initial=0.0))
        log_total = np.log(np.cumsum(np.exp(ranked - top))[self.last]) + top
        return float(ranked[self.is_event].sum() - log_total.sum())

    def derivatives(self, beta: FloatArray, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradient (P,) and negative Hessian (P, P); ``rows`` is the design in order."""
        weight = np.exp(np.clip(rows @ beta, -LARGEST_SCORE, LARGEST_SCORE))
        total = np.cumsum(weight)[self.last]  # (E,)
        mean = np.cumsum(weight[:, None] * rows, axis=0)[self.last] / total[:, None]  # (E, P)
        gradient = (rows[self.is_event] - mean).sum(axis=0)
        # the weighted second moments summed over events = each case times the events whose risk set holds it
        shares = np.bincount(self.last, weights=1 / total, minlength=len(rows))
        held = np.cumsum(shares[::-1])[::-1]  # (N,)
        information = (rows * (weight * held)[:, None]).T @ rows - mean.T @ mean
        return gradient, information


def partial_log_likelihood(score: FloatArray, time_days: FloatArray, is_event: BoolArray) -> float:
    """Breslow's log partial likelihood of log hazards ``score``. Shapes (N,)."""
    return RiskSets.of(time_days, is_event).log_likelihood(score)


def maximise(design: FloatArray, sets: RiskSets, penalty: float, start: FloatArray, tolerance: float) -> FloatArray:
    """Newton with step halving on log partial likelihood - penalty / 2 * |beta|^2; ``design`` is centred. (P,)."""
    rows, beta = design[sets.order], start

    def objective(candidate: FloatArray) -> float:
        score = np.clip(design @ candidate, -LARGEST_SCORE, LARGEST_SCORE)
        return sets.log_likelihood(score) - 0.5 * penalty * float(candidate @ candidate)

    best = objective(beta)
    for _ in range(MAX_STEPS if len(beta) else 0):
        gradient, information = sets.derivatives(beta, rows)
        step = np.linalg.solve(information + (penalty + 1e-9) * np.eye(len(beta)), gradient - penalty * beta)
        size = 1.0
        while (value := objective(beta + size * step)) < best - 1e-12 and size > 1e-4:
            size /= 2
        beta, gain, best = beta + size * step, value - best, value
        if abs(gain) < tolerance:
            break
    return beta


def fit_cox(design: FloatArray, time_days: FloatArray, is_event: BoolArray, penalty: float) -> CoxModel:
    """Maximise log partial likelihood - penalty / 2 * |beta|^2 by Newton with step halving.

    Args:
        design: Standardised columns, finite. Shape (N, P), P may be 0.
        time_days: Shape (N,).
        is_event: Shape (N,), at least one True.
        penalty: >= 0.

    Source:
        Cox DR. J R Stat Soc B 1972;34:187-220; Verweij PJM, van Houwelingen HC. Stat Med 1994;13:2427-36.
    """
    means = design.mean(axis=0)
    centred = design - means
    sets = RiskSets.of(time_days, is_event)
    beta = maximise(centred, sets, penalty, np.zeros(design.shape[1]), TOLERANCE)
    times, hazard = _breslow(np.clip(centred @ beta, -LARGEST_SCORE, LARGEST_SCORE), time_days, is_event)
    return CoxModel(beta, means, times, hazard, penalty)


def _breslow(score: FloatArray, time_days: FloatArray, is_event: BoolArray) -> tuple[FloatArray, FloatArray]:
    times, deaths = np.unique(time_days[is_event], return_counts=True)
    order = np.argsort(time_days, kind="stable")
    from_end = np.cumsum(np.exp(score[order])[::-1])[::-1]
    at_risk = from_end[np.searchsorted(time_days[order], times, side="left")]
    return times, np.cumsum(deaths / at_risk)


def choose_penalty(
    design: FloatArray, time_days: FloatArray, is_event: BoolArray, folds: IntArray, penalties: tuple[float, ...]
) -> float:
    """The penalty with the highest cross-validated partial likelihood.

    Args:
        design: Shape (N, P).
        time_days: Shape (N,).
        is_event: Shape (N,).
        folds: Inner fold of each case, shape (N,).
        penalties: Candidates, strongest first; ties keep the stronger.
    """
    totals = np.zeros(len(penalties))
    everyone = RiskSets.of(time_days, is_event)
    for fold in np.unique(folds):
        inside = folds != fold
        if not is_event[inside].any():
            continue
        centred = design - design[inside].mean(axis=0)
        sets, beta = RiskSets.of(time_days[inside], is_event[inside]), np.zeros(design.shape[1])
        for place, penalty in enumerate(penalties):  # strongest first: each fit starts where the last one ended
            beta = maximise(centred[inside], sets, penalty, beta, CHOICE_TOLERANCE)
            score = np.clip(centred @ beta, -LARGEST_SCORE, LARGEST_SCORE)
            totals[place] += everyone.log_likelihood(score) - sets.log_likelihood(score[inside])
    return penalties[int(np.argmax(totals))]
