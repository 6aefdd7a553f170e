"""Does predicted risk at a horizon agree with what happened: O/E, slope, intercept, ICI, groups of similar risk.

Legend: N cases, R rows of counts, P columns of a design. Tests that only answer yes or no are left out on purpose:
at the sizes of this field they reject right models and pass wrong ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.incidence import observed_incidence
from evaluation.intervals import FloatArray, safe_divide
from evaluation.survival import Observed, status_weights

IntArray = NDArray[np.int64]

SMALLEST_RISK = 1e-4  # logit needs risks inside (0, 1)
RIDGE = 1e-4  # keeps the smoother finite under separation
NEWTON_STEPS = 30
LARGEST_SLOPE = 20.0  # beyond it the data separate: not an estimate
MIN_EVENTS_FOR_SPLINE = 20
SPLINE_KNOT_SHARES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, eq=False)
class CalibrationCurve:
    """Smoothed calibration: slope and intercept on the logit scale, and the smooth observed risk.

    Attributes:
        intercept: Calibration in the large given slope 1 is O/E; this one belongs to ``slope``. Shape (R,).
        slope: 1 is right, below 1 predictions are too extreme. Shape (R,).
        smooth_risk: Smoothed observed risk at each case's prediction, shape (R, N).
    """

    intercept: FloatArray
    slope: FloatArray
    smooth_risk: FloatArray


def logit(risk: FloatArray) -> FloatArray:
    """log(p / (1 - p)) with p kept inside (0, 1)."""
    inside = np.clip(risk, SMALLEST_RISK, 1 - SMALLEST_RISK)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def observed_over_expected(risk: FloatArray, observed: Observed, day: float, wanted: int | None) -> FloatArray:
    """Incidence by t (Aalen-Johansen) over mean predicted risk. (R,)."""
    seen = observed_incidence(observed.time_days, observed.cause, observed.counts, np.array([day]), wanted)[:, 0]
    expected = safe_divide(observed.counts @ risk, observed.counts.sum(axis=1))
    return safe_divide(seen, expected)


def weighted_logistic(design: FloatArray, outcome: FloatArray, weights: FloatArray) -> FloatArray:
    """Logistic regression for every row of weights at once, Newton with a tiny ridge.

    Args:
        design: Shape (N, P).
        outcome: 0/1, shape (N,).
        weights: Shape (R, N), >= 0.

    Returns:
        Coefficients, shape (R, P); NaN for a row without both outcomes.
    """
    num_rows, num_columns = len(weights), design.shape[1]
    outer = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)  # (N, P * P)
    penalty = RIDGE * np.eye(num_columns)
    coefficients = np.zeros((num_rows, num_columns))
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(coefficients @ design.T, -30, 30)))
        gradient = (weights * (outcome - probability)) @ design - coefficients @ penalty
        information = (weights * probability * (1 - probability)) @ outer
        step = np.linalg.solve(information.reshape(num_rows, num_columns, num_columns) + penalty, gradient[..., None])
        coefficients = coefficients + np.clip(step[..., 0], -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    has_both = (weights @ outcome > 0) & (weights @ (1 - outcome) > 0)
    return np.where(has_both[:, None], coefficients, np.nan)


def _spline_design(values: FloatArray) -> FloatArray:
    """Intercept, value, and one restricted cubic term over three knots (Harrell's basis)."""
    lower, middle, upper = np.quantile(values, SPLINE_KNOT_SHARES)
    if not lower < middle < upper:
        return np.column_stack([np.ones_like(values), values])
    cube = [np.maximum(values - knot, 0) ** 3 for knot in (lower, middle, upper)]
    term = cube[0] - cube[1] * (upper - lower) / (upper - middle) + cube[2] * (middle - lower) / (upper - middle)
    return np.column_stack([np.ones_like(values), values, term / (upper - lower) ** 2])


def calibration_curve(risk: FloatArray, observed: Observed, day: float, wanted: int | None) -> CalibrationCurve:
    """Censoring-weighted logistic calibration at t; a spline where there are events enough.

    Source:
        Van Calster B et al. J Clin Epidemiol 2016;74:167-76 (slope); Gerds TA, Andersen PK, Kattan MW. Stat Med
        2014;33:3191-203 (weighting for censoring and competing risks).
    """
    outcome = ((observed.time_days <= day) & observed.has_event(wanted)).astype(np.float64)
    weights = status_weights(observed, day)
    scores = logit(risk)
    line = np.column_stack([np.ones_like(scores), scores])
    coefficients = weighted_logistic(line, outcome, weights)
    slope = np.where(np.abs(coefficients[:, 1]) <= LARGEST_SLOPE, coefficients[:, 1], np.nan)
    if observed.num_events_by(day, wanted) >= MIN_EVENTS_FOR_SPLINE:
        line = _spline_design(scores)
        smooth = weighted_logistic(line, outcome, weights)
    else:
        smooth = coefficients
    smooth_risk = 1 / (1 + np.exp(-np.clip(smooth @ line.T, -30, 30)))
    return CalibrationCurve(coefficients[:, 0], slope, smooth_risk)


def integrated_calibration_index(risk: FloatArray, smooth_risk: FloatArray, counts: FloatArray) -> FloatArray:
    """ICI: mean |smoothed observed - predicted|. (R,).

    Source:
        Austin PC, Harrell FE, van Klaveren D. Stat Med 2020;39:2714-42.
    """
    return safe_divide((counts * np.abs(smooth_risk - risk)).sum(axis=1), counts.sum(axis=1))


def risk_quarters(risk: FloatArray, num_groups: int = 4) -> IntArray:
    """Group of each case by predicted risk, at most four, about equally full. (N,)."""
    edges = np.unique(np.quantile(risk, np.linspace(0, 1, num_groups + 1)[1:-1]))
    return np.searchsorted(edges, risk, side="right").astype(np.int64)
