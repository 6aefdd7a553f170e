"""Curves of the survival half: calibration points, risk groups against Kaplan-Meier, decision curves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domain.endpoints import Endpoint
from domain.evaluation_result import EVENT_FREE, CalibrationPoint, Curve, CurvePoint
from evaluation import survival_calibration
from evaluation.cohort import Cohort
from evaluation.incidence import event_free_curve, observed_incidence, risk_table
from evaluation.intervals import FloatArray, interval
from evaluation.net_benefit import THRESHOLDS, net_benefit, net_benefit_of_all
from evaluation.survival_part import MIN_EVENTS_SUBGROUP, SurvivalSample, outcome_rows

IntArray = NDArray[np.int64]

MAX_CURVE_POINTS = 60


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
        time_days = np.minimum(part.time_days[members], endpoint.last_day)
        observed = _observed_points(time_days, part.cause[members], counts[:, members], level)
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
