"""The penalised piecewise-exponential likelihood of one cause and its exact minimum. Knows no patients, only rows.

Legend: R rows (patients and their masked copies), J intervals, P static columns, Q columns that act times log-time.
``log h_rj = b_j + x_r . beta + l_j (w_r . tau)``; parameters are ordered ``[b, beta, tau]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

FloatArray = NDArray[np.float64]

MAX_NEWTON_STEPS = 60
DECREMENT_TOLERANCE = 1e-9  # half the squared Newton decrement: the objective is this close to its minimum
MIN_STEP = 2.0**-20
JITTER = 1e-8  # keeps the Hessian positive definite where an interval has no event and no penalty


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of the likelihood.

    Attributes:
        static: Shape (R, P).
        temporal: Shape (R, Q).
        exposure: Days per interval, shape (R, J).
        interval: Interval of the end of follow-up, shape (R,).
        cause: 0 censored, shape (R,).
        weight: Shape (R,), >= 0.
        patient: Index of the patient a row belongs to, shape (R,).
        log_time: Shape (J,).
    """

    static: FloatArray
    temporal: FloatArray
    exposure: FloatArray
    interval: NDArray[np.int64]
    cause: NDArray[np.int64]
    weight: FloatArray
    patient: NDArray[np.int64]
    log_time: FloatArray

    def take(self, chosen: NDArray[np.bool_]) -> Rows:
        """Some of the rows."""
        return Rows(
            self.static[chosen],
            self.temporal[chosen],
            self.exposure[chosen],
            self.interval[chosen],
            self.cause[chosen],
            self.weight[chosen],
            self.patient[chosen],
            self.log_time,
        )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(J, P, Q)."""
        return len(self.log_time), self.static.shape[1], self.temporal.shape[1]


@dataclass(frozen=True, eq=False)
class Penalty:
    """``0.5 (theta - centre)' matrix (theta - centre)``, a Gaussian prior.

    Attributes:
        matrix: Positive semi-definite, shape (J + P + Q, J + P + Q).
        centre: Shape (J + P + Q,).
    """

    matrix: FloatArray
    centre: FloatArray


@dataclass(frozen=True, eq=False)
class Fit:
    """A minimum: parameters, penalised Hessian there, and whether the steps converged."""

    parameters: FloatArray
    hessian: FloatArray
    converged: bool


class CauseLikelihood:
    """Negative log-likelihood of one cause over fixed rows, with gradient and Hessian.

    Args:
        rows: The rows.
        is_event: The row ends in an event of this cause, shape (R,).
        weight: Overrides the rows' weights (bootstrap), shape (R,).
    """

    def __init__(self, rows: Rows, is_event: NDArray[np.bool_], weight: FloatArray | None = None) -> None:
        self.rows = rows
        self.weight = rows.weight if weight is None else weight
        self.events = self.weight * is_event
        num_intervals = rows.sizes[0]
        event_log_time = self.events * rows.log_time[rows.interval]
        self.observed = np.concatenate(
            [
                np.bincount(rows.interval, self.events, num_intervals),
                self.events @ rows.static,
                event_log_time @ rows.temporal,
            ]
        )  # sufficient statistic of theta: the log-likelihood is observed . theta - expected

    def split(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Baseline (J,), static (P,) and log-time (Q,) parameters."""
        num_intervals, num_static, _ = self.rows.sizes
        first, second = num_intervals, num_intervals + num_static
        return parameters[:first], parameters[first:second], parameters[second:]

    def expected(self, parameters: FloatArray) -> FloatArray:
        """Weighted expected events per row and interval. Shape (R, J)."""
        baseline, static, temporal = self.split(parameters)
        log_hazard = baseline + (self.rows.static @ static)[:, None]
        log_hazard += np.outer(self.rows.temporal @ temporal, self.rows.log_time)
        np.clip(log_hazard, -60.0, 30.0, out=log_hazard)  # a line search may look far out; exp must stay finite
        np.exp(log_hazard, out=log_hazard)
        log_hazard *= self.rows.exposure
        log_hazard *= self.weight[:, None]
        return log_hazard

    def value(self, parameters: FloatArray) -> float:
        """Negative log-likelihood."""
        return float(self.expected(parameters).sum() - self.observed @ parameters)

    def gradient(self, parameters: FloatArray, expected: FloatArray | None = None) -> FloatArray:
        """Its gradient. Shape (J + P + Q,)."""
        mu = self.expected(parameters) if expected is None else expected
        moments = [mu.sum(axis=0), mu.sum(axis=1) @ self.rows.static, (mu @ self.rows.log_time) @ self.rows.temporal]
        return np.asarray(np.concatenate(moments) - self.observed)

    def hessian(self, expected: FloatArray) -> FloatArray:
        """Its Hessian from the expected events. Shape (J + P + Q, J + P + Q)."""
        static, temporal, log_time = self.rows.static, self.rows.temporal, self.rows.log_time
        zeroth, first, second = expected.sum(axis=1), expected @ log_time, expected @ log_time**2
        weighted = static * zeroth[:, None]
        cross_time = static.T @ (temporal * first[:, None])
        base_static = expected.T @ static
        base_time = (expected * log_time).T @ temporal
        return np.block(
            [
                [np.diag(expected.sum(axis=0)), base_static, base_time],
                [base_static.T, static.T @ weighted, cross_time],
                [base_time.T, cross_time.T, temporal.T @ (temporal * second[:, None])],
            ]
        )


