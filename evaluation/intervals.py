"""Bootstrap by patient: draws as counts per case, so that every metric is a function of counts. No metric lives here.

Row 0 of a counts matrix is the sample itself (all ones); rows 1..B are resamples. A metric maps counts (R, N) to
values (R,); two models scored on the same counts give paired differences. What is resampled are the predictions, not
the fitting of the models: the intervals do not hold the variation of training.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MAX_CELLS = 30_000_000  # counts matrix of at most 240 MB; very large cohorts get fewer resamples
MAX_PAIRS = 1_000_000_000  # pairs of cases over all resamples: about a second per concordance on one core
MIN_RESAMPLES = 50
MIN_VALID_SHARE = 0.8  # an interval needs this share of resamples in which the metric exists


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with percentile limits; NaN where it does not exist."""

    value: float
    lo: float
    hi: float


def bootstrap_counts(clusters: Sequence[str], num_resamples: int, seed: int) -> FloatArray:
    """How often each case is in each resample; all cases of a cluster (a patient) come together.

    Args:
        clusters: Cluster of each case, length N.
        num_resamples: B; lowered where B x N or B x N^2 would pass ``MAX_CELLS`` or ``MAX_PAIRS``.
        seed: Seed of the draws.

    Returns:
        Shape (B + 1, N), row 0 all ones.

    Source:
        Efron & Tibshirani 1993, chapter 8 (resampling whole clusters).
    """
    names, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    size = max(len(index), 1)
    affordable = max(MIN_RESAMPLES, min(MAX_CELLS // size, MAX_PAIRS // size**2))
    resamples = min(num_resamples, affordable)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(names), np.full(len(names), 1 / max(len(names), 1)), size=resamples)
    return np.vstack([np.ones(len(index)), draws[:, index]]).astype(np.float64)


def interval(replicates: FloatArray, level: float) -> Interval:
    """Value (row 0) and percentile limits of the others.

    Args:
        replicates: Shape (B + 1,), NaN where a resample has no value.
        level: For instance 0.95.

    Returns:
        Limits are NaN when fewer than ``MIN_VALID_SHARE`` of the resamples have a value, or the value does not exist.
    """
    value, others = float(replicates[0]), replicates[1:]
    valid = others[np.isfinite(others)]
    if not np.isfinite(value) or len(valid) < MIN_VALID_SHARE * len(others) or len(valid) < 2:
        return Interval(value, float("nan"), float("nan"))
    lo, hi = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(lo), float(hi))


def share_above_zero(replicates: FloatArray) -> float:
    """Share of resamples (ties count half) in which a difference is above zero; NaN without any."""
    valid = replicates[1:][np.isfinite(replicates[1:])]
    return float(np.mean((valid > 0) + 0.5 * (valid == 0))) if len(valid) else float("nan")


def safe_divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Element by element; NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def mean_over_valid(values: FloatArray, axis: int) -> FloatArray:
    """Mean over the finite entries; NaN where there is none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice", category=RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))
