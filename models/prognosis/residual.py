"""A small neural correction of the log hazard, used only where nested cross-validation says that it wins.

``log h_kj(x) = core_kj(x) + gate_k (r_k(x) - mean r_k)``, with r_k the average of a few networks of one hidden layer.
Each network starts at r = 0 and the gate at 0: without evidence the core stays as it is. Knows rows, not patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.prognosis.feature_space import Family
from models.prognosis.fitting import Problem, Target
from models.prognosis.likelihood import CauseLikelihood, minimise
from models.prognosis.penalties import assign_folds, start_values

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NUM_HIDDEN, NUM_MEMBERS = 6, 3
WEIGHT_PENALTY = 2.0  # precision of every weight; a correction must be bought with likelihood
MAX_STEPS = 150
MIN_EVENTS = 100  # of a cause; with fewer, a network only learns noise
GAIN_IN_STANDARD_ERRORS = 2.0  # of the held-out log-likelihood that the correction must bring
GATES = np.linspace(0.0, 1.0, 21)
RESIDUAL_SALT = 71
SEEN = (Family.MAIN, Family.MISSING, Family.ANTIBODY)  # columns the networks see; gates are products of these


@dataclass(frozen=True, eq=False)
class Residual:
    """The correction of K causes.

    Attributes:
        columns: Static columns the networks see, shape (C,).
        hidden: Weights of the hidden layer, shape (K, members, hidden, C).
        bias: Shape (K, members, hidden).
        output: Shape (K, members, hidden).
        gate: 0 where the core alone is better, at most 1. Shape (K,).
        mean: Mean of r over the training patients, shape (K,).
    """

    columns: IntArray
    hidden: FloatArray
    bias: FloatArray
    output: FloatArray
    gate: FloatArray
    mean: FloatArray

    def log_hazard(self, static: FloatArray) -> FloatArray:
        """What is added to the log hazard. Shape (N, P) -> (N, K)."""
        x = static[:, self.columns]
        raw = [_answer(x, *layers) for layers in zip(self.hidden, self.bias, self.output, strict=True)]
        return np.asarray(self.gate * (np.column_stack(raw) - self.mean))


@dataclass(frozen=True)
class Trial:
    """What nested cross-validation said of one cause.

    Attributes:
        cause: From 1.
        gain: Held-out log-likelihood gained at the best gate.
        standard_error: Of the gain.
        gate: Kept: 0 unless the gain is at least two standard errors.
    """

    cause: int
    gain: float
    standard_error: float
    gate: float


def fit_residual(
    problem: Problem, targets: tuple[Target, ...], patients: IntArray
) -> tuple[Residual | None, tuple[Trial, ...]]:
    """Try a correction for every cause with events enough.

    Args:
        problem: What was fitted.
        targets: Its regressions; their penalties are used again in every fold.
        patients: Group code of each patient, shape (N,); folds keep groups whole.

    Returns:
        The correction, None if no cause won; and what was tried.
    """
    columns = np.array([i for i, column in enumerate(problem.columns) if column.family in SEEN], dtype=np.int64)
    num_causes, num_patients = len(problem.plan.methods), len(patients)
    seed = problem.settings.seed
    shape = (num_causes, NUM_MEMBERS, NUM_HIDDEN)
    hidden, bias, output = np.zeros((*shape, len(columns))), np.zeros(shape), np.zeros(shape)
    gate, trials = np.zeros(num_causes), []
    for target in targets:
        cause = target.causes[0]
        if len(target.causes) > 1 or problem.plan.num_events[cause - 1] < MIN_EVENTS:
            continue
        trial = _try(problem, target, columns, patients)
        trials.append(trial)
        if trial.gate:
            likelihood = CauseLikelihood(problem.rows, problem.rows.cause == cause)
            expected = likelihood.expected(target.parameters).sum(axis=1)
            layers = fit_networks(problem.rows.static[:, columns], expected, likelihood.events, seed)
            hidden[cause - 1], bias[cause - 1], output[cause - 1] = layers
            gate[cause - 1] = trial.gate
    if not gate.any():
        return None, tuple(trials)
    own = problem.rows.static[:num_patients, columns]
    mean = np.array([_answer(own, *layers).mean() for layers in zip(hidden, bias, output, strict=True)])
    return Residual(columns, hidden, bias, output, gate, mean), tuple(trials)


def _try(problem: Problem, target: Target, columns: IntArray, patients: IntArray) -> Trial:
    """Core alone against core and correction, on patients that neither saw."""
    rows, cause = problem.rows, target.causes[0]
    num_patients, settings = len(patients), problem.settings
    folds = assign_folds(rows.cause[:num_patients], patients, settings.num_cv_folds, settings.seed + RESIDUAL_SALT)
    penalty = target.members[0].penalty
    own_row = np.arange(len(rows.patient)) < num_patients
    answer, expected = np.zeros(num_patients), np.zeros(num_patients)
    for fold in np.unique(folds):
        held_out = (folds == fold)[rows.patient]
        train, test = rows.take(~held_out), rows.take(held_out & own_row)
        likelihood = CauseLikelihood(train, train.cause == cause)
        theta = minimise(likelihood, penalty, start_values(train, train.cause == cause)).parameters
        if problem.num_centres:
            test.static[:, -problem.num_centres :] = 0.0  # a new patient is predicted for the average centre
        inside = likelihood.expected(theta).sum(axis=1)
        layers = fit_networks(train.static[:, columns], inside, likelihood.events, settings.seed)
        centre = _answer(train.static[:, columns], *layers).mean()
        answer[test.patient] = _answer(test.static[:, columns], *layers) - centre
        expected[test.patient] = CauseLikelihood(test, test.cause == cause).expected(theta).sum(axis=1)
    is_event = (rows.cause[:num_patients] == cause).astype(np.float64)
    shift = GATES[:, None] * answer
    gains = is_event * shift - expected * np.expm1(shift)  # (gates, N)
    best = int(gains.sum(axis=1).argmax())
    gain, error = float(gains[best].sum()), float(gains[best].std() * np.sqrt(num_patients))
    wins = gain > 0 and gain >= GAIN_IN_STANDARD_ERRORS * error
    return Trial(cause, round(gain, 3), round(error, 3), float(GATES[best]) if wins else 0.0)


def fit_networks(
    x: FloatArray, expected: FloatArray, events: FloatArray, seed: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Poisson corrections ``sum(expected exp(r) - events r)`` with a Gaussian prior on every weight.

    Args:
        x: Shape (R, C).
        expected: Weighted expected events of the core, shape (R,).
        events: Weighted events, shape (R,).
        seed: Of the starts of the hidden layers.

    Returns:
        Hidden weights (members, hidden, C), biases and output weights (members, hidden).
    """
    num_inputs = x.shape[1]
    first, second = NUM_HIDDEN * num_inputs, NUM_HIDDEN * (num_inputs + 1)

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        weights, bias, output = flat[:first].reshape(NUM_HIDDEN, -1), flat[first:second], flat[second:]
        active = np.tanh(x @ weights.T + bias)  # (R, H)
        correction = np.clip(active @ output, -5.0, 5.0)
        after = expected * np.exp(correction)
        slope = after - events  # (R,)
        back = slope[:, None] * output * (1.0 - active**2)  # (R, H)
        gradient = np.concatenate([(back.T @ x).ravel(), back.sum(axis=0), active.T @ slope])
        value = after.sum() - events @ correction + 0.5 * WEIGHT_PENALTY * flat @ flat
        return float(value), gradient + WEIGHT_PENALTY * flat

    generator = np.random.default_rng([seed, RESIDUAL_SALT])
    found = []
    for _ in range(NUM_MEMBERS):
        start = np.zeros(second + NUM_HIDDEN)
        start[:second] = generator.normal(size=second) / np.sqrt(max(num_inputs, 1))
        found.append(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MAX_STEPS}).x)
    stacked = np.array(found)
    return (
        stacked[:, :first].reshape(NUM_MEMBERS, NUM_HIDDEN, num_inputs),
        stacked[:, first:second],
        stacked[:, second:],
    )


def _answer(x: FloatArray, hidden: FloatArray, bias: FloatArray, output: FloatArray) -> FloatArray:
    """Average correction of the members. Shape (N,)."""
    active = np.tanh(np.einsum("nc,mhc->nmh", x, hidden) + bias)
    return np.asarray(np.einsum("nmh,mh->nm", active, output).mean(axis=1))


def trial_notes(trials: tuple[Trial, ...], cause_names: tuple[str, ...]) -> list[str]:
    """What was tried, in words."""
    verdict = {True: "is used", False: "was tried and is not used"}
    return [
        f"{cause_names[trial.cause - 1]}: a neural correction {verdict[trial.gate > 0]} (gain in held-out "
        f"log-likelihood {trial.gain:+.1f}, standard error {trial.standard_error:.1f})"
        for trial in trials
    ]
