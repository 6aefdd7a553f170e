"""Do prediction sets hold the truth as often as they promise, and what answering less often buys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import FloatArray, safe_divide

BoolArray = NDArray[np.bool_]


def set_coverage(sets: BoolArray, labels: FloatArray, counts: FloatArray) -> FloatArray:
    """Share of reader votes that lie in the set of their case.

    Args:
        sets: Shape (N, K).
        labels: Vote shares, shape (N, K).
        counts: Shape (R, N).

    Returns:
        Shape (R,).
    """
    return safe_divide(counts @ (sets * labels).sum(axis=1), counts.sum(axis=1))


def set_coverage_by_pattern(sets: BoolArray, labels: FloatArray, counts: FloatArray) -> FloatArray:
    """The same for the votes for each pattern: class-conditional coverage. (R, K), NaN where nobody voted for it."""
    return safe_divide(counts @ (sets * labels), counts @ labels)


def mean_set_size(sets: BoolArray, counts: FloatArray) -> FloatArray:
    """Patterns per set: the price of coverage. (R,)."""
    return safe_divide(counts @ sets.sum(axis=1).astype(np.float64), counts.sum(axis=1))


def single_answer_share(sets: BoolArray, counts: FloatArray) -> FloatArray:
    """Share of cases whose set holds exactly one pattern. (R,)."""
    return safe_divide(counts @ (sets.sum(axis=1) == 1).astype(np.float64), counts.sum(axis=1))


def coverage_accuracy(
    confidence: FloatArray, correct: FloatArray, counts: FloatArray, coverages: FloatArray
) -> FloatArray:
    """Accuracy when only the most confident share of cases is answered.

    Args:
        confidence: Shape (N,).
        correct: 0..1, shape (N,).
        counts: Shape (R, N).
        coverages: Shares of cases answered, each in (0, 1].

    Returns:
        Shape (R, len(coverages)).
    """
    order = np.argsort(-confidence, kind="stable")
    answered = np.maximum(np.ceil(np.asarray(coverages) * len(confidence) - 1e-9).astype(int), 1)
    hits = np.cumsum(counts[:, order] * correct[order], axis=1)
    total = np.cumsum(counts[:, order], axis=1)
    return safe_divide(hits[:, answered - 1], total[:, answered - 1])
