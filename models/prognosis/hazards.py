"""Fitted log hazards of all causes, their bootstrap replicates, and the plan of how each cause was fitted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class CauseMethod(StrEnum):
    """How a cause was fitted."""

    REGRESSION = "regression"
    POOLED = "pooled"  # with other rare causes; the covariates act alike on them, shares are constant
    BASELINE_ONLY = "baseline_only"  # too few events even when pooled: the same hazard for everyone


@dataclass(frozen=True, eq=False)
class Hazards:
    """Parameters of K causes. Bootstrap replicates are the same with an axis B in front of every field.

    Attributes:
        baseline: Log hazard per day by interval, shape (..., K, J).
        static: Shape (..., K, P).
        temporal: Coefficients of log-time, shape (..., K, Q).
        marginal: Log hazard by interval of a patient of whom nothing is known, shape (..., K, J).
    """

    baseline: FloatArray
    static: FloatArray
    temporal: FloatArray
    marginal: FloatArray

    def __len__(self) -> int:
        return len(self.baseline)

    def log_hazard(self, static: FloatArray, temporal: FloatArray, log_time: FloatArray) -> FloatArray:
        """Log hazard per day of N patients. Shapes (N, P), (N, Q), (J,) -> (..., N, K, J)."""
        level = static @ np.swapaxes(self.static, -1, -2)  # (..., N, K)
        slope = temporal @ np.swapaxes(self.temporal, -1, -2)  # (..., N, K)
        return np.asarray(self.baseline[..., None, :, :] + level[..., None] + slope[..., None] * log_time)


@dataclass(frozen=True, eq=False)
class CausePlan:
    """How the causes are fitted.

    Attributes:
        methods: One per cause.
        num_events: Events per cause.
    """

    methods: tuple[str, ...]
    num_events: tuple[int, ...]

    def indices(self, method: CauseMethod) -> tuple[int, ...]:
        """Causes (from 0) fitted by a method."""
        return tuple(index for index, name in enumerate(self.methods) if name == method)


def plan_causes(cause: NDArray[np.int64], num_causes: int, min_events: int) -> CausePlan:
    """Regression where there are events enough; rare causes pooled if that makes enough; else a baseline only."""
    events = tuple(int((cause == index + 1).sum()) for index in range(num_causes))
    rare = [index for index, count in enumerate(events) if count < min_events]
    pool_is_enough = len(rare) > 1 and sum(events[index] for index in rare) >= min_events
    for_rare = CauseMethod.POOLED if pool_is_enough else CauseMethod.BASELINE_ONLY
    methods = tuple((for_rare if index in rare else CauseMethod.REGRESSION).value for index in range(num_causes))
    return CausePlan(methods, events)
