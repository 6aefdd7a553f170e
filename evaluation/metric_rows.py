"""From replicates to the records of a result: NaN becomes None with a note, never an exception."""

from __future__ import annotations

import math
from dataclasses import dataclass

from domain.evaluation_result import EVERYONE, MODEL, Difference, Metric
from evaluation.intervals import FloatArray, interval, share_above_zero

HIGHER, LOWER = "higher", "lower"
LOWER_IS_BETTER = frozenset({"brier", "brier_at", "ibs", "ece", "log_loss", "ici"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a metric belongs: who it is about and what it counts."""

    target: str
    n: int
    events: int | None = None
    model: str = MODEL
    subgroup: str = EVERYONE
    horizon_days: float | None = None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def not_available(metric: str, place: Place, why: str = "") -> Metric:
    """A metric without a value: ``n/a (k events)`` or the reason given."""
    note = why or (f"n/a ({place.events} events)" if place.events is not None else f"n/a ({place.n} cases)")
    return Metric(
        target=place.target,
        metric=metric,
        model=place.model,
        subgroup=place.subgroup,
        horizon_days=place.horizon_days,
        value=None,
        n=place.n,
        events=place.events,
        note=note,
    )


def metric_row(metric: str, replicates: FloatArray, place: Place, level: float, note: str = "") -> Metric:
    """Value with percentile limits; ``not_available`` where the value does not exist."""
    limits = interval(replicates, level)
    if not math.isfinite(limits.value):
        return not_available(metric, place, note)
    if not math.isfinite(limits.lo):
        note = "; ".join(part for part in (note, "no interval: too few resamples have a value") if part)
    return not_available(metric, place, note or " ").model_copy(
        update={"value": limits.value, "lo": _number(limits.lo), "hi": _number(limits.hi), "note": note}
    )


def difference_row(metric: str, model: FloatArray, comparator: FloatArray, place: Place, level: float) -> Difference:
    """Paired difference, model minus comparator, on the same resamples; ``place.model`` names the comparator."""
    limits = interval(model - comparator, level)
    better_when = LOWER if metric in LOWER_IS_BETTER else HIGHER
    above = share_above_zero(model - comparator)
    share = above if better_when == HIGHER else 1 - above
    exists = math.isfinite(limits.value)
    return Difference(
        target=place.target,
        metric=metric,
        comparator=place.model,
        horizon_days=place.horizon_days,
        better_when=better_when,
        model_value=_number(float(model[0])),
        comparator_value=_number(float(comparator[0])),
        value=_number(limits.value),
        lo=_number(limits.lo),
        hi=_number(limits.hi),
        share_better=_number(share) if exists else None,
        n=place.n,
        events=place.events,
        note="" if exists else f"n/a ({place.events if place.events is not None else place.n} events)",
    )