def minimise(
    likelihood: CauseLikelihood, penalty: Penalty, start: FloatArray, *, max_steps: int = MAX_NEWTON_STEPS
) -> Fit:
    """Newton's method with step halving on the penalised likelihood.

    The objective is convex, so this is the same minimum L-BFGS finds (a test compares the two), reached in about
    ten steps; each costs one pass over the rows and one Cholesky factor.

    Args:
        likelihood: The unpenalised part.
        penalty: Its prior.
        start: Shape (J + P + Q,).
        max_steps: Upper bound; 1 or 2 from a full-sample optimum make a cheap bootstrap replicate.
    """
    parameters = start.copy()
    expected = likelihood.expected(parameters)
    value = _objective(likelihood, penalty, parameters, expected)
    hessian = likelihood.hessian(expected) + penalty.matrix
    for _ in range(max_steps):
        gradient = likelihood.gradient(parameters, expected) + penalty.matrix @ (parameters - penalty.centre)
        step = -solve(hessian, gradient)
        decrement = -float(gradient @ step)
        if decrement / 2 < DECREMENT_TOLERANCE:
            return Fit(parameters, hessian, converged=True)
        scale = 1.0
        while scale > MIN_STEP:
            trial = parameters + scale * step
            expected = likelihood.expected(trial)
            trial_value = _objective(likelihood, penalty, trial, expected)
            if trial_value <= value - 1e-4 * scale * decrement:
                break
            scale /= 2
        else:  # no decrease is possible in float64: this is the minimum to rounding
            return Fit(parameters, hessian, converged=True)
        parameters, value = trial, trial_value
        hessian = likelihood.hessian(expected) + penalty.matrix
    return Fit(parameters, hessian, converged=False)


def solve(hessian: FloatArray, right_side: FloatArray) -> FloatArray:
    """Solve a positive definite system. Shapes (D, D), (D,) or (D, B)."""
    regular = hessian + JITTER * np.eye(len(hessian))
    return np.asarray(cho_solve(cho_factor(regular, check_finite=False), right_side, check_finite=False))


def _objective(likelihood: CauseLikelihood, penalty: Penalty, parameters: FloatArray, expected: FloatArray) -> float:
    deviation = parameters - penalty.centre
    return float(expected.sum() - likelihood.observed @ parameters + 0.5 * deviation @ penalty.matrix @ deviation)
