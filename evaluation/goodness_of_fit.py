"""One test of a whole predicted curve against censored times (A-calibration). Reported, never a gate.

Under a right model U = 1 - S(T | x) of an event time is uniform. Events are counted in bins of U and compared with the
cumulative hazard the model gave its cases there; binned martingale increments are nearly independent and normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from evaluation.intervals import FloatArray

NUM_BINS = 8
MIN_EXPECTED = 5.0  # neighbouring bins are merged until each expects this many events
LARGEST_U = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class FitTest:
    """Result of the test; NaN p-value when fewer than two bins are left.

    Attributes:
        statistic: Sum over bins of (observed - expected)^2 / expected.
        degrees: Number of bins.
        p_value: Upper tail of chi-square.
        observed: Events per bin.
        expected: Expected events per bin.
    """

    statistic: float
    degrees: int
    p_value: float
    observed: tuple[float, ...]
    expected: tuple[float, ...]


def survival_at_own_time(predicted: FloatArray, days: FloatArray, time_days: FloatArray) -> FloatArray:
    """S(T | x) between horizons, with a constant hazard inside each interval. (N, H), (H,), (N,) -> (N,).

    Times after the last horizon are read at it: the caller censors them there.
    """
    edges = np.concatenate([[0.0], days])
    logs = np.log(np.clip(np.column_stack([np.ones(len(predicted)), predicted]), 1e-12, 1.0))
    return np.exp([np.interp(when, edges, row) for when, row in zip(time_days, logs, strict=True)]).reshape(-1)


def a_calibration(predicted: FloatArray, days: FloatArray, time_days: FloatArray, is_event: FloatArray) -> FitTest:
    """Akritas' Pearson test for censored data, on the predicted scale.

    Args:
        predicted: S at the horizons, shape (N, H).
        days: Horizons, rising, shape (H,).
        time_days: Shape (N,).
        is_event: 1 or 0, shape (N,); events after the last horizon count as censored at it.

    Source:
        Akritas MG. J Am Stat Assoc 1988;83:222-230 (test); use for survival models: A-calibration, BMC Med Res
        Methodol 2025.
    """
    inside = time_days <= days[-1]
    events = np.asarray(is_event, dtype=bool) & inside
    own = np.minimum(1 - survival_at_own_time(predicted, days, np.minimum(time_days, days[-1])), LARGEST_U)
    edges = np.linspace(0, max(float(own.max(initial=0.0)), 1e-9), NUM_BINS + 1)
    edges[-1] = LARGEST_U
    hazard = -np.log1p(-np.minimum(own[:, None], edges[None, :]))  # (N, bins + 1): cumulative up to each edge
    expected = np.diff(hazard, axis=1).sum(axis=0)
    observed = np.histogram(own[events], bins=edges)[0].astype(np.float64)
    observed, expected = _merge(observed, expected)
    if len(expected) < 2:
        return FitTest(float("nan"), len(expected), float("nan"), tuple(observed), tuple(expected))
    statistic = float(((observed - expected) ** 2 / expected).sum())
    p_value = float(chi2.sf(statistic, len(expected)))
    return FitTest(statistic, len(expected), p_value, tuple(observed), tuple(expected))


def _merge(observed: FloatArray, expected: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Merge neighbours until every bin expects ``MIN_EXPECTED`` events; a small rest joins the last bin."""
    merged: list[list[float]] = []
    seen = hoped = 0.0
    for one_seen, one_hoped in zip(observed, expected, strict=True):
        seen, hoped = seen + one_seen, hoped + one_hoped
        if hoped >= MIN_EXPECTED:
            merged.append([seen, hoped])
            seen = hoped = 0.0
    if merged and (seen or hoped):
        merged[-1] = [merged[-1][0] + seen, merged[-1][1] + hoped]
    table = np.array(merged, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
