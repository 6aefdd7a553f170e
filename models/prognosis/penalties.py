"""Strengths of the Gaussian priors and their weights by cross-validation, with no gates at all among the choices."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from domain.settings import PrognosisSettings
from models.prognosis.feature_space import Column, Family
from models.prognosis.likelihood import CauseLikelihood, Penalty, Rows, minimise

FloatArray = NDArray[np.float64]

INTERCEPT_PENALTY = 1e-4  # keeps the baseline finite in a sample without any event of a cause
NO_EFFECT_PENALTY = 1e7  # a column with it stays at zero: how "no gates" is written
FOLD_SALT = 29
TEMPERATURE = 2.0  # of the weights: held-out likelihoods of few events differ by luck about as much as by merit
MIN_RELATIVE_WEIGHT = 0.05  # a choice with less than this share of the best one's weight is not fitted


@dataclass(frozen=True)
class Strengths:
    """The penalties in use.

    Attributes:
        main: Ridge on clinical and image columns.
        antibody: Ridge on antibody groups.
        gate: Ridge on gates; None for no gates.
        time: Ridge on antibody x log-time; None for proportional hazards.
        centre: 1 / variance of the centre effects; None for the setting's value.
    """

    main: float
    antibody: float
    gate: float | None
    time: float | None
    centre: float | None = None

    def __str__(self) -> str:
        gates, time = (value or "none" for value in (self.gate, self.time))
        return f"main {self.main:g}, antibodies {self.antibody:g}, gates {gates}, log-time {time}"


@dataclass(frozen=True)
class Choice:
    """Strengths with a weight; the fits of several are averaged.

    Attributes:
        strengths: The penalties.
        weight: Share of this fit in the average; the choices of one cause add up to 1.
    """

    strengths: Strengths
    weight: float


Mixture = tuple[Choice, ...]  # of one cause, the heaviest first


def build_penalty(
    columns: tuple[Column, ...],
    num_centres: int,
    num_temporal: int,
    log_time: FloatArray,
    strengths: Strengths,
    settings: PrognosisSettings,
) -> Penalty:
    """The prior precision of all parameters, centred at zero.

    Args:
        columns: Static columns, P of them.
        num_centres: Centre columns after them.
        num_temporal: Q.
        log_time: Shape (J,).
        strengths: What cross-validation chose.
        settings: The fixed rest.
    """
    num_intervals = len(log_time)
    differences = np.diff(np.eye(num_intervals), axis=0)
    smooth = settings.baseline_smoothness * differences.T @ differences + INTERCEPT_PENALTY * np.eye(num_intervals)
    by_family = {
        Family.MAIN: strengths.main,
        Family.MISSING: strengths.main,
        Family.ANTIBODY: strengths.antibody,
        Family.DEVIATION: settings.deviation_penalty,
        Family.GATE: NO_EFFECT_PENALTY if strengths.gate is None else strengths.gate,
    }
    diagonal = [by_family[column.family] for column in columns]
    centre = settings.centre_penalty if strengths.centre is None else strengths.centre
    diagonal += [centre] * num_centres + [
        NO_EFFECT_PENALTY if strengths.time is None else strengths.time
    ] * num_temporal
    size = num_intervals + len(diagonal)
    matrix = np.zeros((size, size))
    matrix[:num_intervals, :num_intervals] = smooth
    matrix[np.arange(num_intervals, size), np.arange(num_intervals, size)] = diagonal
    return Penalty(matrix, np.zeros(size))


def start_values(rows: Rows, is_event: NDArray[np.bool_]) -> FloatArray:
    """Constant hazard, no effects."""
    num_intervals, num_static, num_temporal = rows.sizes
    rate = (0.5 + rows.weight @ is_event) / max(float(rows.weight @ rows.exposure.sum(axis=1)), 1e-9)
    start = np.zeros(num_intervals + num_static + num_temporal)
    start[:num_intervals] = np.log(rate)
    return start


def assign_folds(cause: NDArray[np.int64], groups: NDArray[np.int64], num_folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each patient: groups stay whole, events are spread evenly. Shape (N,)."""
    num_groups = int(groups.max()) + 1
    has_event = np.zeros(num_groups, dtype=np.int64)
    np.maximum.at(has_event, groups, cause)
    order = np.random.default_rng([seed, FOLD_SALT]).permutation(num_groups)
    order = order[np.argsort(has_event[order], kind="stable")]
    fold_of_group = np.empty(num_groups, dtype=np.int64)
    fold_of_group[order] = np.arange(num_groups) % num_folds
    return fold_of_group[groups]


