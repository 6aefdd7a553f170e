"""Do pattern probabilities mean what they say: Brier, log loss, expected calibration error, reliability.

Legend: N cases, K patterns, R rows of counts. Labels are vote shares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import FloatArray, safe_divide

IntArray = NDArray[np.int64]

NUM_BINS = 10
MIN_CASES_PER_BIN = 10
SMALLEST_PROBABILITY = 1e-12


def brier_score(probabilities: FloatArray, labels: FloatArray, counts: FloatArray) -> FloatArray:
    """Mean squared distance summed over patterns: 0 is best, 2 worst. (R,).

    For vote shares this is the distance to a reader drawn at random, so it is above 0 where readers disagree.
    """
    squares = (labels * ((1 - probabilities) ** 2 - probabilities**2)).sum(axis=1) + (probabilities**2).sum(axis=1)
    return safe_divide(counts @ squares, counts.sum(axis=1))


def log_loss(probabilities: FloatArray, labels: FloatArray, counts: FloatArray) -> FloatArray:
    """Mean negative log-likelihood, nats. (R,)."""
    losses = -(labels * np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))).sum(axis=1)
    return safe_divide(counts @ losses, counts.sum(axis=1))


def equal_count_bins(values: FloatArray, num_bins: int = NUM_BINS) -> IntArray:
    """Bin of each case, about equally full; fewer bins for fewer cases; equal values share a bin. (N,)."""
    bins = max(1, min(num_bins, len(values) // MIN_CASES_PER_BIN))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])) if len(values) else np.array([])
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def expected_calibration_error(confidence: FloatArray, correct: FloatArray, counts: FloatArray) -> FloatArray:
    """Mean over equally full bins of |mean confidence - share correct|, weighted by bin size.

    Args:
        confidence: Probability of the answer, shape (N,).
        correct: 1 or 0, or the vote share of the answer, shape (N,).
        counts: Shape (R, N).

    Returns:
        Shape (R,). It is above 0 even for a perfect model: compare with ``calibration_error_if_perfect``.

    Source:
        Naeini MP, Cooper GF, Hauskrecht M. AAAI 2015, with bins of equal count.
    """
    bins = _bin_members(confidence)
    return safe_divide(np.abs((counts * (confidence - correct)) @ bins).sum(axis=1), counts.sum(axis=1))


def _bin_members(confidence: FloatArray) -> FloatArray:
    """Membership of cases in bins, 0/1, shape (N, bins)."""
    bins = equal_count_bins(confidence)
    return np.asarray(bins[:, None] == np.unique(bins)[None, :], dtype=np.float64)


def calibration_error_if_perfect(confidence: FloatArray, num_draws: int, seed: int) -> float:
    """Mean error a perfectly calibrated model with these confidences would show at this sample size.

    Source:
        Consistency resampling, Broecker J, Smith LA. Weather Forecast 2007;22:651-661.
    """
    drawn = np.random.default_rng(seed).random((num_draws, len(confidence))) < confidence
    gaps = np.abs((confidence - drawn) @ _bin_members(confidence)).sum(axis=1)
    return float(gaps.mean() / max(len(confidence), 1))


def reliability_table(
    probability: FloatArray, label: FloatArray, counts: FloatArray
) -> list[tuple[float, FloatArray, int]]:
    """Per bin of one pattern's probability: mean prediction, observed share (R,), number of cases."""
    bins = equal_count_bins(probability)
    table = []
    for one_bin in np.unique(bins):
        rows = bins == one_bin
        observed = safe_divide(counts[:, rows] @ label[rows], counts[:, rows].sum(axis=1))
        table.append((float(probability[rows].mean()), observed, int(rows.sum())))
    return table
