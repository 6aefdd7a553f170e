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
        score = np.clip((design - self.means) @ self.coefficients, -30, 30)
        steps = np.searchsorted(self.event_times, days, side="right")
        hazard = np.concatenate([[0.0], self.cumulative_hazard])[steps]
        return np.asarray(np.exp(-np.exp(score)[:, None] * hazard[None, :]), dtype=np.float64)


def partial_log_likelihood(score: FloatArray, time_days: FloatArray, is_event: BoolArray) -> float:
    """Breslow's log partial likelihood of log hazards ``score``. Shapes (N,)."""
    order, last = _risk_sets(time_days)
    ranked = score[order]
    log_total = np.logaddexp.accumulate(ranked)[last]
    return float((ranked - log_total)[is_event[order]].sum())


def _risk_sets(time_days: FloatArray) -> tuple[IntArray, IntArray]:
    """Order by falling time, and per place the last place of its risk set (ties belong together)."""
    order = np.argsort(-time_days, kind="stable").astype(np.int64)
    falling = -time_days[order]
    last = np.searchsorted(falling, falling, side="right") - 1
    return order, last.astype(np.int64)


def _derivatives(
    beta: FloatArray, design: FloatArray, time_days: FloatArray, is_event: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Gradient (P,) and negative Hessian (P, P) of the log partial likelihood."""
    order, last = _risk_sets(time_days)
    rows, events = design[order], is_event[order]
    weight = np.exp(np.clip(rows @ beta, -30, 30))
    total = np.cumsum(weight)[last][events]  # (E,)
    mean = np.cumsum(weight[:, None] * rows, axis=0)[last][events] / total[:, None]  # (E, P)
    gradient = (rows[events] - mean).sum(axis=0)
    # sum over events of the weighted second moment = sum over cases of weight * (events whose risk set holds it)
    shares = np.bincount(last[events], weights=1 / total, minlength=len(rows))
    held = np.cumsum(shares[::-1])[::-1]  # (N,)
    information = (rows * (weight * held)[:, None]).T @ rows - mean.T @ mean
    return gradient, information


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
    beta = np.zeros(design.shape[1])

    def objective(candidate: FloatArray) -> float:
        fitted = np.clip(centred @ candidate, -30, 30)
        return partial_log_likelihood(fitted, time_days, is_event) - 0.5 * penalty * float(candidate @ candidate)

    best = objective(beta)
    for _ in range(MAX_STEPS if len(beta) else 0):
        gradient, information = _derivatives(beta, centred, time_days, is_event)
        gradient = gradient - penalty * beta
        step = np.linalg.solve(information + (penalty + 1e-9) * np.eye(len(beta)), gradient)
        size = 1.0
        while (value := objective(beta + size * step)) < best - 1e-12 and size > 1e-4:
            size /= 2
        beta, gain, best = beta + size * step, value - best, value
        if abs(gain) < TOLERANCE:
            break
    times, hazard = _breslow(np.clip(centred @ beta, -30, 30), time_days, is_event)
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
    best, chosen = -np.inf, penalties[0]
    for penalty in penalties:
        total = 0.0
        for fold in np.unique(folds):
            inside = folds != fold
            if not is_event[inside].any():
                continue
            beta = fit_cox(design[inside], time_days[inside], is_event[inside], penalty).coefficients
            score = np.clip(design @ beta, -30, 30)
            total += partial_log_likelihood(score, time_days, is_event)
            total -= partial_log_likelihood(score[inside], time_days[inside], is_event[inside])
        if total > best + 1e-9:
            best, chosen = total, penalty
    return chosen
