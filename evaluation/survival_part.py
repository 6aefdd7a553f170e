"""The survival half of an evaluation: metrics, calibration, risk groups and decision curves of one cohort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.endpoints import Endpoint
from domain.evaluation_result import EVENT_FREE, CalibrationPoint, Curve, CurvePoint, Metric
from evaluation import survival, survival_calibration
from evaluation.cohort import UNKNOWN_CAUSE, Cohort
from evaluation.incidence import event_free_curve, observed_incidence, risk_table
from evaluation.intervals import FloatArray, interval
from evaluation.metric_rows import Place, metric_row, not_available
from evaluation.net_benefit import THRESHOLDS, net_benefit, net_benefit_of_all
from evaluation.survival import Observed

IntArray = NDArray[np.int64]

MIN_EVENTS = 5  # fewer: "n/a (k events)"
MIN_EVENTS_SUBGROUP = 10
MIN_LEFT_AT_HORIZON = 5  # event-free and under observation at t; fewer, and t is not evaluated
MAX_CURVE_POINTS = 60
RANKING = ("uno_c", "harrell_c")


@dataclass(frozen=True, eq=False)
class SurvivalSample:
    """Cases with an outcome and a predicted curve, and what can be evaluated on them.

    Attributes:
        observed: Outcomes with counts.
        days: Horizons that can be evaluated, days, shape (H',).
        survival: Predicted S at those, shape (N, H').
        incidence: Cause number -> predicted CIF at those, shape (N, H'); NaN where not given.
        strata: Pairs within a stratum only, or None.
    """

    observed: Observed
    days: FloatArray
    survival: FloatArray
    incidence: dict[int, FloatArray]
    strata: IntArray | None

    @property
    def num_events(self) -> int:
        """Events of any cause."""
        return int((self.observed.cause > 0).sum())

    @property
    def tau(self) -> float:
        """Last horizon that can be evaluated: ranking counts events up to it."""
        return float(self.days[-1])

    def place(self, **changes: object) -> Place:
        """A place for rows about this sample."""
        values: dict[str, object] = {"target": EVENT_FREE, "n": len(self.survival), "events": self.num_events}
        return Place(**(values | changes))  # type: ignore[arg-type]


def outcome_rows(cohort: Cohort) -> NDArray[np.bool_]:
    """Cases with an outcome and at least one predicted survival."""
    known = (cohort.cause != UNKNOWN_CAUSE) & np.isfinite(cohort.survival).any(axis=1)
    return np.asarray(known, dtype=np.bool_)


def evaluable_days(
    time_days: FloatArray, cause: IntArray, survival: FloatArray, horizons: FloatArray
) -> NDArray[np.bool_]:
    """Horizons predicted for every case, with an event by then and enough cases under observation after."""
    predicted = np.isfinite(survival).all(axis=0) if len(survival) else np.zeros(len(horizons), dtype=bool)
    events = np.array([((time_days <= day) & (cause > 0)).any() for day in horizons])
    left = np.array([(time_days > day).sum() for day in horizons])
    return np.asarray(predicted & events & (left >= MIN_LEFT_AT_HORIZON), dtype=np.bool_)


def survival_sample(cohort: Cohort, counts: FloatArray, endpoint: Endpoint) -> SurvivalSample | None:
    """The evaluable part of a cohort; None without an evaluable horizon."""
    rows = outcome_rows(cohort)
    part, horizons = cohort.take(rows), np.array(endpoint.horizons_days, dtype=np.float64)
    use = evaluable_days(part.time_days, part.cause, part.survival, horizons)
    if not use.any():
        return None
    incidence = {number: part.incidence[key][:, use] for number, key in enumerate(endpoint.cause_keys, start=1)}
    strata = part.folds if len(np.unique(part.folds)) > 1 else None
    observed = Observed.of(part.time_days, part.cause, counts[:, rows])
    return SurvivalSample(observed, horizons[use], part.survival[:, use], incidence, strata)


def mean_risk(survival: FloatArray) -> FloatArray:
    """Risk score that ranks: mean of 1 - S over the evaluable horizons. (N, H) -> (N,)."""
    return np.asarray((1 - survival).mean(axis=1), dtype=np.float64)


def overall_metrics(sample: SurvivalSample | None, cohort: Cohort, level: float, subgroup: str) -> list[Metric]:
    """Ranking, AUC(t), Brier(t), IBS, IPA and calibration of the event-free probability."""
    if sample is None or sample.num_events < MIN_EVENTS:
        rows = outcome_rows(cohort)
        place = Place(EVENT_FREE, int(rows.sum()), int((cohort.cause[rows] > 0).sum()), subgroup=subgroup)
        return [not_available(name, place) for name in (*RANKING, "ibs")]
    place, metrics = sample.place(subgroup=subgroup), []
    for name, replicates in ranking_values(sample, sample.survival).items():
        metrics.append(metric_row(name, replicates, place, level, f"events up to {sample.tau:g} days"))
    brier, reference = brier_by_day(sample, sample.survival), brier_of_kaplan_meier(sample)
    ibs, ibs_reference = (survival.integrate(sample.days, table) for table in (brier, reference))
    metrics.append(metric_row("ibs", ibs, place, level, f"mean over {sample.days[0]:g} to {sample.tau:g} days"))
    metrics.append(metric_row("ipa", survival.prediction_accuracy_index(ibs, ibs_reference), place, level))
    for column, day in enumerate(sample.days):
        metrics += _at_horizon(sample, 1 - sample.survival[:, column], float(day), None, (level, subgroup, EVENT_FREE))
    return metrics


def cause_metrics(sample: SurvivalSample | None, endpoint: Endpoint, level: float, subgroup: str) -> list[Metric]:
    """The same per competing cause: C, AUC(t), Brier(t) of the CIF, calibration against Aalen-Johansen."""
    if sample is None or len(endpoint.causes) < 2:
        return []
    metrics: list[Metric] = []
    for number, cause in enumerate(endpoint.causes, start=1):
        risk, events = sample.incidence[number], int((sample.observed.cause == number).sum())
        place = sample.place(target=cause.key, events=events, subgroup=subgroup)
        if not np.isfinite(risk).all():
            metrics.append(not_available("uno_c", place, f"n/a (no predicted incidence of {cause.key})"))
            continue
        if events < MIN_EVENTS:
            metrics.append(not_available("uno_c", place))
            continue
        score = survival.concordance(
            risk.mean(axis=1), sample.observed, tau=sample.tau, wanted=number, strata=sample.strata
        )
        metrics.append(metric_row("uno_c", score, place, level, f"events up to {sample.tau:g} days"))
        for column, day in enumerate(sample.days):
            metrics += _at_horizon(sample, risk[:, column], float(day), number, (level, subgroup, cause.key))
    return metrics


def ranking_values(sample: SurvivalSample, predicted: FloatArray) -> dict[str, FloatArray]:
    """Uno's and Harrell's C of a predicted survival table on the sample's pairs."""
    risk = mean_risk(predicted)
    return {
        name: survival.concordance(
            risk, sample.observed, tau=sample.tau, strata=sample.strata, weighted=name == "uno_c"
        )
        for name in RANKING
    }


def brier_by_day(sample: SurvivalSample, predicted: FloatArray) -> FloatArray:
    """Brier score of a predicted survival table at each day. (R, H')."""
    columns = [survival.brier_at(1 - predicted[:, k], sample.observed, float(day)) for k, day in enumerate(sample.days)]
    return np.stack(columns, axis=1)


def brier_of_kaplan_meier(sample: SurvivalSample) -> FloatArray:
    """Brier score of giving everyone the Kaplan-Meier of these cases: the reference of the IPA. (R, H')."""
    observed = sample.observed
    curve = event_free_curve(risk_table(observed.time_days, observed.cause, observed.counts)).at(sample.days)
    columns = [survival.brier_at(1 - curve[:, [k]], observed, float(day)) for k, day in enumerate(sample.days)]
    return np.stack(columns, axis=1)


def _at_horizon(
    sample: SurvivalSample, risk: FloatArray, day: float, wanted: int | None, words: tuple[float, str, str]
) -> list[Metric]:
    level, subgroup, target = words
    observed = sample.observed
    events = observed.num_events_by(day, wanted)
    place = sample.place(target=target, subgroup=subgroup, horizon_days=day, events=events)
    if events < MIN_EVENTS:
        return [not_available(name, place) for name in ("auc_at", "brier_at", "observed_over_expected")]
    curve = survival_calibration.calibration_curve(risk, observed, day, wanted)
    values = {
        "auc_at": survival.auc_at(risk, observed, day, wanted=wanted, strata=sample.strata),
        "brier_at": survival.brier_at(risk, observed, day, wanted=wanted),
        "observed_over_expected": survival_calibration.observed_over_expected(risk, observed, day, wanted),
        "calibration_slope": curve.slope,
        "ici": survival_calibration.integrated_calibration_index(risk, curve.smooth_risk, observed.counts),
    }
    return [metric_row(name, replicates, place, level) for name, replicates in values.items()]


def calibration_points(sample: SurvivalSample, level: float, subgroup: str) -> list[CalibrationPoint]:
    """Quarters of predicted risk against Kaplan-Meier incidence, at each horizon with enough events."""
    points = []
    for column, day in enumerate(sample.days):
        if sample.observed.num_events_by(float(day), None) < MIN_EVENTS_SUBGROUP:
            continue
        risk = 1 - sample.survival[:, column]
        groups = survival_calibration.risk_quarters(risk)
        for group in np.unique(groups):
            points.append(_calibration_point(sample, risk, groups == group, (float(day), level, subgroup)))
    return points


def _calibration_point(
    sample: SurvivalSample, risk: FloatArray, rows: NDArray[np.bool_], words: tuple[float, float, str]
) -> CalibrationPoint:
    day, level, subgroup = words
    time_days, cause = sample.observed.time_days[rows], sample.observed.cause[rows]
    seen = observed_incidence(time_days, cause, sample.observed.counts[:, rows], np.array([day]), None)[:, 0]
    limits = interval(seen, level)
    exists, has_limits = np.isfinite(limits.value), np.isfinite(limits.lo)
    return CalibrationPoint(
        target=EVENT_FREE,
        subgroup=subgroup,
        horizon_days=day,
        predicted=float(risk[rows].mean()),
        observed=limits.value if exists else None,
        lo=limits.lo if has_limits else None,
        hi=limits.hi if has_limits else None,
        n=int(rows.sum()),
        events=int(((time_days <= day) & (cause > 0)).sum()),
    )


def risk_group_curves(cohort: Cohort, counts: FloatArray, endpoint: Endpoint, level: float) -> list[Curve]:
    """Observed (Kaplan-Meier) and mean predicted event-free probability per predicted risk group."""
    rows = outcome_rows(cohort)
    part, counts = cohort.take(rows), counts[:, rows]
    horizons = np.array(endpoint.horizons_days, dtype=np.float64)
    curves = []
    for group in (group.key for group in endpoint.risk_groups):
        members = np.array([name == group for name in part.risk_groups], dtype=bool)
        if not members.any():
            continue
        events = int((part.cause[members] > 0).sum())
        observed = _observed_points(part.time_days[members], part.cause[members], counts[:, members], level)
        predicted = np.hstack([np.ones((int(members.sum()), 1)), part.survival[members]]).mean(axis=0)
        points = [
            CurvePoint(x=float(x), y=float(y)) for x, y in zip(np.r_[0.0, horizons], predicted, strict=True) if y == y
        ]
        size = int(members.sum())
        curves.append(Curve(kind="risk_group_observed", name=group, points=tuple(observed), n=size, events=events))
        curves.append(Curve(kind="risk_group_predicted", name=group, points=tuple(points), n=size, events=events))
    return curves


def _observed_points(time_days: FloatArray, cause: IntArray, counts: FloatArray, level: float) -> list[CurvePoint]:
    curve = event_free_curve(risk_table(time_days, cause, counts))
    days = np.unique(np.r_[0.0, curve.times])
    if len(days) > MAX_CURVE_POINTS:
        days = np.unique(np.r_[0.0, np.quantile(time_days, np.linspace(0, 1, MAX_CURVE_POINTS))])
    values = curve.at(days)
    points = []
    for column, day in enumerate(days):
        limits = interval(values[:, column], level)
        has_limits = np.isfinite(limits.lo)
        points.append(
            CurvePoint(
                x=float(day),
                y=limits.value,
                lo=limits.lo if has_limits else None,
                hi=limits.hi if has_limits else None,
            )
        )
    return points


def decision_curves(sample: SurvivalSample, horizons: tuple[float, ...], level: float) -> list[Curve]:
    """Net benefit of the model and of acting on all, at the horizons that can be evaluated."""
    curves, thresholds = [], np.array(THRESHOLDS)
    for day in horizons:
        events = sample.observed.num_events_by(day, None)
        if day not in sample.days or events < MIN_EVENTS_SUBGROUP:
            continue
        risk = 1 - sample.survival[:, int(np.flatnonzero(sample.days == day)[0])]
        both = {
            "model": net_benefit(risk, sample.observed, day, thresholds),
            "act_on_all": net_benefit_of_all(sample.observed, day, thresholds),
        }
        for name, values in both.items():
            limits = [interval(values[:, column], level) for column in range(len(thresholds))]
            points = tuple(
                CurvePoint(x=float(x), y=one.value, lo=one.lo, hi=one.hi)
                for x, one in zip(thresholds, limits, strict=True)
                if np.isfinite(one.lo)
            )
            curves.append(
                Curve(
                    kind="net_benefit",
                    name=name,
                    points=points,
                    n=len(risk),
                    events=events,
                    horizon_days=day,
                )
            )
    return curves
