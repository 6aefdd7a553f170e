"""Kaplan-Meier, Aalen-Johansen and the censoring curve for many rows of counts at once. No model is fitted here.

Legend: N cases, U distinct times, R rows of counts. At equal times events come before censorings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import FloatArray, safe_divide

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StepCurve:
    """A right-continuous step function per row of counts.

    Attributes:
        times: Distinct times, rising, shape (U,).
        values: Value from each time on, shape (R, U).
        start: Value before the first time.
    """

    times: FloatArray
    values: FloatArray
    start: float

    def at(self, when: FloatArray, *, just_before: bool = False) -> FloatArray:
        """Values at some times (or their left limits). (W,) -> (R, W)."""
        steps = np.searchsorted(self.times, when, side="left" if just_before else "right")
        padded = np.hstack([np.full((len(self.values), 1), self.start), self.values])
        return padded[:, steps]


@dataclass(frozen=True, eq=False)
class RiskTable:
    """Who is at risk and what happens at each distinct time.

    Attributes:
        times: Shape (U,).
        at_risk: Weight with time >= t, shape (R, U).
        any_event: Weight with an event at t, shape (R, U).
        censored: Weight censored at t, shape (R, U).
    """

    times: FloatArray
    at_risk: FloatArray
    any_event: FloatArray
    censored: FloatArray
    order: IntArray
    starts: IntArray

    def sum_by_time(self, weights: FloatArray) -> FloatArray:
        """Sum weights (R, N) over the cases of each distinct time. (R, U)."""
        return np.add.reduceat(weights[:, self.order], self.starts, axis=1)


def risk_table(time_days: FloatArray, cause: IntArray, counts: FloatArray) -> RiskTable:
    """Build the table.

    Args:
        time_days: >= 0, shape (N,), N >= 1.
        cause: 0 censored, k >= 1 for the k-th cause, shape (N,).
        counts: Shape (R, N).
    """
    order = np.argsort(time_days, kind="stable").astype(np.int64)
    ranked = time_days[order]
    starts = np.flatnonzero(np.r_[True, np.diff(ranked) > 0]).astype(np.int64)
    total = np.add.reduceat(counts[:, order], starts, axis=1)
    censored = np.add.reduceat((counts * (cause == 0))[:, order], starts, axis=1)
    at_risk = np.cumsum(total[:, ::-1], axis=1)[:, ::-1]
    return RiskTable(ranked[starts], at_risk, total - censored, censored, order, starts)


def _product_limit(hit: FloatArray, exposed: FloatArray) -> FloatArray:
    share = np.nan_to_num(safe_divide(hit, exposed), nan=0.0)
    return np.asarray(np.cumprod(1 - share, axis=1), dtype=np.float64)


def event_free_curve(table: RiskTable) -> StepCurve:
    """Kaplan-Meier of being free of any event.

    Source:
        Kaplan EL, Meier P. J Am Stat Assoc 1958;53:457-481.
    """
    return StepCurve(table.times, _product_limit(table.any_event, table.at_risk), 1.0)


def censoring_curve(table: RiskTable) -> StepCurve:
    """G(t) = P(censoring time > t): Kaplan-Meier with the roles turned; events at a time leave before censorings."""
    return StepCurve(table.times, _product_limit(table.censored, table.at_risk - table.any_event), 1.0)


def cumulative_incidence(table: RiskTable, cause: IntArray, counts: FloatArray, wanted: int) -> StepCurve:
    """Aalen-Johansen incidence of one cause; 1 - Kaplan-Meier where there is only one.

    Source:
        Aalen OO, Johansen S. Scand J Stat 1978;5:141-150.
    """
    events = table.sum_by_time(counts * (cause == wanted))
    event_free = event_free_curve(table).at(table.times, just_before=True)
    share = np.nan_to_num(safe_divide(events, table.at_risk), nan=0.0)
    return StepCurve(table.times, np.cumsum(event_free * share, axis=1), 0.0)


def observed_incidence(
    time_days: FloatArray, cause: IntArray, counts: FloatArray, days: FloatArray, wanted: int | None
) -> FloatArray:
    """Incidence of one cause (None: of any) at some days. (R, len(days)); NaN beyond the last follow-up."""
    if len(time_days) == 0:
        return np.full((len(counts), len(days)), np.nan)
    table = risk_table(time_days, cause, counts)
    if wanted is None:
        values = 1 - event_free_curve(table).at(days)
    else:
        values = cumulative_incidence(table, cause, counts, wanted).at(days)
    last = table.times[-1]
    all_failed = np.isclose(event_free_curve(table).values[0, -1], 0)  # then incidence stays where it is
    return np.where((days <= last) | all_failed, values, np.nan)


def median_follow_up(time_days: FloatArray, cause: IntArray) -> float | None:
    """Median of the censoring curve (reverse Kaplan-Meier), days; None when fewer than half are censored."""
    if len(time_days) == 0:
        return None
    curve = censoring_curve(risk_table(time_days, cause, np.ones((1, len(time_days)))))
    below = np.flatnonzero(curve.values[0] <= 0.5)
    return float(curve.times[below[0]]) if len(below) else None
