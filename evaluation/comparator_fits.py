"""How the comparators are fitted: strata, ridge Cox, and forests where scikit-survival is installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.cohort import Cohort
from evaluation.incidence import cumulative_incidence, event_free_curve, risk_table
from evaluation.intervals import FloatArray
from evaluation.ridge_cox import NUM_INNER_FOLDS, PENALTIES, choose_penalty, fit_cox

Fit = Callable[[Cohort, FloatArray, Cohort, FloatArray, FloatArray, int], FloatArray]

# Fewer training events, and the comparator is not fitted: beating noise would be no merit.
MIN_TRAINING_EVENTS = {"strata": 5, "cox": 10, "forest": 15, "boosting": 15}
MIN_CASES_PER_CLASS = 5  # a smaller antibody class gets everyone's curve
MIN_KNOWN_SHARE = 0.1  # a column known in fewer training cases is left out
MIN_INDICATOR_SHARE = 0.05  # "was missing" becomes a column when that share was, and was not, missing


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Means, scales and missingness columns learnt from the training cases only."""

    keep: NDArray[np.int64]
    means: FloatArray
    scales: FloatArray
    indicators: NDArray[np.int64]

    @classmethod
    def fit(cls, columns: FloatArray) -> Standardiser:
        """Learn from training columns (N, P) with NaN."""
        known = np.isfinite(columns).mean(axis=0)
        filled = np.where(np.isfinite(columns), columns, 0.0)
        count = np.maximum(np.isfinite(columns).sum(axis=0), 1)
        means = filled.sum(axis=0) / count
        spread = np.sqrt((np.where(np.isfinite(columns), columns - means, 0.0) ** 2).sum(axis=0) / count)
        keep = np.flatnonzero((known >= MIN_KNOWN_SHARE) & (spread > 1e-9))
        indicators = np.flatnonzero((known >= MIN_INDICATOR_SHARE) & (known <= 1 - MIN_INDICATOR_SHARE))
        return cls(keep, means, np.where(spread > 1e-9, spread, 1.0), indicators)

    def apply(self, columns: FloatArray) -> FloatArray:
        """Standardise, put the mean for missing, add the missingness columns."""
        standard = np.nan_to_num((columns - self.means) / self.scales, nan=0.0)
        missing = np.isnan(columns[:, self.indicators]).astype(np.float64)
        return np.asarray(np.column_stack([standard[:, self.keep], missing]), dtype=np.float64)


def fit_strata(
    source: Cohort, train: FloatArray, target: Cohort, columns: FloatArray, days: FloatArray, seed: int
) -> FloatArray:
    """Kaplan-Meier per antibody class; small or unseen classes get everyone's curve; flat after the last time."""

    def curve(rows: np.ndarray[Any, np.dtype[np.bool_]]) -> FloatArray:
        counts = np.ones((1, int(rows.sum())))
        table = risk_table(source.time_days[rows], source.cause[rows], counts)
        return np.asarray(event_free_curve(table).at(days)[0], dtype=np.float64)

    classes = np.array(source.antibody_classes)
    everyone = curve(np.ones(len(source), dtype=bool))
    by_class = {name: curve(classes == name) for name in set(classes) if (classes == name).sum() >= MIN_CASES_PER_CLASS}
    return np.array([by_class.get(name, everyone) for name in target.antibody_classes]).reshape(len(target), -1)


def fit_strata_incidence(source: Cohort, target: Cohort, days: FloatArray, cause: int) -> FloatArray:
    """Aalen-Johansen incidence of one cause per antibody class, small classes as everyone. (N, H)."""

    def curve(rows: NDArray[np.bool_]) -> FloatArray:
        cause_of, counts = source.cause[rows], np.ones((1, int(rows.sum())))
        table = risk_table(source.time_days[rows], cause_of, counts)
        return np.asarray(cumulative_incidence(table, cause_of, counts, cause).at(days)[0], dtype=np.float64)

    classes = np.array(source.antibody_classes)
    everyone = curve(np.ones(len(source), dtype=np.bool_))
    by_class = {name: curve(classes == name) for name in set(classes) if (classes == name).sum() >= MIN_CASES_PER_CLASS}
    return np.array([by_class.get(name, everyone) for name in target.antibody_classes]).reshape(len(target), -1)


def fit_ridge_cox(
    source: Cohort, train: FloatArray, target: Cohort, columns: FloatArray, days: FloatArray, seed: int
) -> FloatArray:
    """Ridge Cox with the penalty chosen by inner cross-validation, patients kept together."""
    standardiser = Standardiser.fit(train)
    design, is_event = standardiser.apply(train), source.cause > 0
    patients, index = np.unique(np.asarray(source.patients, dtype=str), return_inverse=True)
    folds = np.random.default_rng(seed).permutation(len(patients))[index] % NUM_INNER_FOLDS
    penalty = choose_penalty(design, source.time_days, is_event, folds, PENALTIES)
    model = fit_cox(design, source.time_days, is_event, penalty)
    return model.survival(standardiser.apply(columns), days)


def _fit_ensemble(
    name: str, source: Cohort, design: FloatArray, target: FloatArray, days: FloatArray, seed: int
) -> FloatArray:
    ensemble = import_module("sksurv.ensemble")
    makers: dict[str, Callable[[], Any]] = {
        "forest": lambda: ensemble.RandomSurvivalForest(n_estimators=200, min_samples_leaf=5, random_state=seed),
        "boosting": lambda: ensemble.GradientBoostingSurvivalAnalysis(
            n_estimators=100, learning_rate=0.1, max_depth=2, subsample=0.8, random_state=seed
        ),
    }
    outcome = np.array(
        list(zip(source.cause > 0, np.maximum(source.time_days, 0.5), strict=True)),  # forests refuse time 0
        dtype=[("event", bool), ("time", float)],
    )
    model = makers[name]().fit(design, outcome)
    curves = model.predict_survival_function(target)
    return np.array([_step_at(curve.x, curve.y, days) for curve in curves]).reshape(len(target), len(days))


def _step_at(times: FloatArray, values: FloatArray, days: FloatArray) -> FloatArray:
    steps = np.searchsorted(times, days, side="right")
    return np.asarray(np.concatenate([[1.0], values])[steps], dtype=np.float64)


def fit_forest(
    source: Cohort, train: FloatArray, target: Cohort, columns: FloatArray, days: FloatArray, seed: int
) -> FloatArray:
    """Random survival forest of scikit-survival, 200 trees."""
    standardiser = Standardiser.fit(train)
    return _fit_ensemble("forest", source, standardiser.apply(train), standardiser.apply(columns), days, seed)


def fit_boosting(
    source: Cohort, train: FloatArray, target: Cohort, columns: FloatArray, days: FloatArray, seed: int
) -> FloatArray:
    """Gradient boosting of scikit-survival, depth 2."""
    standardiser = Standardiser.fit(train)
    return _fit_ensemble("boosting", source, standardiser.apply(train), standardiser.apply(columns), days, seed)


FITS: dict[str, Fit] = {"strata": fit_strata, "cox": fit_ridge_cox, "forest": fit_forest, "boosting": fit_boosting}
