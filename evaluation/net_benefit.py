"""Decision curves: what acting above a risk threshold would be worth, against acting on all or on none."""

from __future__ import annotations

import numpy as np

from evaluation.intervals import FloatArray, safe_divide
from evaluation.survival import Observed, status_weights

THRESHOLDS: tuple[float, ...] = (0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50)


def net_benefit(
    risk: FloatArray, observed: Observed, day: float, thresholds: FloatArray, *, wanted: int | None = None
) -> FloatArray:
    """True positives less false positives at the exchange rate of the threshold, per case.

    Args:
        risk: Predicted probability of the event by t, shape (N,).
        observed: Outcomes.
        day: t.
        thresholds: Each in (0, 1), shape (H,).
        wanted: Cause, or None.

    Returns:
        Shape (R, H). States unknown at t are weighted for censoring.

    Source:
        Vickers AJ, Elkin EB. Med Decis Making 2006;26:565-74; censoring: Vickers AJ et al. BMC Med Inform Decis
        Mak 2008;8:53.
    """
    weights = status_weights(observed, day)
    event = (observed.time_days <= day) & observed.has_event(wanted)
    total = weights.sum(axis=1)
    columns = []
    for threshold in thresholds:
        treated = risk >= threshold
        true_positive = weights @ (treated & event).astype(np.float64)
        false_positive = weights @ (treated & ~event).astype(np.float64)
        columns.append(safe_divide(true_positive - false_positive * threshold / (1 - threshold), total))
    return np.stack(columns, axis=1)


def net_benefit_of_all(
    observed: Observed, day: float, thresholds: FloatArray, *, wanted: int | None = None
) -> FloatArray:
    """Net benefit of acting on everyone. (R, H). Acting on none is 0."""
    return net_benefit(np.ones(len(observed.time_days)), observed, day, thresholds, wanted=wanted)
