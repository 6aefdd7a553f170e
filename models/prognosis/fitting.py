"""Fits all causes on the rows of a cohort. Bootstrap samples are in ``bootstrap.py``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domain.settings import PrognosisSettings
from models.prognosis.feature_space import Column, Family
from models.prognosis.hazards import CauseMethod, CausePlan, Hazards
from models.prognosis.likelihood import (
    DECREMENT_TOLERANCE,
    MAX_NEWTON_STEPS,
    MIN_STEP,
    CauseLikelihood,
    Fit,
    Penalty,
    Rows,
    minimise,
    solve,
)
from models.prognosis.penalties import Mixture, Strengths, build_penalty, start_values

FloatArray = NDArray[np.float64]

EVENTS_FOR_OWN_GATES = 300  # a cause with fewer borrows the gates of all causes together as its prior mean
BORROWED_PRECISION = 10.0  # deviations from shared gates are shrunk this much harder than gates from nothing
CENTRE_STEPS = 4  # refits in which the variance of the centre effects settles
MIN_CENTRE_VARIANCE, MAX_CENTRE_VARIANCE = 0.0025, 1.0


@dataclass(frozen=True, eq=False)
class Problem:
    """What is fitted.

    Attributes:
        rows: Patients and copies, centre columns last.
        columns: Static columns without centres.
        num_centres: Centre columns.
        plan: How each cause is fitted.
        mixtures: Penalties of each cause with their weights, from cause 1 on.
        settings: The fixed rest.
    """

    rows: Rows
    columns: tuple[Column, ...]
    num_centres: int
    plan: CausePlan
    mixtures: tuple[Mixture, ...]
    settings: PrognosisSettings

    def penalty(self, strengths: Strengths) -> Penalty:
        """The prior with these strengths."""
        num_temporal, log_time = self.rows.sizes[2], self.rows.log_time
        return build_penalty(self.columns, self.num_centres, num_temporal, log_time, strengths, self.settings)


@dataclass(frozen=True, eq=False)
class Member:
    """One fit of a regression: its share in the average, its prior, its optimum, the spread of its centres."""

    weight: float
    penalty: Penalty
    fit: Fit
    centre_sd: float


@dataclass(frozen=True, eq=False)
class Target:
    """One regression: which causes (from 1) count as its event, and its fits under several strengths."""

    causes: tuple[int, ...]
    members: tuple[Member, ...]

    @property
    def parameters(self) -> FloatArray:
        """Average of the fits: the log hazard is linear in them, so it is averaged, too. Shape (J + P + Q,)."""
        return np.asarray(sum(member.weight * member.fit.parameters for member in self.members))

    @property
    def centre_sd(self) -> float:
        """Average over the fits."""
        return sum(member.weight * member.centre_sd for member in self.members)


def fit_targets(problem: Problem) -> tuple[Target, ...]:
    """Fit every regression: one per cause with events enough, one for the pooled rare causes."""
    pooled = tuple(index + 1 for index in problem.plan.indices(CauseMethod.POOLED))
    own = [(index + 1,) for index in problem.plan.indices(CauseMethod.REGRESSION)]
    shared: dict[Strengths, FloatArray] = {}
    targets = []
    for causes in (c for c in (*own, pooled) if c):
        borrows = len(problem.plan.methods) > 1 and _num_events(problem, causes) < EVENTS_FOR_OWN_GATES
        members = []
        for choice in problem.mixtures[causes[0] - 1]:
            if borrows and choice.strengths not in shared:
                shared[choice.strengths] = _shared_effects(problem, choice.strengths)
            prior_mean = shared[choice.strengths] if borrows else None
            members.append(_fit_member(problem, causes, choice.strengths, choice.weight, prior_mean))
        targets.append(Target(causes, tuple(members)))
    return tuple(targets)


def _num_events(problem: Problem, causes: tuple[int, ...]) -> int:
    return sum(problem.plan.num_events[cause - 1] for cause in causes)


def _fit_member(
    problem: Problem, causes: tuple[int, ...], strengths: Strengths, weight: float, prior_mean: FloatArray | None
) -> Member:
    """Fit one regression, the variance of its centre effects included."""
    is_event = np.isin(problem.rows.cause, causes)
    likelihood = CauseLikelihood(problem.rows, is_event)
    parameters = start_values(problem.rows, is_event)
    for _ in range(CENTRE_STEPS if problem.num_centres else 1):
        penalty = problem.penalty(strengths)
        if prior_mean is not None:
            penalty = _borrowing(penalty, prior_mean)
        fit = minimise(likelihood, penalty, parameters)
        parameters = fit.parameters
        variance = _centre_variance(problem, fit)
        strengths = replace(strengths, centre=1.0 / variance)
    return Member(weight, penalty, fit, float(np.sqrt(variance)) if problem.num_centres else 0.0)


def _borrowing(penalty: Penalty, shared: FloatArray) -> Penalty:
    """The prior of a cause with few events: centred at the shared gates, deviations from them shrunk harder."""
    borrowed = np.where(shared != 0.0, np.sqrt(BORROWED_PRECISION), 1.0)
    return Penalty(penalty.matrix * np.outer(borrowed, borrowed), shared)


def _centre_variance(problem: Problem, fit: Fit) -> float:
    """Next variance of the centre effects: their squares plus their posterior variances, averaged (an EM step)."""
    if not problem.num_centres:
        return 1.0
    num_intervals, num_static, _ = problem.rows.sizes
    last = num_intervals + num_static
    centres = slice(last - problem.num_centres, last)
    covariance = solve(fit.hessian, np.eye(len(fit.parameters))[:, centres])[centres]
    variance = float((fit.parameters[centres] ** 2 + np.diag(covariance)).mean())
    return min(max(variance, MIN_CENTRE_VARIANCE), MAX_CENTRE_VARIANCE)


def _shared_effects(problem: Problem, strengths: Strengths) -> FloatArray:
    """Gates and log-time effects on the event of any cause: prior means for causes with few events. (J + P + Q,)."""
    every = tuple(range(1, len(problem.plan.methods) + 1))
    any_event = _fit_member(problem, every, strengths, 1.0, None).fit.parameters
    num_intervals, num_static, _ = problem.rows.sizes
    shared = np.zeros(len(any_event), dtype=bool)
    gates = [index for index, column in enumerate(problem.columns) if column.family is Family.GATE]
    shared[num_intervals + np.array(gates, dtype=np.int64)] = True
    shared[num_intervals + num_static :] = True
    return np.where(shared, any_event, 0.0)


def assemble(
    problem: Problem, parameters: tuple[FloatArray, ...], targets: tuple[Target, ...], weight: FloatArray
) -> Hazards:
    """Hazards of all causes from the parameters of the regressions.

    Args:
        problem: What was fitted.
        parameters: One vector per target.
        targets: The regressions.
        weight: Weight of each patient (bootstrap counts), shape (N,).
    """
    num_intervals, num_static, num_temporal = problem.rows.sizes
    num_static -= problem.num_centres
    num_causes = len(problem.plan.methods)
    marginal = marginal_log_hazard(problem, weight)
    baseline = marginal.copy()
    static, temporal = np.zeros((num_causes, num_static)), np.zeros((num_causes, num_temporal))
    totals = [_weighted_events(problem.rows, weight, (cause + 1,)) for cause in range(num_causes)]
    for target, theta in zip(targets, parameters, strict=True):
        pool = sum(totals[cause - 1] for cause in target.causes)
        for cause in target.causes:
            share = totals[cause - 1] / pool if pool else 1.0 / len(target.causes)
            baseline[cause - 1] = theta[:num_intervals] + np.log(max(share, 1e-6))
            static[cause - 1] = theta[num_intervals : num_intervals + num_static]
            temporal[cause - 1] = theta[len(theta) - num_temporal :]
    return Hazards(baseline, static, temporal, marginal)


def _weighted_events(rows: Rows, weight: FloatArray, causes: tuple[int, ...]) -> float:
    return float(weight @ np.isin(rows.cause[: len(weight)], causes))


def marginal_log_hazard(problem: Problem, weight: FloatArray) -> FloatArray:
    """Log hazard per interval of the cohort as a whole, without inputs. Shape (K, J).

    Without inputs the likelihood depends on the total exposure and the events of each interval alone.
    """
    rows, num_patients = problem.rows, len(weight)
    num_intervals = rows.sizes[0]
    exposure = weight @ rows.exposure[:num_patients]
    strengths = problem.mixtures[0][0].strengths
    penalty = build_penalty((), 0, 0, rows.log_time, strengths, problem.settings)
    curves = []
    for cause in range(1, len(problem.plan.methods) + 1):
        hit = weight * (rows.cause[:num_patients] == cause)
        events = np.bincount(rows.interval[:num_patients], hit, num_intervals).astype(np.float64)
        curves.append(_smooth_log_rates(exposure, events, penalty.matrix))
    return np.array(curves)


def _smooth_log_rates(exposure: FloatArray, events: FloatArray, precision: FloatArray) -> FloatArray:
    """Minimum of ``sum(exposure exp(b) - events b) + b' precision b / 2`` by Newton with step halving. Shape (J,)."""

    def value(b: FloatArray) -> float:
        return float(exposure @ np.exp(np.clip(b, -60.0, 30.0)) - events @ b + 0.5 * b @ precision @ b)

    log_rate = np.full(len(exposure), np.log((0.5 + events.sum()) / max(float(exposure.sum()), 1e-9)))
    for _ in range(MAX_NEWTON_STEPS):
        expected = exposure * np.exp(log_rate)
        gradient = expected - events + precision @ log_rate
        step = -solve(np.diag(expected) + precision, gradient)
        if -float(gradient @ step) / 2 < DECREMENT_TOLERANCE:
            break
        scale, before = 1.0, value(log_rate)
        while value(log_rate + scale * step) > before and scale > MIN_STEP:
            scale /= 2
        log_rate = log_rate + scale * step
    return log_rate
