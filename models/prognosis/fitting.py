"""Fits all causes on the rows of a cohort, and refits them on bootstrap samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domain.settings import PrognosisSettings
from models.prognosis.feature_space import Column, Family
from models.prognosis.hazards import CauseMethod, CausePlan, Hazards, Replicates
from models.prognosis.likelihood import CauseLikelihood, Fit, Penalty, Rows, minimise, solve
from models.prognosis.penalties import Strengths, build_penalty, start_values

FloatArray = NDArray[np.float64]

EVENTS_FOR_OWN_GATES = 50  # a cause with fewer borrows the gates of all causes together as its prior mean
REPLICATE_STEPS = 2  # Newton steps of a bootstrap refit from the full-sample optimum
ONE_STEP_SIZE = 500_000  # rows x columns beyond which a replicate keeps the full-sample Hessian
BOOTSTRAP_SALT = 41
MIN_CENTRES_TO_RESAMPLE = 5
REPLICATE_DECIMALS = 5  # of log hazards: far below their spread, and a fraction of the file


@dataclass(frozen=True, eq=False)
class Problem:
    """What is fitted.

    Attributes:
        rows: Patients and copies, centre columns last.
        columns: Static columns without centres.
        num_centres: Centre columns.
        plan: How each cause is fitted.
        strengths: Penalties.
        settings: The fixed rest.
    """

    rows: Rows
    columns: tuple[Column, ...]
    num_centres: int
    plan: CausePlan
    strengths: Strengths
    settings: PrognosisSettings


@dataclass(frozen=True, eq=False)
class Target:
    """One regression: which causes (from 1) count as its event, its prior, its optimum."""

    causes: tuple[int, ...]
    penalty: Penalty
    fit: Fit


def fit_targets(problem: Problem) -> tuple[Target, ...]:
    """Fit every regression: one per cause with events enough, one for the pooled rare causes."""
    pooled = tuple(index + 1 for index in problem.plan.indices(CauseMethod.POOLED))
    own = [(index + 1,) for index in problem.plan.indices(CauseMethod.REGRESSION)]
    targets = [causes for causes in (*own, pooled) if causes]
    penalty = build_penalty(
        problem.columns,
        problem.num_centres,
        problem.rows.sizes[2],
        problem.rows.log_time,
        problem.strengths,
        problem.settings,
    )
    few = [causes for causes in targets if _num_events(problem, causes) < EVENTS_FOR_OWN_GATES]
    borrowed = _borrowed_prior(problem, penalty) if few and len(problem.plan.methods) > 1 else penalty
    return tuple(_fit_one(problem, causes, borrowed if causes in few else penalty) for causes in targets)


def _num_events(problem: Problem, causes: tuple[int, ...]) -> int:
    return sum(problem.plan.num_events[cause - 1] for cause in causes)


def _fit_one(problem: Problem, causes: tuple[int, ...], penalty: Penalty) -> Target:
    is_event = np.isin(problem.rows.cause, causes)
    likelihood = CauseLikelihood(problem.rows, is_event)
    return Target(causes, penalty, minimise(likelihood, penalty, start_values(problem.rows, is_event)))


def _borrowed_prior(problem: Problem, penalty: Penalty) -> Penalty:
    """Prior whose gate and log-time means are those of the event of any cause."""
    every = tuple(range(1, len(problem.plan.methods) + 1))
    any_event = _fit_one(problem, every, penalty).fit.parameters
    num_intervals, num_static, _ = problem.rows.sizes
    shared = np.zeros(len(any_event), dtype=bool)
    gates = [index for index, column in enumerate(problem.columns) if column.family is Family.GATE]
    shared[num_intervals + np.array(gates, dtype=np.int64)] = True
    shared[num_intervals + num_static :] = True
    return Penalty(penalty.matrix, np.where(shared, any_event, 0.0))


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
    """Log hazard per interval of the cohort as a whole, without inputs. Shape (K, J)."""
    rows, num_patients = problem.rows, len(weight)
    empty = np.zeros((num_patients, 0))
    plain = Rows(
        empty,
        empty,
        rows.exposure[:num_patients],
        rows.interval[:num_patients],
        rows.cause[:num_patients],
        weight,
        rows.patient[:num_patients],
        rows.log_time,
    )
    penalty = build_penalty((), 0, 0, rows.log_time, problem.strengths, problem.settings)
    curves = []
    for cause in range(1, len(problem.plan.methods) + 1):
        is_event = plain.cause == cause
        curves.append(minimise(CauseLikelihood(plain, is_event), penalty, start_values(plain, is_event)).parameters)
    return np.array(curves)


def bootstrap(
    problem: Problem,
    targets: tuple[Target, ...],
    clusters: NDArray[np.int64],
    num_replicates: int,
    *,
    progress: Callable[[int], None] | None = None,
) -> Replicates:
    """Refit on samples of clusters drawn with replacement; penalties and codings stay.

    Args:
        problem: What was fitted.
        targets: Its regressions.
        clusters: Cluster of each patient (centre, or patient), shape (N,).
        num_replicates: B.
        progress: Called with the number done.
    """
    generator = np.random.default_rng([problem.settings.seed, BOOTSTRAP_SALT])
    num_clusters = int(clusters.max()) + 1
    refit = _one_step_refit(problem, targets) if _is_large(problem) else _newton_refit(problem, targets)
    hazards = []
    for index in range(num_replicates):
        counts = generator.multinomial(num_clusters, np.full(num_clusters, 1.0 / num_clusters))
        weight = counts[clusters].astype(np.float64)
        hazards.append(assemble(problem, refit(weight), targets, weight))
        if progress:
            progress(index + 1)
    stacked = (
        np.round(np.array([getattr(h, name) for h in hazards]), REPLICATE_DECIMALS)
        for name in ("baseline", "static", "temporal", "marginal")
    )
    return Replicates(*stacked)


def _is_large(problem: Problem) -> bool:
    return problem.rows.static.size > ONE_STEP_SIZE


def _newton_refit(problem: Problem, targets: tuple[Target, ...]) -> Callable[[FloatArray], tuple[FloatArray, ...]]:
    def refit(weight: FloatArray) -> tuple[FloatArray, ...]:
        row_weight = problem.rows.weight * weight[problem.rows.patient]
        used = row_weight > 0
        rows = replace(problem.rows.take(used), weight=row_weight[used])
        fits = []
        for target in targets:
            likelihood = CauseLikelihood(rows, np.isin(rows.cause, target.causes))
            fits.append(minimise(likelihood, target.penalty, target.fit.parameters, max_steps=REPLICATE_STEPS))
        return tuple(fit.parameters for fit in fits)

    return refit


def _one_step_refit(problem: Problem, targets: tuple[Target, ...]) -> Callable[[FloatArray], tuple[FloatArray, ...]]:
    """Refits by one Newton step with the full-sample Hessian: the first-order bootstrap, exact as N grows."""
    scores = [patient_scores(problem.rows, target) for target in targets]

    def refit(weight: FloatArray) -> tuple[FloatArray, ...]:
        return tuple(
            target.fit.parameters - solve(target.fit.hessian, (weight - 1.0) @ score)
            for target, score in zip(targets, scores, strict=True)
        )

    return refit


def patient_scores(rows: Rows, target: Target) -> FloatArray:
    """Gradient of each patient's own negative log-likelihood (copies included). Shape (N, J + P + Q)."""
    is_event = np.isin(rows.cause, target.causes)
    likelihood = CauseLikelihood(rows, is_event)
    residual = likelihood.expected(target.fit.parameters)
    residual[np.arange(len(residual)), rows.interval] -= likelihood.events
    num_patients = int(rows.patient.max()) + 1
    total, slope = residual.sum(axis=1), residual @ rows.log_time
    scores = np.zeros((num_patients, sum(rows.sizes)))
    first, second = rows.sizes[0], rows.sizes[0] + rows.sizes[1]
    np.add.at(scores[:, :first], rows.patient, residual)
    np.add.at(scores[:, first:second], rows.patient, rows.static * total[:, None])
    np.add.at(scores[:, second:], rows.patient, rows.temporal * slope[:, None])
    return scores
