"""How well scores order and name: AUC, confusion, accuracy, F1, kappa, with soft labels of several readers.

Legend: N cases, K patterns, R rows of counts (``intervals.bootstrap_counts``). A soft label is the share of readers
who chose a pattern: every figure is then that against a reader drawn at random for each case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import FloatArray, mean_over_valid, safe_divide

IntArray = NDArray[np.int64]


def pair_sums(
    scores: FloatArray, positive: FloatArray, negative: FloatArray, strata: IntArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Weight of correctly ordered pairs (ties half), and of all pairs, between positives and negatives.

    Args:
        scores: Shape (N,), higher for positive.
        positive: Weight of each case as a positive, shape (R, N).
        negative: Weight as a negative, shape (R, N).
        strata: Pairs are formed within a stratum only (a fold, a centre). Shape (N,).

    Returns:
        (ordered, all), each of shape (R,).
    """
    if strata is not None:
        parts = [
            pair_sums(scores[rows], positive[:, rows], negative[:, rows])
            for rows in (np.flatnonzero(strata == stratum) for stratum in np.unique(strata))
        ]
        return np.sum([part[0] for part in parts], axis=0), np.sum([part[1] for part in parts], axis=0)
    if len(scores) == 0:
        return np.zeros(len(positive)), np.zeros(len(positive))
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])  # first place of each group of ties
    positives = np.add.reduceat(positive[:, order], starts, axis=1)  # (R, groups)
    negatives = np.add.reduceat(negative[:, order], starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    ordered = (positives * (below + 0.5 * negatives)).sum(axis=1)
    return ordered, positives.sum(axis=1) * negatives.sum(axis=1)


def one_vs_rest_auc(
    probabilities: FloatArray, labels: FloatArray, counts: FloatArray, strata: IntArray | None = None
) -> FloatArray:
    """AUC of each pattern against the rest.

    Args:
        probabilities: Shape (N, K), finite.
        labels: Vote shares, shape (N, K).
        counts: Shape (R, N).
        strata: Compare within a stratum only.

    Returns:
        Shape (R, K); NaN where a pattern has no positive or no negative. A case is never compared with itself.
    """
    columns = []
    for k in range(probabilities.shape[1]):
        positive, negative = counts * labels[:, k], counts * (1 - labels[:, k])
        ordered, pairs = pair_sums(probabilities[:, k], positive, negative, strata)
        own = (positive * negative).sum(axis=1)  # pairs of a case with itself: 0 for hard labels
        columns.append(safe_divide(ordered - 0.5 * own, np.where(np.isclose(pairs, own), 0.0, pairs - own)))
    return np.stack(columns, axis=1)


def macro_average(by_pattern: FloatArray) -> FloatArray:
    """Mean over the patterns that have a value. (R, K) -> (R,)."""
    return mean_over_valid(by_pattern, axis=1)


def soft_confusion(labels: FloatArray, answers: IntArray, counts: FloatArray) -> FloatArray:
    """Reference label against answer; rows of one case are split by its vote shares.

    Args:
        labels: Shape (N, K).
        answers: Index of the answer, shape (N,); -1 (abstained) is left out.
        counts: Shape (R, N).

    Returns:
        Shape (R, K, K): [label, answer].
    """
    num_patterns = labels.shape[1]
    columns = [counts[:, answers == k] @ labels[answers == k] for k in range(num_patterns)]
    return np.stack(columns, axis=2)


def accuracy(confusion: FloatArray) -> FloatArray:
    """Share on the diagonal. (R, K, K) -> (R,)."""
    return safe_divide(np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2)))


def balanced_accuracy(confusion: FloatArray) -> FloatArray:
    """Mean recall of the patterns present."""
    return mean_over_valid(safe_divide(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)), axis=1)


def f1_scores(confusion: FloatArray) -> FloatArray:
    """F1 of each pattern, 2 TP / (2 TP + FP + FN). (R, K, K) -> (R, K); NaN where neither labelled nor answered."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    return safe_divide(2 * hits, confusion.sum(axis=1) + confusion.sum(axis=2))


def cohen_kappa(confusion: FloatArray) -> FloatArray:
    """Agreement beyond chance, unweighted.

    Source:
        Cohen J. Educ Psychol Meas 1960;20:37-46.
    """
    shares = confusion / np.maximum(confusion.sum(axis=(1, 2), keepdims=True), 1e-300)
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    return safe_divide(observed - expected, 1 - expected)


def majority_share(labels: FloatArray, counts: FloatArray) -> FloatArray:
    """Accuracy of always naming the pattern most frequent in the sample (row 0): what chance reaches. (R,)."""
    totals = counts @ labels
    return safe_divide(totals[:, int(totals[0].argmax())], totals.sum(axis=1))


def reader_agreement(votes: Sequence[Sequence[int]], num_patterns: int) -> tuple[float, float, int]:
    """How well readers agree: the ceiling for accuracy against one reader.

    Args:
        votes: Pattern index per reader, one sequence per case; cases with one reader are left out.
        num_patterns: K.

    Returns:
        (share of agreeing reader pairs, Fleiss-type kappa, number of cases read at least twice); NaN without any.

    Source:
        Fleiss JL. Psychol Bull 1971;76:378-382, here with a varying number of readers per case.
    """
    read_twice = [np.bincount(np.asarray(case), minlength=num_patterns) for case in votes if len(case) >= 2]
    if not read_twice:
        return float("nan"), float("nan"), 0
    tallies = np.array(read_twice, dtype=np.float64)  # (cases, K)
    readers = tallies.sum(axis=1)
    agreement = float(np.mean((tallies * (tallies - 1)).sum(axis=1) / (readers * (readers - 1))))
    chance = float(np.sum((tallies.sum(axis=0) / tallies.sum()) ** 2))
    kappa = (agreement - chance) / (1 - chance) if chance < 1 else float("nan")
    return agreement, kappa, len(tallies)
