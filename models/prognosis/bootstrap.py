"""Refits of all causes on bootstrap samples: what the bands are made of. The fit itself is in ``fitting.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.prognosis.fitting import Member, Problem, Target, assemble
from models.prognosis.hazards import Hazards
from models.prognosis.likelihood import CauseLikelihood, Penalty, Rows, minimise, solve

FloatArray = NDArray[np.float64]

REPLICATE_STEPS = 2  # Newton steps of a bootstrap refit from the full-sample optimum
ONE_STEP_SIZE = 500_000  # rows x columns beyond which a replicate keeps the full-sample Hessian
BOOTSTRAP_SALT = 41
MIN_CENTRES_TO_RESAMPLE = 5
REPLICATE_DECIMALS = 5  # of log hazards: far below their spread, and a fraction of the file


def bootstrap(
    problem: Problem, targets: tuple[Target, ...], clusters: NDArray[np.int64], num_replicates: int
) -> Hazards:
    """Refit on samples of clusters drawn with replacement, each with prior means drawn from the prior.

    A plain bootstrap of a penalised fit repeats its shrinkage in every replicate and covers too little; drawing the
    prior mean as well makes the replicates draws from the posterior where the model is linear and Gaussian. Each
    replicate also draws the effect of an unknown centre. Penalties and codings stay as they are.

    Args:
        problem: What was fitted.
        targets: Its regressions.
        clusters: Cluster of each patient (centre, or patient), shape (N,).
        num_replicates: B.
    """
    generator = np.random.default_rng([problem.settings.seed, BOOTSTRAP_SALT])
    num_clusters = int(clusters.max()) + 1
    refit = _one_step_refit(problem, targets) if _is_large(problem) else _newton_refit(problem, targets)
    hazards = []
    for _ in range(num_replicates):
        counts = generator.multinomial(num_clusters, np.full(num_clusters, 1.0 / num_clusters))
        weight = counts[clusters].astype(np.float64)
        members = tuple(_drawn_member(target, generator) for target in targets)
        priors = tuple(_drawn_prior(problem, member, generator) for member in members)
        replicate = assemble(problem, refit(weight, members, priors), targets, weight)
        hazards.append(_with_drawn_centre(replicate, targets, members, generator))
    stacked = (
        np.round(np.array([getattr(h, name) for h in hazards]), REPLICATE_DECIMALS)
        for name in ("baseline", "static", "temporal", "marginal")
    )
    return Hazards(*stacked)


def _drawn_member(target: Target, generator: np.random.Generator) -> Member:
    """One of the strengths in the average, drawn by its weight: a band must not take the strengths for known."""
    weights = np.array([member.weight for member in target.members])
    return target.members[int(generator.choice(len(weights), p=weights / weights.sum()))]


def _drawn_prior(problem: Problem, member: Member, generator: np.random.Generator) -> Penalty:
    """The prior with its mean drawn from itself; the baseline's smoothness keeps its mean."""
    num_intervals = problem.rows.sizes[0]
    precision = np.diag(member.penalty.matrix)
    draw = generator.normal(size=len(precision)) / np.sqrt(precision)
    draw[:num_intervals] = 0.0
    return Penalty(member.penalty.matrix, member.penalty.centre + draw)


def _with_drawn_centre(
    hazards: Hazards, targets: tuple[Target, ...], members: tuple[Member, ...], generator: np.random.Generator
) -> Hazards:
    """The hazards of a centre drawn at random; causes fitted together get one draw."""
    effect = np.zeros((len(hazards.baseline), 1))
    for target, member in zip(targets, members, strict=True):
        effect[np.array(target.causes) - 1] = member.centre_sd * generator.normal()
    return replace(hazards, baseline=hazards.baseline + effect, marginal=hazards.marginal + effect)


def _is_large(problem: Problem) -> bool:
    return problem.rows.static.size > ONE_STEP_SIZE


Refit = Callable[[FloatArray, tuple[Member, ...], tuple[Penalty, ...]], tuple[FloatArray, ...]]


def _newton_refit(problem: Problem, targets: tuple[Target, ...]) -> Refit:
    def refit(weight: FloatArray, members: tuple[Member, ...], priors: tuple[Penalty, ...]) -> tuple[FloatArray, ...]:
        row_weight = problem.rows.weight * weight[problem.rows.patient]
        used = row_weight > 0
        rows = replace(problem.rows.take(used), weight=row_weight[used])
        fits = []
        for target, member, prior in zip(targets, members, priors, strict=True):
            likelihood = CauseLikelihood(rows, np.isin(rows.cause, target.causes))
            fits.append(minimise(likelihood, prior, member.fit.parameters, max_steps=REPLICATE_STEPS))
        return tuple(fit.parameters for fit in fits)

    return refit


def _one_step_refit(problem: Problem, targets: tuple[Target, ...]) -> Refit:
    """Refits by one Newton step with the full-sample Hessian: the first-order bootstrap, exact as N grows."""
    scores = {
        id(member): patient_scores(problem.rows, target.causes, member.fit.parameters)
        for target in targets
        for member in target.members
    }

    def refit(weight: FloatArray, members: tuple[Member, ...], priors: tuple[Penalty, ...]) -> tuple[FloatArray, ...]:
        parameters = []
        for member, prior in zip(members, priors, strict=True):
            pull = member.penalty.matrix @ (member.penalty.centre - prior.centre)
            step = solve(member.fit.hessian, (weight - 1.0) @ scores[id(member)] + pull)
            parameters.append(member.fit.parameters - step)
        return tuple(parameters)

    return refit


def patient_scores(rows: Rows, causes: tuple[int, ...], parameters: FloatArray) -> FloatArray:
    """Gradient of each patient's own negative log-likelihood (copies included). Shape (N, J + P + Q)."""
    is_event = np.isin(rows.cause, causes)
    likelihood = CauseLikelihood(rows, is_event)
    residual = likelihood.expected(parameters)
    residual[np.arange(len(residual)), rows.interval] -= likelihood.events
    num_patients = int(rows.patient.max()) + 1
    total, slope = residual.sum(axis=1), residual @ rows.log_time
    scores = np.zeros((num_patients, sum(rows.sizes)))
    first, second = rows.sizes[0], rows.sizes[0] + rows.sizes[1]
    np.add.at(scores[:, :first], rows.patient, residual)
    np.add.at(scores[:, first:second], rows.patient, rows.static * total[:, None])
    np.add.at(scores[:, second:], rows.patient, rows.temporal * slope[:, None])
    return scores
