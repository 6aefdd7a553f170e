"""The evaluated model beside each comparator, on the same cases and the same pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from domain.evaluation_result import Comparator, Difference, Metric
from evaluation import survival
from evaluation.baselines import BaselinePrediction
from evaluation.intervals import FloatArray
from evaluation.metric_rows import difference_row, metric_row, not_available
from evaluation.survival import Observed
from evaluation.survival_part import MIN_EVENTS, SurvivalSample, brier_by_day, ranking_values


def compare(
    sample: SurvivalSample, prediction: BaselinePrediction, risk_horizon_days: float, level: float
) -> tuple[list[Metric], list[Difference], Comparator]:
    """Metrics of one comparator and the paired differences.

    Args:
        sample: The evaluated model's sample.
        prediction: The comparator on the same cases, at the sample's days.
        risk_horizon_days: Horizon of the AUC.
        level: Level of the intervals.

    Returns:
        (metrics, differences, the comparator's description). Pairs are formed within the comparator's fits, for the
        model too, so that both are scored on the same pairs.
    """
    known = np.asarray(np.isfinite(prediction.survival).all(axis=1), dtype=np.bool_)
    baseline = prediction.baseline
    comparator = Comparator(
        key=baseline.key,
        title=baseline.title,
        how_fitted=prediction.how_fitted,
        num_cases=int(known.sum()),
        note=prediction.note,
    )
    both = _restrict(sample, known, prediction)
    place = both.place(model=baseline.key)
    if both.num_events < MIN_EVENTS or prediction.note:
        return [not_available("uno_c", place, prediction.note)], [], comparator
    model_values = _values(both, both.survival, risk_horizon_days)
    comparator_values = _values(both, prediction.survival[known], risk_horizon_days)
    metrics, differences = [], []
    for (name, day), replicates in comparator_values.items():
        here = replace(place, horizon_days=day)
        metrics.append(metric_row(name, replicates, here, level))
        differences.append(difference_row(name, model_values[(name, day)], replicates, here, level))
    return metrics, differences, comparator


def _restrict(sample: SurvivalSample, rows: NDArray[np.bool_], prediction: BaselinePrediction) -> SurvivalSample:
    observed = sample.observed
    strata = prediction.strata[rows] if len(np.unique(prediction.strata)) > 1 else None
    if sample.strata is not None:
        strata = sample.strata[rows]
    if not rows.any():
        nobody = _nobody(observed)
        return replace(
            sample, survival=sample.survival[:0], observed=nobody, incidence={}, strata=None, sites=sample.sites[:0]
        )
    return replace(
        sample,
        observed=Observed.of(observed.time_days[rows], observed.cause[rows], observed.counts[:, rows]),
        survival=sample.survival[rows],
        incidence={},
        strata=strata,
        sites=sample.sites[rows],
    )


def _nobody(observed: Observed) -> Observed:
    return Observed(observed.time_days[:0], observed.cause[:0], observed.counts[:, :0], observed.censoring)


def _values(
    sample: SurvivalSample, predicted: FloatArray, risk_horizon_days: float
) -> dict[tuple[str, float | None], FloatArray]:
    values: dict[tuple[str, float | None], FloatArray] = {}
    for name, replicates in ranking_values(sample, predicted).items():
        values[(name, None)] = replicates
    values[("ibs", None)] = survival.integrate(sample.days, brier_by_day(sample, predicted))
    if risk_horizon_days in sample.days:
        column = int(np.flatnonzero(sample.days == risk_horizon_days)[0])
        risk = 1 - predicted[:, column]
        values[("auc_at", risk_horizon_days)] = survival.auc_at(
            risk, sample.observed, risk_horizon_days, strata=sample.strata
        )
    return values
