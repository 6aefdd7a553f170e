"""Prediction sets that hold the right pattern with a stated frequency, class by class. Plain JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.patterns import NUM_PATTERNS, PATTERNS, Pattern

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ConformalSets:
    """A pattern is in the set when its probability reaches its own threshold.

    Attributes:
        level: Wanted share of scans of each class whose set holds the class.
        thresholds: Lowest probability admitted, per pattern; 0 where too few scans were seen to exclude it.
        num_scans: Scans (votes added up) behind each threshold.
    """

    level: float
    thresholds: tuple[float, ...]
    num_scans: tuple[float, ...]

    def pattern_set(self, probabilities: FloatArray) -> tuple[Pattern, ...]:
        """The set of one scan. Shape (4,) -> patterns in order; may be empty."""
        return tuple(
            pattern
            for pattern, probability, threshold in zip(PATTERNS, probabilities, self.thresholds, strict=True)
            if probability >= threshold
        )

    def membership(self, probabilities: FloatArray) -> NDArray[np.bool_]:
        """Which patterns are in the sets. Shape (N, 4) -> (N, 4)."""
        inside: NDArray[np.bool_] = probabilities >= np.array(self.thresholds)
        return inside

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"level": self.level, "thresholds": list(self.thresholds), "num_scans": list(self.num_scans)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ConformalSets:
        """From ``to_dict``."""
        return cls(float(value["level"]), tuple(value["thresholds"]), tuple(value["num_scans"]))


def fit_conformal(probabilities: FloatArray, targets: FloatArray, *, level: float = 0.9) -> ConformalSets:
    """Class-conditional split-conformal thresholds from out-of-fold probabilities.

    Args:
        probabilities: Shape (N, 4), calibrated, out of fold.
        targets: Shape (N, 4), soft labels; NaN rows are left out. A vote of 1/3 counts as a third of a scan.
        level: Wanted coverage within each class, 0 < level < 1.

    Returns:
        With n scans of a class, its threshold is the probability of rank floor((n + 1) (1 - level)) from below
        among them: the finite-sample rule that guarantees the level for exchangeable scans. Below
        ``level / (1 - level)`` scans no threshold can do that, and the class is always in the set.

    Source:
        Vovk, "Conditional validity of inductive conformal predictors" (Mondrian sets); scores are pooled over folds
        as in cross-conformal prediction, whose coverage is approximate.
    """
    labelled = np.isfinite(targets).all(axis=1)
    thresholds, counts = [], []
    for index in range(NUM_PATTERNS):
        weights = targets[labelled, index]
        order = np.argsort(probabilities[labelled, index], kind="stable")
        reached = np.cumsum(weights[order])
        total = float(weights.sum())
        rank = math.floor((total + 1) * (1 - level) + 1e-9)
        position = int(np.searchsorted(reached, rank - 1e-9)) if rank >= 1 else -1
        sorted_probabilities = probabilities[labelled, index][order]
        thresholds.append(float(sorted_probabilities[position]) if 0 <= position < len(order) else 0.0)
        counts.append(total)
    return ConformalSets(level, tuple(thresholds), tuple(counts))
