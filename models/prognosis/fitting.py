"""Fits all causes on the rows of a cohort, and refits them on bootstrap samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domain.settings import PrognosisSettings
from models.prognosis.feature_space import Column, Family
from models.prognosis.hazards import CauseMethod, CausePlan, Hazards
from models.prognosis.likelihood import CauseLikelihood, Fit, Penalty, Rows, minimise, solve
from models.prognosis.penalties import Mixture, Strengths, build_penalty, start_values

FloatArray = NDArray[np.float64]

EVENTS_FOR_OWN_GATES = 300  # a cause with fewer borrows the gates of all causes together as its prior mean
REPLICATE_STEPS = 2  # Newton steps of a bootstrap refit from the full-sample optimum
ONE_STEP_SIZE = 500_000  # rows x columns beyond which a replicate keeps the full-sample Hessian
BOOTSTRAP_SALT = 41
BORROWED_PRECISION = 10.0  # deviations from shared gates are shrunk this much harder than gates from nothing
CENTRE_STEPS = 4  # refits in which the variance of the centre effects settles
MIN_CENTRE_VARIANCE, MAX_CENTRE_VARIANCE = 0.0025, 1.0
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
    penalty = build_penalty((), 0, 0, rows.log_time, problem.mixtures[0][0].strengths, problem.settings)
    curves = []
    for cause in range(1, len(problem.plan.methods) + 1):
        is_event = plain.cause == cause
        curves.append(minimise(CauseLikelihood(plain, is_event), penalty, start_values(plain, is_event)).parameters)
    return np.array(curves)


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
