"""Do predicted risks order the times and match them: C, AUC(t), Brier(t) and their integral, weighted for censoring.

Legend: N cases, R rows of counts, t a horizon in days. ``cause`` is 0 for censored and k >= 1 for the k-th cause;
``wanted`` is one cause, or None for the first event of any cause. Risk up is worse. Ties in risk count half.
Weights are 1 / G(T-) for what happened at T and 1 / G(t-) for who is event-free at t, with G the censoring curve of the
same resample. The left limit matters where an event and a censoring share a day, and where a study closes at t: events
come before censorings, so who is censored at t itself was seen event-free up to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.discrimination import pair_sums
from evaluation.incidence import StepCurve, censoring_curve, risk_table
from evaluation.intervals import FloatArray, safe_divide

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

PAIR_BLOCK = 256  # rows of the pair table held at once


@dataclass(frozen=True, eq=False)
class Observed:
    """Outcomes of N cases, with what all survival metrics share.

    Attributes:
        time_days: Shape (N,), >= 0.
        cause: Shape (N,).
        counts: Shape (R, N).
        censoring: G(t) per row of counts.
    """

    time_days: FloatArray
    cause: IntArray
    counts: FloatArray
    censoring: StepCurve

    @classmethod
    def of(cls, time_days: FloatArray, cause: IntArray, counts: FloatArray) -> Observed:
        """Estimate the censoring curve of these cases. N >= 1."""
        return cls(time_days, cause, counts, censoring_curve(risk_table(time_days, cause, counts)))

    def weight_at_own_time(self) -> FloatArray:
        """1 / G(T-), shape (R, N); 0 where a resample cannot say."""
        return np.nan_to_num(safe_divide(np.ones(1), self.censoring.at(self.time_days, just_before=True)), nan=0.0)

    def weight_at(self, day: float) -> FloatArray:
        """1 / G(t-), shape (R, 1); 0 where nobody is left uncensored until t."""
        return np.nan_to_num(safe_divide(np.ones(1), self.censoring.at(np.array([day]), just_before=True)), nan=0.0)

    def is_free_at(self, day: float) -> BoolArray:
        """Cases known to be without any event at t. (N,)."""
        return is_free_at(self.time_days, self.cause, day)

    def has_event(self, wanted: int | None) -> BoolArray:
        """Cases with the wanted event. (N,)."""
        return self.cause > 0 if wanted is None else self.cause == wanted

    def competing(self, wanted: int | None) -> BoolArray:
        """Cases that ended with another cause. (N,)."""
        return np.zeros(len(self.cause), dtype=bool) if wanted is None else (self.cause > 0) & (self.cause != wanted)

    def num_events_by(self, day: float, wanted: int | None) -> int:
        """Events up to and including a day."""
        return int((self.has_event(wanted) & (self.time_days <= day)).sum())


def is_free_at(time_days: FloatArray, cause: IntArray, day: float) -> BoolArray:
    """Cases seen event-free up to and including t; events of a day come before its censorings. (N,)."""
    return np.asarray((time_days > day) | ((time_days == day) & (cause == 0)), dtype=np.bool_)


def _same_stratum(strata: IntArray | None, rows: IntArray) -> BoolArray | bool:
    return True if strata is None else strata[rows][:, None] == strata[None, :]


def concordance(
    risk: FloatArray,
    observed: Observed,
    *,
    tau: float,
    wanted: int | None = None,
    strata: IntArray | None = None,
    weighted: bool = True,
) -> FloatArray:
    """Uno's C up to ``tau`` (weighted), or Harrell's (not weighted).

    A pair is comparable when one has the wanted event at T <= tau and the other is event-free after T, is censored
    at T itself, or (competing risks) has had another event by then and so never has the wanted one.

    Args:
        risk: Shape (N,), finite.
        observed: Outcomes.
        tau: Days; later events are not used.
        wanted: Cause, or None for any.
        strata: Pairs within a stratum (fold) only.
        weighted: Weight for censoring.

    Returns:
        Shape (R,); NaN without a comparable pair.

    Source:
        Harrell FE et al. JAMA 1982;247:2543-6; Uno H et al. Stat Med 2011;30:1105-17; competing risks: Wolbers M
        et al. Biostatistics 2014;15:526-39.
    """
    rows = np.flatnonzero(observed.has_event(wanted) & (observed.time_days <= tau))
    counts, time_days = observed.counts, observed.time_days
    own = observed.weight_at_own_time() if weighted else np.ones_like(counts)
    ended_otherwise = observed.competing(wanted)
    ordered, pairs = np.zeros(len(counts)), np.zeros(len(counts))
    for block in (rows[start : start + PAIR_BLOCK] for start in range(0, len(rows), PAIR_BLOCK)):
        risk_gap = risk[block][:, None] - risk[None, :]
        value = (risk_gap > 0) + 0.5 * (risk_gap == 0)
        later = (time_days[None, :] > time_days[block][:, None]) | (
            (time_days[None, :] == time_days[block][:, None]) & (observed.cause == 0)[None, :]
        )
        later &= _same_stratum(strata, block)
        never = ended_otherwise[None, :] & ~later & _same_stratum(strata, block)
        row_weight = counts[:, block] * own[:, block]
        for comparable, squared in ((later, True), (never, False)):
            if not comparable.any():
                continue
            columns = counts if squared else counts * own
            weight = row_weight * own[:, block] if squared else row_weight
            ordered += ((columns @ (comparable * value).T) * weight).sum(axis=1)
            pairs += ((columns @ comparable.T.astype(np.float64)) * weight).sum(axis=1)
    return safe_divide(ordered, pairs)


def auc_at(
    risk: FloatArray, observed: Observed, day: float, *, wanted: int | None = None, strata: IntArray | None = None
) -> FloatArray:
    """Cumulative/dynamic AUC(t): events by t against everyone known to be without the wanted event at t.

    Returns:
        Shape (R,); NaN without an event by t or without anyone left.

    Source:
        Uno H et al. J Am Stat Assoc 2007;102:527-37; Blanche P et al. Stat Med 2013;32:5381-97 (competing events
        among the controls).
    """
    happened = observed.time_days <= day
    own = observed.counts * observed.weight_at_own_time()
    positive = own * (happened & observed.has_event(wanted))
    free = observed.counts * observed.is_free_at(day) * observed.weight_at(day)
    negative = free + own * (happened & observed.competing(wanted))
    return safe_divide(*pair_sums(risk, positive, negative, strata))


def status_weights(observed: Observed, day: float) -> FloatArray:
    """Weight of each case's known state at t; 0 when censored before t. (R, N)."""
    known = (observed.time_days <= day) & (observed.cause > 0)
    free = observed.is_free_at(day)
    return observed.counts * (known * observed.weight_at_own_time() + free * observed.weight_at(day))


