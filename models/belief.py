"""All that is fitted after training so that an answer may be believed: calibration, sets, abstention, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.abstention import Abstention, fit_abstention
from models.calibrator import Calibrator, fit_calibrator
from models.conformal import ConformalSets, fit_conformal
from models.out_of_distribution import OutOfDistribution, fit_out_of_distribution
from models.outputs import NetworkOutputs

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Belief:
    """What was fitted on out-of-fold outputs."""

    calibrator: Calibrator
    conformal: ConformalSets
    abstention: Abstention
    out_of_distribution: OutOfDistribution

    def calibrated(self, outputs: NetworkOutputs) -> FloatArray:
        """Calibrated probabilities, (N, 4)."""
        return self.calibrator.probabilities(outputs.logits)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain JSON."""
        return {
            "calibrator": self.calibrator.to_dict(),
            "conformal": self.conformal.to_dict(),
            "abstention": self.abstention.to_dict(),
            "out_of_distribution": self.out_of_distribution.to_dict(),
        }

    @classmethod
    def from_dict(cls, value: dict[str, dict[str, Any]]) -> Belief:
        """From ``to_dict``.

        Raises:
            ValueError: A method of another version.
            KeyError: A part is missing.
        """
        return cls(
            Calibrator.from_dict(value["calibrator"]),
            ConformalSets.from_dict(value["conformal"]),
            Abstention.from_dict(value["abstention"]),
            OutOfDistribution.from_dict(value["out_of_distribution"]),
        )


def fit_belief(
    outputs: NetworkOutputs,
    held_out: Sequence[NDArray[np.int64]],
    *,
    set_level: float = 0.9,
    target_accuracy: float = 0.8,
) -> Belief:
    """Fit everything on the out-of-fold outputs of ``cross_fit``.

    Args:
        outputs: Each row by the member that was not trained on it.
        held_out: Rows of each fold.
        set_level: Wanted coverage of prediction sets within each class.
        target_accuracy: Wanted accuracy among answered scans.

    Conformal sets and abstention are fitted on ``cross_calibrated`` probabilities.
    """
    probabilities = cross_calibrated(outputs, held_out)
    return Belief(
        fit_calibrator(outputs.logits, outputs.targets),
        fit_conformal(probabilities, outputs.targets, level=set_level),
        fit_abstention(probabilities, outputs.targets, target_accuracy=target_accuracy),
        fit_out_of_distribution(outputs.embedding, outputs.quantitative, outputs.image_statistics, held_out=held_out),
    )


def cross_calibrated(outputs: NetworkOutputs, held_out: Sequence[NDArray[np.int64]]) -> FloatArray:
    """Probabilities of training scans, each calibrated without its own fold. Shape (N, 4).

    Four numbers fitted on N scans flatter the same N scans: what is judged or learnt from on training scans must use
    these and not ``Belief.calibrated``, which is for scans that were never seen.
    """
    probabilities = np.zeros_like(outputs.logits)
    for rows in held_out:
        rest = np.setdiff1d(np.arange(len(outputs.logits)), rows)
        calibrator = fit_calibrator(outputs.logits[rest], outputs.targets[rest])
        probabilities[rows] = calibrator.probabilities(outputs.logits[rows])
    return probabilities
