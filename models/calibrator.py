"""Logits to probabilities one may believe: temperature scaling, kept as plain JSON. Fitted out of fold only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

FloatArray = NDArray[np.float64]

BIAS_PENALTY = 0.02  # per squared unit of class bias: a few scans must not move a class
TEMPERATURE_RANGE = (0.05, 20.0)


@dataclass(frozen=True)
class Calibrator:
    """``softmax(logits / temperature + bias)``.

    Attributes:
        temperature: > 0; above 1 the network was too sure of itself.
        bias: Shape (4,), adds up to 0; all 0 for plain temperature scaling.
    """

    temperature: float = 1.0
    bias: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """Shape (..., 4) -> (..., 4), adding up to 1."""
        values: FloatArray = softmax(logits / self.temperature + np.array(self.bias), axis=-1)
        return values

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"method": "temperature_and_bias", "temperature": self.temperature, "bias": list(self.bias)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Calibrator:
        """From ``to_dict``.

        Raises:
            ValueError: Another method.
        """
        if value.get("method") != "temperature_and_bias":
            raise ValueError(f"unknown calibration method {value.get('method')!r}")
        nsip, op, mixed, other = (float(number) for number in value["bias"])
        return cls(float(value["temperature"]), (nsip, op, mixed, other))


def fit_calibrator(logits: FloatArray, targets: FloatArray, *, with_bias: bool = True) -> Calibrator:
    """Minimise the cross-entropy of out-of-fold logits.

    Args:
        logits: Shape (N, 4), each row by a network that was not trained on it.
        targets: Shape (N, 4), soft labels; NaN rows are left out.
        with_bias: Also fit a penalised bias per class.

    Returns:
        The identity where no row is labelled.

    Source:
        Guo et al. 2017 for the temperature; the bias is their vector scaling with its scales tied, which adds three
        numbers instead of eight.
    """
    labelled = np.isfinite(targets).all(axis=1)
    if not labelled.any():
        return Calibrator()
    known_logits, known_targets = logits[labelled], targets[labelled]

    def loss(values: FloatArray) -> float:
        bias = values[1:] - values[1:].mean() if with_bias else 0.0
        scores = log_softmax(known_logits / np.exp(values[0]) + bias, axis=1)
        return float(-(known_targets * scores).sum(axis=1).mean() + BIAS_PENALTY * np.sum(np.square(bias)))

    bounds = [tuple(np.log(TEMPERATURE_RANGE)), *[(-3.0, 3.0)] * 4]
    found = minimize(loss, np.zeros(5), method="L-BFGS-B", bounds=bounds).x
    centred = found[1:] - found[1:].mean() if with_bias else np.zeros(4)
    nsip, op, mixed, other = (float(value) for value in centred)
    return Calibrator(float(np.exp(found[0])), (nsip, op, mixed, other))