def brier_at(risk: FloatArray, observed: Observed, day: float, *, wanted: int | None = None) -> FloatArray:
    """Brier score at t of a predicted probability of the event by t.

    Args:
        risk: 1 - S(t), or CIF(t). Shape (N,), 0..1; or (R, N) for a prediction that differs by resample.
        observed: Outcomes.
        day: t.
        wanted: Cause, or None.

    Returns:
        Shape (R,).

    Source:
        Graf E et al. Stat Med 1999;18:2529-45; competing risks: Schoop R et al. Biom J 2011;53:88-112.
    """
    happened = (observed.time_days <= day) & observed.has_event(wanted)
    squares = (happened - risk) ** 2
    return safe_divide((status_weights(observed, day) * squares).sum(axis=1), observed.counts.sum(axis=1))


def integrate(days: FloatArray, scores: FloatArray) -> FloatArray:
    """Mean of a score over [first, last] horizon, trapezoid. (R, H) -> (R,). One horizon: that score."""
    if len(days) == 1:
        return np.asarray(scores[:, 0], dtype=np.float64)
    return np.asarray(np.trapezoid(scores, days, axis=1) / (days[-1] - days[0]), dtype=np.float64)


def prediction_accuracy_index(score: FloatArray, reference: FloatArray) -> FloatArray:
    """1 - Brier / Brier of a reference (Kaplan-Meier of everyone): share of the error explained.

    Source:
        Kattan MW, Gerds TA. Diagn Progn Res 2018;2:7.
    """
    return 1 - safe_divide(score, reference)