@dataclass(frozen=True, eq=False)
class PenaltySearch:
    """Cross-validated log-likelihood of penalty strengths.

    Attributes:
        rows: Patients and copies.
        columns: Static columns without centres.
        num_centres: Centre columns.
        folds: Fold of each patient, one row per repeat, shape (repeats, N).
        settings: Candidates and fixed penalties.
        scale: Patients of the whole cohort per patient here; weights are those of the whole.
        optima: Latest optimum of each repeat, fold and cause: where the next strengths start. Speed only.
    """

    rows: Rows
    columns: tuple[Column, ...]
    num_centres: int
    folds: NDArray[np.int64]
    settings: PrognosisSettings
    scale: float = 1.0
    optima: dict[tuple[int, int, int], FloatArray] = field(default_factory=dict)

    def loss(self, strengths: Strengths, causes: tuple[int, ...]) -> float:
        """Held-out negative log-likelihood of the patients themselves (not their copies), summed over causes."""
        penalty = build_penalty(
            self.columns, self.num_centres, self.rows.sizes[2], self.rows.log_time, strengths, self.settings
        )
        active = np.ones(len(self.columns) + self.num_centres, dtype=bool)
        if strengths.gate is None:
            active[: len(self.columns)] = [column.family is not Family.GATE for column in self.columns]
        rows = replace(self.rows, static=self.rows.static[:, active])
        kept = np.concatenate([np.ones(len(rows.log_time), bool), active, np.ones(rows.sizes[2], bool)])
        penalty = Penalty(penalty.matrix[np.ix_(kept, kept)], penalty.centre[kept])
        total = 0.0
        for repeat, folds in enumerate(self.folds):
            for fold in np.unique(folds):
                for cause in causes:
                    total += self._fold_loss(rows, penalty, kept, (repeat, int(fold), cause))
        return total / len(self.folds)

    def _fold_loss(self, rows: Rows, penalty: Penalty, kept: NDArray[np.bool_], part: tuple[int, int, int]) -> float:
        """Loss of one part (repeat, fold, cause); starts where the strengths tried before ended."""
        repeat, fold, cause = part
        in_fold = self.folds[repeat] == fold
        held_out = in_fold[rows.patient]
        is_patient = np.arange(len(held_out)) < len(in_fold)
        train, test = rows.take(~held_out), rows.take(held_out & is_patient)
        if self.num_centres:
            test.static[:, -self.num_centres :] = 0.0  # a new patient is predicted for the average centre
        is_event = train.cause == cause
        before = self.optima.get(part)
        start = start_values(train, is_event) if before is None else before[kept]
        fit = minimise(CauseLikelihood(train, is_event), penalty, start)
        self.optima[part] = np.zeros(len(kept))
        self.optima[part][kept] = fit.parameters
        return CauseLikelihood(test, test.cause == cause).value(fit.parameters)

    def mixture(self, causes: tuple[int, ...]) -> tuple[Mixture, dict[str, float]]:
        """For some causes: the main penalty that wins, and around it the weights of all that was tried; all losses.

        Antibody ridges and gates (or none) are crossed; proportional hazards are tried at the best of them. A choice
        by smallest loss alone jumps with the folds where patients are few; the average does not.
        """
        settings = self.settings
        time = settings.time_effect_penalty if self.rows.sizes[2] else None
        mains = [settings.main_penalty * factor for factor in settings.main_penalty_factors]
        alone = {Strengths(main, settings.antibody_penalties[0], None, time): 0.0 for main in mains}
        alone = {strengths: self.loss(strengths, causes) for strengths in alone}
        base = _smallest(alone)
        tried = {
            strengths: alone[strengths] if strengths in alone else self.loss(strengths, causes)
            for strengths in self._around(base)
        }
        if time is not None:
            proportional = replace(_smallest(tried), time=None)
            tried[proportional] = self.loss(proportional, causes)
        losses = {str(strengths): round(loss, 3) for strengths, loss in (alone | tried).items()}
        return _weighted(tried, self.scale), losses

    def _around(self, base: Strengths) -> list[Strengths]:
        """Every antibody ridge with every gate strength, "no gates" among them where it may win."""
        settings = self.settings
        gates: list[float | None] = [None]
        if settings.gate_penalties and any(column.family is Family.GATE for column in self.columns):
            gates = [*([None] if settings.try_no_gates else []), *settings.gate_penalties]
        return [replace(base, antibody=a, gate=g) for a in settings.antibody_penalties for g in gates]


def _smallest(losses: dict[Strengths, float]) -> Strengths:
    return min(losses, key=lambda strengths: losses[strengths])


def _weighted(losses: dict[Strengths, float], scale: float) -> Mixture:
    """Weights ``exp(-scale loss / T)``; choices far behind are dropped."""
    lowest = min(losses.values())
    weights = {strengths: float(np.exp(scale * (lowest - loss) / TEMPERATURE)) for strengths, loss in losses.items()}
    kept = {strengths: weight for strengths, weight in weights.items() if weight >= MIN_RELATIVE_WEIGHT}
    total = sum(kept.values())
    ranked = sorted(kept.items(), key=lambda item: -item[1])
    return tuple(Choice(strengths, weight / total) for strengths, weight in ranked)
