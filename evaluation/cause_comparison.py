"""Competing causes: the model's cumulative incidences beside Aalen-Johansen per antibody class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domain.endpoints import Endpoint
from domain.evaluation_result import Difference, Metric
from evaluation import survival
from evaluation.baselines import comparator_folds
from evaluation.cohort import UNKNOWN_CAUSE, Cohort
from evaluation.comparator_fits import MIN_TRAINING_EVENTS, fit_strata_incidence
from evaluation.intervals import FloatArray
from evaluation.metric_rows import Place, difference_row, metric_row
from evaluation.survival_part import MIN_EVENTS, SurvivalSample

IntArray = NDArray[np.int64]

COMPARATOR = "antibody_class"


def compare_causes(
    cohort: Cohort,
    sample: SurvivalSample,
    endpoint: Endpoint,
    source: tuple[Cohort | None, int],
    level: float,
) -> tuple[list[Metric], list[Difference]]:
    """Brier score and AUC of each cause at the endpoint's risk horizon, paired with Aalen-Johansen per class.

    Args:
        cohort: Evaluated cases with outcomes: the rows of ``sample``.
        sample: What can be evaluated.
        endpoint: Causes and risk horizon.
        source: Separate training cases or None, and the seed of the folds.
        level: Level of the intervals.
    """
    day = float(endpoint.risk_horizon_days)
    if len(endpoint.causes) < 2 or day not in sample.days:
        return [], []
    column = int(np.flatnonzero(sample.days == day)[0])
    metrics: list[Metric] = []
    differences: list[Difference] = []
    for number, cause in enumerate(endpoint.causes, start=1):
        events = sample.observed.num_events_by(day, number)
        ours = sample.incidence[number][:, column]
        theirs, strata = _class_incidence(cohort, np.array([day]), number, source)
        if sample.strata is not None:
            strata = sample.strata
        if events < MIN_EVENTS or not np.isfinite(ours).all() or not np.isfinite(theirs).all():
            continue
        place = Place(cause.key, len(ours), events, model=COMPARATOR, horizon_days=day)
        pairs = {
            "brier_at": [survival.brier_at(risk, sample.observed, day, wanted=number) for risk in (ours, theirs)],
            "auc_at": [
                survival.auc_at(risk, sample.observed, day, wanted=number, strata=strata) for risk in (ours, theirs)
            ],
        }
        for name, (model, comparator) in pairs.items():
            metrics.append(metric_row(name, comparator, place, level))
            differences.append(difference_row(name, model, comparator, place, level))
    return metrics, differences


def _class_incidence(
    cohort: Cohort, days: FloatArray, number: int, source: tuple[Cohort | None, int]
) -> tuple[FloatArray, IntArray | None]:
    """Incidence at one day per case, and the strata pairs are formed in (None with separate training cases)."""
    training, seed = source
    if training is not None:
        known = training.take(training.cause != UNKNOWN_CAUSE)
        if (known.cause > 0).sum() >= MIN_TRAINING_EVENTS["strata"]:
            return fit_strata_incidence(known, cohort, days, number)[:, 0], None
    folds = comparator_folds(cohort, seed)
    values = np.full(len(cohort), np.nan)
    for fold in np.unique(folds):
        if (folds != fold).any():
            rows = folds == fold
            values[rows] = fit_strata_incidence(cohort.take(~rows), cohort.take(rows), days, number)[:, 0]
    return values, folds
