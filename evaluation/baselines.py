"""Simple models the evaluated one must beat, refitted for every evaluation. None of them is ever shipped or saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from domain.covariates import CovariateVocabulary
from evaluation import comparator_inputs as inputs
from evaluation.cohort import UNKNOWN_CAUSE, Cohort
from evaluation.comparator_fits import FITS, MIN_TRAINING_EVENTS
from evaluation.intervals import FloatArray

IntArray = NDArray[np.int64]

NUM_FOLDS = 5
MIN_AVAILABLE_CASES = 20  # with the inputs, to fit out of fold among them
MIN_AVAILABLE_CASES_SEPARATE = 10  # the same when fitted on other cases
MIN_IMAGE_SHARE = 0.5  # of the separate training cases; else comparators with image are fitted out of fold


class Need(StrEnum):
    """What a comparator cannot do without."""

    IMAGE = "image"  # columns of the predictions table
    COMPLETE_ROWS = "complete_rows"  # a case with a missing input has no prediction (scores of points)
    SCIKIT_SURVIVAL = "scikit_survival"  # optional package


@dataclass(frozen=True, slots=True)
class FitContext:
    """What every comparator is given: coding of covariates, horizons, seed."""

    covariates: CovariateVocabulary
    days: FloatArray
    seed: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """One comparator.

    Attributes:
        key: Name in tables.
        title: What it is, for people.
        kind: Key of ``comparator_fits.FITS``.
        columns: Makes its inputs.
        needs: What it cannot do without.
    """

    key: str
    title: str
    kind: str
    columns: inputs.Columns
    needs: frozenset[Need] = frozenset()


_COMPLETE = frozenset({Need.COMPLETE_ROWS})
_IMAGE = frozenset({Need.IMAGE})
_FOREST = frozenset({Need.IMAGE, Need.SCIKIT_SURVIVAL})

BASELINES: tuple[Baseline, ...] = (
    Baseline("antibody_class", "Kaplan-Meier per antibody class", "strata", inputs.antibodies),
    Baseline("antibody_age", "Ridge Cox: age and antibodies", "cox", inputs.age_and_antibodies),
    Baseline("clinical", "Ridge Cox: clinical", "cox", inputs.clinical),
    Baseline("clinical_antibodies", "Ridge Cox: clinical and antibodies", "cox", inputs.clinical_and_antibodies),
    Baseline("image_score", "Ridge Cox: clinical, antibodies, image score", "cox", inputs.with_image_score, _IMAGE),
    Baseline("interactions", "The same with interactions fixed before", "cox", inputs.with_interactions, _IMAGE),
    Baseline("ggo_extent", "Cox: ground-glass extent alone", "cox", inputs.ground_glass, _IMAGE | _COMPLETE),
    Baseline("mck", "Cox: MCK score (MDA5, CRP, KL-6)", "cox", inputs.mck, _COMPLETE),
    Baseline("flair_like", "Cox: FLAIR-like points (ferritin, LDH, MDA5)", "cox", inputs.flair_like, _COMPLETE),
    Baseline("ild_gap", "Cox: ILD-GAP points (sex, age, FVC, DLCO)", "cox", inputs.ild_gap, _COMPLETE),
    Baseline("forest", "Random survival forest", "forest", inputs.with_image_score, _FOREST),
    Baseline("boosting", "Gradient-boosted survival", "boosting", inputs.with_image_score, _FOREST),
)


@dataclass(frozen=True, eq=False)
class BaselinePrediction:
    """What a comparator says of the evaluated cases.

    Attributes:
        baseline: Which.
        survival: Shape (N, H), NaN for a case it cannot predict.
        strata: Cases of one value were predicted by one fit; pairs are formed within. Shape (N,).
        how_fitted: In words.
        note: Why there is nothing, or what to keep in mind.
    """

    baseline: Baseline
    survival: FloatArray
    strata: IntArray
    how_fitted: str
    note: str = ""

    @property
    def num_cases(self) -> int:
        """Cases with a prediction."""
        return int(np.isfinite(self.survival).all(axis=1).sum())


def patient_folds(patients: Sequence[str], has_event: NDArray[np.bool_], num_folds: int, seed: int) -> IntArray:
    """Fold of each case: patients stay together, events are dealt evenly. Shape (N,)."""
    names, index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    with_event = np.zeros(len(names), dtype=bool)
    np.logical_or.at(with_event, index, has_event)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    dealt = shuffled[np.argsort(~with_event[shuffled], kind="stable")]
    fold_of_patient = np.empty(len(names), dtype=np.int64)
    fold_of_patient[dealt] = np.arange(len(names)) % max(min(num_folds, len(names)), 1)
    return fold_of_patient[index]


def comparator_folds(cohort: Cohort, seed: int) -> IntArray:
    """Folds the comparators are cross-fitted on: those of the predictions where they have some. Shape (N,)."""
    if len(np.unique(cohort.folds)) > 1:
        return cohort.folds
    return patient_folds(cohort.patients, cohort.cause > 0, NUM_FOLDS, seed)


def predict_baselines(
    cohort: Cohort,
    covariates: CovariateVocabulary,
    days: FloatArray,
    *,
    training: Cohort | None = None,
    seed: int = 0,
    skip: Sequence[str] = (),
) -> list[BaselinePrediction]:
    """Fit every comparator and predict the evaluated cases.

    Args:
        cohort: Evaluated cases with known outcomes.
        covariates: Codes the clinical columns.
        days: Horizons, shape (H,).
        training: Cases to fit on; None fits out of fold inside ``cohort``, on its own folds where it has some.
        seed: Seed of folds and forests.
        skip: Keys of comparators not to fit.

    Returns:
        One prediction per comparator, in the order of ``BASELINES``; unavailable ones are all NaN with a note.
    """
    folds = comparator_folds(cohort, seed)
    has_image = training is not None and np.isfinite(inputs.image_score(training)).mean() >= MIN_IMAGE_SHARE
    predictions = []
    for baseline in (one for one in BASELINES if one.key not in skip):
        source = training if has_image or Need.IMAGE not in baseline.needs else None
        predictions.append(_predict_one(baseline, cohort, source, folds, FitContext(covariates, days, seed)))
    return predictions


def _predict_one(
    baseline: Baseline,
    cohort: Cohort,
    training: Cohort | None,
    folds: IntArray,
    context: FitContext,
) -> BaselinePrediction:
    survival = np.full((len(cohort), len(context.days)), np.nan)
    how, strata = "out of fold, patients kept together", folds
    if training is not None:
        how, strata = f"on {len(training)} separate training cases", np.zeros(len(cohort), dtype=np.int64)
    if Need.SCIKIT_SURVIVAL in baseline.needs and find_spec("sksurv") is None:
        return BaselinePrediction(baseline, survival, strata, how, "n/a (needs the extra `eval`: scikit-survival)")
    usable = _usable_rows(baseline, cohort, context.covariates)
    if usable.sum() < (MIN_AVAILABLE_CASES if training is None else MIN_AVAILABLE_CASES_SEPARATE):
        return BaselinePrediction(
            baseline, survival, strata, how, f"n/a (inputs present in {int(usable.sum())} of {len(cohort)} cases)"
        )
    pieces = [(training, usable)] if training is not None else _fold_pieces(cohort, folds, usable)
    for source, rows in pieces:
        _fill(survival, rows, baseline, source, cohort, context)
    note = (
        "" if np.isfinite(survival).any() else f"n/a (fewer than {MIN_TRAINING_EVENTS[baseline.kind]} events to fit on)"
    )
    return BaselinePrediction(baseline, survival, strata, how, note)


def _usable_rows(baseline: Baseline, cohort: Cohort, covariates: CovariateVocabulary) -> NDArray[np.bool_]:
    usable = np.ones(len(cohort), dtype=np.bool_)
    if Need.COMPLETE_ROWS in baseline.needs:
        usable &= np.isfinite(baseline.columns(cohort, covariates)).all(axis=1)
    if Need.IMAGE in baseline.needs:
        usable &= np.isfinite(inputs.image_score(cohort))
    return usable


def _fold_pieces(cohort: Cohort, folds: IntArray, usable: NDArray[np.bool_]) -> list[tuple[Cohort, NDArray[np.bool_]]]:
    return [(cohort.take((folds != fold) & usable), (folds == fold) & usable) for fold in np.unique(folds)]


def _fill(
    survival: FloatArray,
    rows: NDArray[np.bool_],
    baseline: Baseline,
    source: Cohort,
    cohort: Cohort,
    context: FitContext,
) -> None:
    """Fit on ``source`` and write the survival of ``rows`` of the cohort; leaves NaN where it cannot be fitted."""
    train_columns = baseline.columns(source, context.covariates)
    train_rows = source.cause != UNKNOWN_CAUSE
    if Need.COMPLETE_ROWS in baseline.needs:
        train_rows &= np.isfinite(train_columns).all(axis=1)
    source, train_columns = source.take(train_rows), train_columns[train_rows]
    if (source.cause > 0).sum() < MIN_TRAINING_EVENTS[baseline.kind] or not rows.any():
        return
    target = cohort.take(rows)
    columns = baseline.columns(target, context.covariates)
    survival[rows] = FITS[baseline.kind](source, train_columns, target, columns, context.days, context.seed)
