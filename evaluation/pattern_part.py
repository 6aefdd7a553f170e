"""The pattern half of an evaluation: from a cohort to metrics, reliability, confusion and curves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domain.evaluation_result import (
    PATTERN,
    ConfusionMatrix,
    Curve,
    CurvePoint,
    Difference,
    Metric,
    ReliabilityBin,
)
from domain.patterns import NUM_PATTERNS, PATTERNS
from evaluation import calibration_error, conformal_coverage, discrimination
from evaluation.cohort import Cohort
from evaluation.intervals import FloatArray, interval, safe_divide
from evaluation.metric_rows import Place, difference_row, metric_row, not_available

IntArray = NDArray[np.int64]

COVERAGES = np.round(np.arange(0.3, 1.001, 0.05), 2)
NUM_PERFECT_DRAWS = 200
MIN_LABELLED = 5  # fewer labelled cases, and no pattern figure is made
MOST_FREQUENT = "most_frequent_pattern"
ABSTAINED = "abstained"
READER_NOTE = "several readers: against a reader drawn at random per case"
COMPONENTS = {
    "nsip_component": [pattern.has_nsip for pattern in PATTERNS],
    "op_component": [pattern.has_op for pattern in PATTERNS],
}


def labelled_rows(cohort: Cohort) -> NDArray[np.bool_]:
    """Cases with a label and four probabilities."""
    known = np.isfinite(cohort.labels).all(axis=1) & np.isfinite(cohort.probabilities).all(axis=1)
    return np.asarray(known, dtype=np.bool_)


def pattern_metrics(cohort: Cohort, counts: FloatArray, level: float, subgroup: str, seed: int) -> list[Metric]:
    """Every pattern metric of the labelled cases of a cohort; ``n/a`` rows where there are too few.

    Args:
        cohort: Evaluated cases.
        counts: Bootstrap counts of these cases, shape (R, N).
        level: Level of the intervals.
        subgroup: Name for the rows.
        seed: Seed of the comparison with a perfectly calibrated model.
    """
    rows = labelled_rows(cohort)
    place = Place(PATTERN, int(rows.sum()), subgroup=subgroup)
    if rows.sum() < MIN_LABELLED:
        return [not_available(name, place, f"n/a ({place.n} labelled cases)") for name in ("auc_macro", "accuracy")]
    part, counts = cohort.take(rows), counts[:, rows]
    note = READER_NOTE if ((part.labels > 0).sum(axis=1) > 1).any() else ""
    values = _discrimination(part, counts) | _belief(part, counts, seed)
    return [metric_row(name, replicates, place, level, note) for name, replicates in values.items()]


def _discrimination(part: Cohort, counts: FloatArray) -> dict[str, FloatArray]:
    strata = part.folds if len(np.unique(part.folds)) > 1 else None
    aucs = discrimination.one_vs_rest_auc(part.probabilities, part.labels, counts, strata)
    best = part.probabilities.argmax(axis=1)
    forced = discrimination.soft_confusion(part.labels, best, counts)
    answered = discrimination.soft_confusion(part.labels, part.answers, counts)
    f1_scores = discrimination.f1_scores(forced)
    values = {"auc_macro": discrimination.macro_average(aucs)}
    values |= {f"auc_{pattern}": aucs[:, k] for k, pattern in enumerate(PATTERNS)}
    for name, members in COMPONENTS.items():
        score = part.probabilities[:, members].sum(axis=1, keepdims=True)
        label = part.labels[:, members].sum(axis=1, keepdims=True)
        values[f"auc_{name}"] = discrimination.one_vs_rest_auc(score, label, counts, strata)[:, 0]
    values["accuracy"] = discrimination.accuracy(forced)
    values["accuracy_when_answered"] = discrimination.accuracy(answered)
    values["answered_share"] = safe_divide(counts @ (part.answers >= 0).astype(float), counts.sum(axis=1))
    values["accuracy_of_most_frequent"] = discrimination.majority_share(part.labels, counts)
    values["balanced_accuracy"] = discrimination.balanced_accuracy(forced)
    values["kappa"] = discrimination.cohen_kappa(forced)
    values["f1_macro"] = discrimination.macro_average(f1_scores)
    return values | {f"f1_{pattern}": f1_scores[:, k] for k, pattern in enumerate(PATTERNS)}


def _belief(part: Cohort, counts: FloatArray, seed: int) -> dict[str, FloatArray]:
    confidence, correct = confidence_and_correct(part)
    perfect = calibration_error.calibration_error_if_perfect(confidence, NUM_PERFECT_DRAWS, seed)
    values = {
        "brier": calibration_error.brier_score(part.probabilities, part.labels, counts),
        "log_loss": calibration_error.log_loss(part.probabilities, part.labels, counts),
        "ece": calibration_error.expected_calibration_error(confidence, correct, counts),
        "ece_if_perfectly_calibrated": np.full(len(counts), perfect),
    }
    if part.sets.any():
        by_pattern = conformal_coverage.set_coverage_by_pattern(part.sets, part.labels, counts)
        values["set_coverage"] = conformal_coverage.set_coverage(part.sets, part.labels, counts)
        values |= {f"set_coverage_{pattern}": by_pattern[:, k] for k, pattern in enumerate(PATTERNS)}
        values["set_size"] = conformal_coverage.mean_set_size(part.sets, counts)
        values["single_answer_share"] = conformal_coverage.single_answer_share(part.sets, counts)
    return values


def confidence_and_correct(part: Cohort) -> tuple[FloatArray, FloatArray]:
    """Highest probability and the vote share of that pattern, each (N,)."""
    best = part.probabilities.argmax(axis=1)
    picked = np.arange(len(part))
    return part.probabilities[picked, best], part.labels[picked, best]


def accuracy_above_chance(cohort: Cohort, counts: FloatArray, level: float) -> list[Difference]:
    """Accuracy less that of always naming the most frequent pattern of these cases."""
    rows = labelled_rows(cohort)
    if rows.sum() < MIN_LABELLED:
        return []
    part, counts = cohort.take(rows), counts[:, rows]
    confusion = discrimination.soft_confusion(part.labels, part.probabilities.argmax(axis=1), counts)
    chance = discrimination.majority_share(part.labels, counts)
    place = Place(PATTERN, len(part), model=MOST_FREQUENT)
    return [difference_row("accuracy", discrimination.accuracy(confusion), chance, place, level)]


def reader_metrics(cohort: Cohort) -> list[Metric]:
    """Agreement between the readers of the reference, where there are several."""
    votes = [[PATTERNS.index(vote) for vote in case.pattern_votes.values()] for case in cohort.cases]
    agreement, kappa, read_twice = discrimination.reader_agreement(votes, NUM_PATTERNS)
    if read_twice == 0:
        return []
    note = "between readers: a ceiling for accuracy against one of them"
    pairs = {"reader_agreement": agreement, "reader_kappa": kappa}
    return [
        Metric(
            target=PATTERN,
            metric=name,
            model="readers",
            value=value if value == value else None,
            n=read_twice,
            note=note,
        )
        for name, value in pairs.items()
    ]


def reliability(cohort: Cohort, counts: FloatArray, level: float) -> list[ReliabilityBin]:
    """Reliability points of each pattern."""
    rows = labelled_rows(cohort)
    if rows.sum() < MIN_LABELLED:
        return []
    part, counts = cohort.take(rows), counts[:, rows]
    bins = []
    for k, pattern in enumerate(PATTERNS):
        table = calibration_error.reliability_table(part.probabilities[:, k], part.labels[:, k], counts)
        for predicted, observed, n in table:
            limits = interval(observed, level)
            lo, hi = (limits.lo, limits.hi) if np.isfinite(limits.lo) else (None, None)
            bins.append(ReliabilityBin(pattern=pattern, predicted=predicted, observed=limits.value, lo=lo, hi=hi, n=n))
    return bins


def confusion_matrix(cohort: Cohort) -> ConfusionMatrix | None:
    """Reference against answer, abstentions in a column of their own."""
    rows = labelled_rows(cohort)
    if not rows.any():
        return None
    part = cohort.take(rows)
    named = discrimination.soft_confusion(part.labels, part.answers, np.ones((1, len(part))))[0]
    silent = part.labels[part.answers < 0].sum(axis=0)
    counts = np.column_stack([named, silent])
    note = "fractions: readers disagreed" if not np.allclose(counts, np.round(counts)) else ""
    return ConfusionMatrix(
        labels=(*(pattern.value for pattern in PATTERNS), ABSTAINED),
        counts=tuple(tuple(float(cell) for cell in row) for row in counts),
        note=note,
    )


def coverage_accuracy_curve(cohort: Cohort, counts: FloatArray, level: float) -> list[Curve]:
    """Accuracy against the share of cases answered, most confident first."""
    rows = labelled_rows(cohort)
    if rows.sum() < MIN_LABELLED:
        return []
    part, counts = cohort.take(rows), counts[:, rows]
    confidence, correct = confidence_and_correct(part)
    values = conformal_coverage.coverage_accuracy(confidence, correct, counts, COVERAGES)
    limits = [interval(values[:, place], level) for place in range(len(COVERAGES))]
    points = tuple(
        CurvePoint(x=float(share), y=one.value, lo=one.lo, hi=one.hi)
        for share, one in zip(COVERAGES, limits, strict=True)
        if np.isfinite(one.lo)
    )
    return [Curve(kind="coverage_accuracy", name="model", points=points, n=len(part))]
