"""The survival half of an evaluation: what can be evaluated, and every metric of it. Curves: ``survival_curves``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.endpoints import Endpoint
from domain.evaluation_result import EVENT_FREE, Metric
from evaluation import survival, survival_calibration
from evaluation.cohort import UNKNOWN_CAUSE, Cohort
from evaluation.goodness_of_fit import a_calibration
from evaluation.incidence import event_free_curve, risk_table
from evaluation.intervals import FloatArray
from evaluation.metric_rows import Place, metric_row, not_available
from evaluation.survival import Observed, is_free_at

IntArray = NDArray[np.int64]

MIN_EVENTS = 5  # fewer: "n/a (k events)"
MIN_EVENTS_SUBGROUP = 10
MIN_LEFT_AT_HORIZON = 5  # known to be event-free at t; fewer, and t is not evaluated
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
        sites: Site number of each case, -1 where not given; shape (N,).
    """

    observed: Observed
    days: FloatArray
    survival: FloatArray
    incidence: dict[int, FloatArray]
    strata: IntArray | None
    sites: IntArray

    @property
    def num_events(self) -> int:
        """Events of any cause up to ``tau``: later ones enter no figure."""
        return self.observed.num_events_by(self.tau, None)

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
    """Horizons predicted for every case, with an event by then and enough cases seen event-free up to it."""
    predicted = np.isfinite(survival).all(axis=0) if len(survival) else np.zeros(len(horizons), dtype=bool)
    events = np.array([((time_days <= day) & (cause > 0)).any() for day in horizons])
    left = np.array([is_free_at(time_days, cause, day).sum() for day in horizons])
    return np.asarray(predicted & events & (left >= MIN_LEFT_AT_HORIZON), dtype=np.bool_)


def survival_sample(cohort: Cohort, counts: FloatArray, endpoint: Endpoint) -> SurvivalSample | None:
    """The evaluable part of a cohort; None without an evaluable horizon."""
    rows = outcome_rows(cohort)
    part, horizons = cohort.take(rows), np.array(endpoint.horizons_days, dtype=np.float64)
    use = evaluable_days(part.time_days, part.cause, part.survival, horizons)
    use &= horizons <= endpoint.last_day
    if not use.any():
        return None
    incidence = {number: part.incidence[key][:, use] for number, key in enumerate(endpoint.cause_keys, start=1)}
    strata = part.folds if len(np.unique(part.folds)) > 1 else None
    observed = Observed.of(part.time_days, part.cause, counts[:, rows])
    return SurvivalSample(observed, horizons[use], part.survival[:, use], incidence, strata, _site_numbers(part))


def _site_numbers(part: Cohort) -> IntArray:
    names = sorted(set(part.sites) - {""})
    return np.array([names.index(site) if site else -1 for site in part.sites], dtype=np.int64)


def mean_risk(survival: FloatArray) -> FloatArray:
    """Risk score that ranks: mean of 1 - S over the evaluable horizons. (N, H) -> (N,)."""
    return np.asarray((1 - survival).mean(axis=1), dtype=np.float64)


def overall_metrics(
    sample: SurvivalSample | None, cohort: Cohort, level: float, subgroup: str, min_events: int = MIN_EVENTS
) -> list[Metric]:
    """Ranking, AUC(t), Brier(t), IBS, IPA and calibration of the event-free probability."""
    if sample is None:
        rows = outcome_rows(cohort)
        place = Place(EVENT_FREE, int(rows.sum()), int((cohort.cause[rows] > 0).sum()), subgroup=subgroup)
        return [not_available(name, place) for name in (*RANKING, "ibs")]
    place, metrics = sample.place(subgroup=subgroup), []
    if sample.num_events < min_events:
        return [not_available(name, place) for name in (*RANKING, "ibs")]
    for name, replicates in ranking_values(sample, sample.survival).items():
        metrics.append(metric_row(name, replicates, place, level, f"events up to {sample.tau:g} days"))
    if sample.strata is None:
        metrics += _within_sites(sample, level, subgroup)
    brier, reference = brier_by_day(sample, sample.survival), brier_of_kaplan_meier(sample)
    ibs, ibs_reference = (survival.integrate(sample.days, table) for table in (brier, reference))
    metrics.append(metric_row("ibs", ibs, place, level, f"mean over {sample.days[0]:g} to {sample.tau:g} days"))
    metrics.append(metric_row("ipa", survival.prediction_accuracy_index(ibs, ibs_reference), place, level))
    metrics.append(_whole_curve_test(sample, place))
    for column, day in enumerate(sample.days):
        metrics += _at_horizon(sample, 1 - sample.survival[:, column], float(day), None, (level, subgroup, EVENT_FREE))
    return metrics


def _within_sites(sample: SurvivalSample, level: float, subgroup: str) -> list[Metric]:
    """Uno's C of pairs within a site, among cases whose site is known; nothing where fewer than two are."""
    rows, all_cases = sample.sites >= 0, sample.observed
    if len(np.unique(sample.sites[rows])) < 2:
        return []
    observed = Observed.of(all_cases.time_days[rows], all_cases.cause[rows], all_cases.counts[:, rows])
    risk, sites = mean_risk(sample.survival[rows]), sample.sites[rows]
    within = survival.concordance(risk, observed, tau=sample.tau, strata=sites)
    place = sample.place(subgroup=subgroup, n=len(risk), events=observed.num_events_by(sample.tau, None))
    return [metric_row("uno_c_within_site", within, place, level, "pairs of one site only")]


def _whole_curve_test(sample: SurvivalSample, place: Place) -> Metric:
    """A-calibration of the predicted curve; a p-value has no interval."""
    observed = sample.observed
    test = a_calibration(sample.survival, sample.days, observed.time_days, (observed.cause > 0).astype(np.float64))
    name = "a_calibration_p"
    if not np.isfinite(test.p_value):
        return not_available(name, place)
    note = f"chi-square {test.statistic:.1f}, {test.degrees} bins; a large p is no proof of calibration"
    return not_available(name, place, note).model_copy(update={"value": test.p_value})


def cause_metrics(sample: SurvivalSample | None, endpoint: Endpoint, level: float, subgroup: str) -> list[Metric]:
    """The same per competing cause: C, AUC(t), Brier(t) of the CIF, calibration against Aalen-Johansen."""
    if sample is None or len(endpoint.causes) < 2:
        return []
    metrics: list[Metric] = []
    for number, cause in enumerate(endpoint.causes, start=1):
        risk, events = sample.incidence[number], sample.observed.num_events_by(sample.tau, number)
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
