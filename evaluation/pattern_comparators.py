"""What the pattern could be told from without the network: nothing, the site, the antibody, a few measured extents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from domain.evaluation_result import PATTERN, Comparator, Difference, Metric
from domain.patterns import NUM_PATTERNS, PATTERNS
from domain.quantities import TABLE_QUANTITIES
from evaluation import calibration_error, discrimination
from evaluation.baselines import NUM_FOLDS, patient_folds
from evaluation.cohort import Cohort
from evaluation.intervals import FloatArray, mean_over_valid
from evaluation.metric_rows import Place, difference_row, metric_row, not_available
from evaluation.pattern_part import labelled_rows

IntArray = NDArray[np.int64]
Guess = Callable[[Cohort, Cohort], FloatArray]
Measure = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]

MIN_CASES = 30
PRIOR_CASES = 2.0  # weight of the overall shares in a table of shares by group
REGULARISATION = 1.0  # inverse ridge strength of the regression on extents

TITLES = {
    "site_only": "Pattern shares per site",
    "antibody_only": "Pattern shares per antibody class",
    "quantitative_ct": "Logistic regression on four CT extents",
}


def _shares_by(groups_of: Callable[[Cohort], tuple[str, ...]]) -> Guess:
    def guess(train: Cohort, test: Cohort) -> FloatArray:
        overall = train.labels.mean(axis=0)
        groups = np.array(groups_of(train))
        by_group = {}
        for name in set(groups_of(train)):
            members = train.labels[groups == name]
            by_group[name] = (members.sum(axis=0) + PRIOR_CASES * overall) / (len(members) + PRIOR_CASES)
        return np.array([by_group.get(name, overall) for name in groups_of(test)]).reshape(-1, NUM_PATTERNS)

    return guess


def _extents(cohort: Cohort) -> FloatArray:
    """Square roots of the four extents: they are skewed percentages. Missing ones become the mean later."""
    return np.sqrt(np.maximum(cohort.quantities, 0.0))


def guess_from_extents(train: Cohort, test: Cohort) -> FloatArray:
    """Ridge multinomial regression on the extents; a case with split votes enters once per pattern, by weight."""
    columns = _extents(train)
    means = np.nan_to_num(mean_over_valid(columns, axis=0))  # a column nobody has is 0 for everyone
    scale = np.maximum(np.nan_to_num(np.sqrt(mean_over_valid((columns - means) ** 2, axis=0))), 1e-6)
    rows, patterns = np.nonzero(train.labels > 0)
    if len(set(patterns)) < 2:
        return np.tile(train.labels.mean(axis=0), (len(test), 1))
    model = LogisticRegression(C=REGULARISATION, max_iter=500)
    standard = np.nan_to_num((columns - means) / scale)
    model.fit(standard[rows], patterns, sample_weight=train.labels[rows, patterns])
    guessed = np.zeros((len(test), NUM_PATTERNS))
    guessed[:, model.classes_] = model.predict_proba(np.nan_to_num((_extents(test) - means) / scale))
    return guessed


GUESSES: dict[str, Guess] = {
    "site_only": _shares_by(lambda cohort: cohort.sites),
    "antibody_only": _shares_by(lambda cohort: cohort.antibody_classes),
    "quantitative_ct": guess_from_extents,
}


def compare_patterns(
    cohort: Cohort, counts: FloatArray, level: float, seed: int, training: Cohort | None
) -> tuple[list[Metric], list[Difference], list[Comparator]]:
    """Each comparator's metrics and the paired differences of the model to it.

    Pairs are formed within a fold, for the model too: a case lowers its pattern in every fit it took part in, so across
    folds a comparator that knows nothing ranks worse than chance.

    Args:
        cohort: Evaluated cases.
        counts: Bootstrap counts, shape (R, N).
        level: Level of the intervals.
        seed: Seed of the folds.
        training: Separate cases with labels and, for extents, image columns; None or too few: out of fold.
    """
    rows = labelled_rows(cohort)
    if rows.sum() < MIN_CASES:
        return [], [], []
    part, counts = cohort.take(rows), counts[:, rows]
    metrics: list[Metric] = []
    differences: list[Difference] = []
    comparators: list[Comparator] = []
    for key, guess in GUESSES.items():
        place = Place(PATTERN, len(part), model=key)
        reason = _why_not(key, part)
        how = "out of fold, patients kept together"
        if reason:
            metrics.append(not_available("accuracy", place, reason))
        else:
            guessed, strata, how = _guess(guess, key, part, (training, seed))
            for name, measure in _measures(strata).items():
                theirs = measure(guessed, part.labels, counts)
                metrics.append(metric_row(name, theirs, place, level))
                ours = measure(part.probabilities, part.labels, counts)
                differences.append(difference_row(name, ours, theirs, place, level))
        note = {"title": TITLES[key], "how_fitted": how, "note": reason}
        comparators.append(Comparator(key=key, num_cases=0 if reason else len(part), **note))
    return metrics, differences, comparators


def single_quantity_metrics(cohort: Cohort, counts: FloatArray, level: float) -> list[Metric]:
    """How far one measured extent alone tells a pattern, without any fitting: the difficulty of the cohort."""
    rows = labelled_rows(cohort) & np.isfinite(cohort.quantities).all(axis=1)
    if rows.sum() < MIN_CASES:
        return []
    part, counts = cohort.take(rows), counts[:, rows]
    metrics = []
    for k, pattern in enumerate(PATTERNS):
        columns = [
            discrimination.one_vs_rest_auc(part.quantities[:, [q]], part.labels[:, [k]], counts)[:, 0]
            for q in range(part.quantities.shape[1])
        ]
        if not np.isfinite(columns[0][0]):
            continue
        best = int(np.argmax([abs(column[0] - 0.5) for column in columns]))
        turned = columns[best] if columns[best][0] >= 0.5 else 1 - columns[best]
        note = f"{TABLE_QUANTITIES[best]} alone{'' if columns[best][0] >= 0.5 else ', lower is likelier'}"
        place = Place(PATTERN, len(part), model="best_single_quantity")
        metrics.append(metric_row(f"auc_{pattern}", turned, place, level, note))
    return metrics


def _accuracy(probabilities: FloatArray, labels: FloatArray, counts: FloatArray) -> FloatArray:
    return discrimination.accuracy(discrimination.soft_confusion(labels, probabilities.argmax(axis=1), counts))


def _measures(strata: IntArray | None) -> dict[str, Measure]:
    def macro_auc(probabilities: FloatArray, labels: FloatArray, counts: FloatArray) -> FloatArray:
        return discrimination.macro_average(discrimination.one_vs_rest_auc(probabilities, labels, counts, strata))

    return {"auc_macro": macro_auc, "accuracy": _accuracy, "brier": calibration_error.brier_score}


def _why_not(key: str, part: Cohort) -> str:
    if key == "site_only" and len(set(part.sites)) < 2:
        return "n/a (one site)"
    if key == "quantitative_ct" and np.isfinite(part.quantities).all(axis=1).mean() < 0.5:
        return "n/a (extents missing in most cases)"
    return ""


def _guess(
    guess: Guess, key: str, part: Cohort, source: tuple[Cohort | None, int]
) -> tuple[FloatArray, IntArray | None, str]:
    """Probabilities (N, 4), the strata pairs are formed in (None: one fit on separate cases), how it was fitted."""
    training, seed = source
    own = part.folds if len(np.unique(part.folds)) > 1 else None
    if training is not None:
        usable = np.asarray(np.isfinite(training.labels).all(axis=1), dtype=np.bool_)
        if key == "quantitative_ct":
            usable &= np.isfinite(training.quantities).any(axis=1)
        if usable.sum() >= MIN_CASES:
            return guess(training.take(usable), part), own, f"on {int(usable.sum())} separate training cases"
    folds = own if own is not None else patient_folds(part.patients, part.labels.argmax(axis=1) == 0, NUM_FOLDS, seed)
    guessed = np.zeros((len(part), NUM_PATTERNS))
    for fold in np.unique(folds):
        guessed[folds == fold] = guess(part.take(folds != fold), part.take(folds == fold))
    return guessed, folds, "out of fold, patients kept together"
