"""Strengths of the Gaussian priors and their choice by cross-validation, with no gates at all among the choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domain.settings import PrognosisSettings
from models.prognosis.feature_space import Column, Family
from models.prognosis.likelihood import CauseLikelihood, Penalty, Rows, minimise

FloatArray = NDArray[np.float64]

INTERCEPT_PENALTY = 1e-4  # keeps the baseline finite in a sample without any event of a cause
NO_EFFECT_PENALTY = 1e7  # a column with it stays at zero: how "no gates" is written
FOLD_SALT = 29


@dataclass(frozen=True)
class Strengths:
    """The penalties in use.

    Attributes:
        main: Ridge on clinical and image columns.
        gate: Ridge on gates; None for no gates.
        time: Ridge on antibody x log-time; None for proportional hazards.
        centre: 1 / variance of the centre effects; None for the setting's value.
    """

    main: float
    gate: float | None
    time: float | None
    centre: float | None = None

    def __str__(self) -> str:
        return f"main {self.main:g}, gates {self.gate or 'none'}, log-time {self.time or 'none'}"


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
        Family.ANTIBODY: settings.main_penalty,
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
    """

    rows: Rows
    columns: tuple[Column, ...]
    num_centres: int
    folds: NDArray[np.int64]
    settings: PrognosisSettings

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
        return sum(
            self._fold_loss(rows, penalty, folds == fold, cause)
            for folds in self.folds
            for fold in np.unique(folds)
            for cause in causes
        ) / len(self.folds)

    def _fold_loss(self, rows: Rows, penalty: Penalty, in_fold: NDArray[np.bool_], cause: int) -> float:
        held_out = in_fold[rows.patient]
        is_patient = np.arange(len(held_out)) < len(in_fold)
        train, test = rows.take(~held_out), rows.take(held_out & is_patient)
        if self.num_centres:
            test.static[:, -self.num_centres :] = 0.0  # a new patient is predicted for the average centre
        is_event = train.cause == cause
        fit = minimise(CauseLikelihood(train, is_event), penalty, start_values(train, is_event))
        return CauseLikelihood(test, test.cause == cause).value(fit.parameters)

    def best(self, causes: tuple[int, ...]) -> tuple[Strengths, dict[str, float]]:
        """For some causes: main penalty, then gates or none, then log-time effects or none; and all losses tried."""
        time = self.settings.time_effect_penalty if self.rows.sizes[2] else None
        losses: dict[Strengths, float] = {}
        chosen = Strengths(self.settings.main_penalty, None, time)
        for candidates, current_may_win in self._stages():
            tried = {strengths: self.loss(strengths, causes) for strengths in candidates(chosen)}
            losses |= tried
            field = tried | {chosen: losses[chosen]} if current_may_win else tried
            chosen = min(field, key=lambda strengths, field=field: field[strengths])  # type: ignore[misc]
        return chosen, {str(strengths): round(loss, 3) for strengths, loss in losses.items()}

    def _stages(self) -> list[tuple[Callable[[Strengths], list[Strengths]], bool]]:
        """Candidates around the choice so far, and whether that choice competes with them."""
        settings = self.settings
        mains = [settings.main_penalty * factor for factor in settings.main_penalty_factors]
        stages: list[tuple[Callable[[Strengths], list[Strengths]], bool]] = [
            (lambda chosen: [replace(chosen, main=main) for main in mains], False)
        ]
        if settings.gate_penalties and any(column.family is Family.GATE for column in self.columns):
            gates = settings.gate_penalties
            stages.append((lambda chosen: [replace(chosen, gate=gate) for gate in gates], settings.try_no_gates))
        if self.rows.sizes[2]:
            stages.append((lambda chosen: [replace(chosen, time=None)], True))
        return stages
