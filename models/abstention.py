"""When to say "I do not know": below which confidence, and what that costs in coverage. Plain JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

NUM_CURVE_POINTS = 20


@dataclass(frozen=True)
class Abstention:
    """The rule and the curve it was chosen from.

    Attributes:
        min_confidence: The largest probability must reach it for an answer.
        target_accuracy: Wanted accuracy among answered scans.
        curve: (min_confidence, share answered, accuracy among them), out of fold, rising confidence.
    """

    min_confidence: float
    target_accuracy: float
    curve: tuple[tuple[float, float, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "min_confidence": self.min_confidence,
            "target_accuracy": self.target_accuracy,
            "curve": [list(point) for point in self.curve],
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Abstention:
        """From ``to_dict``."""
        curve = tuple((float(a), float(b), float(c)) for a, b, c in value["curve"])
        return cls(float(value["min_confidence"]), float(value["target_accuracy"]), curve)


def coverage_accuracy_curve(probabilities: FloatArray, targets: FloatArray) -> tuple[tuple[float, float, float], ...]:
    """(min_confidence, share answered, accuracy) as the least confident scans drop out.

    Args:
        probabilities: Shape (N, 4).
        targets: Shape (N, 4), soft labels; NaN rows are left out. Accuracy counts the votes the answer got.
    """
    labelled = np.isfinite(targets).all(axis=1)
    known, votes = probabilities[labelled], targets[labelled]
    if len(known) == 0:
        return ()
    confidence = known.max(axis=1)
    right = votes[np.arange(len(known)), known.argmax(axis=1)]
    order = np.argsort(-confidence, kind="stable")
    points = []
    for num_answered in np.unique(np.linspace(1, len(order), NUM_CURVE_POINTS).round().astype(int))[::-1]:
        kept = order[:num_answered]
        points.append(
            (float(confidence[kept[-1]]), float(num_answered / len(order)), float(right[kept].mean())),
        )
    return tuple(points)


def fit_abstention(
    probabilities: FloatArray, targets: FloatArray, *, target_accuracy: float = 0.8, min_coverage: float = 0.7
) -> Abstention:
    """The lowest confidence at which answered scans reach the wanted accuracy, out of fold.

    Where no point with at least ``min_coverage`` answered reaches it, the point of ``min_coverage`` is taken: a
    program that answers almost nobody helps nobody, and the curve says what accuracy to expect.
    """
    curve = coverage_accuracy_curve(probabilities, targets)
    allowed = [point for point in curve if point[1] >= min_coverage]
    if not allowed:
        return Abstention(0.0, target_accuracy, curve)
    chosen = next((point for point in allowed if point[2] >= target_accuracy), allowed[-1])
    # Answering everybody needs no limit: new scans less sure than any seen are the out-of-distribution score's task.
    return Abstention(0.0 if chosen[1] == 1.0 else chosen[0], target_accuracy, curve)
