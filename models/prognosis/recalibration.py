"""Adjusts a fitted head to a new site or era without refitting its effects: level, spread, or level over time.

Source: Steyerberg, Clinical Prediction Models, 2nd ed. 2019, ch. 20 (updating: intercept, slope, baseline).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from domain.endpoints import Endpoint
from domain.errors import PrognosisDataError
from domain.prognostic_data import PrognosticData
from models.prognosis.guards import check_training_data
from models.prognosis.state import ModelState
from models.prognosis.time_grid import clean_outcomes

FloatArray = NDArray[np.float64]
Method = Literal["intercept", "slope", "baseline"]

MIN_EVENTS: dict[Method, int] = {"intercept": 5, "slope": 20, "baseline": 30}
SLOPE_PRECISION = 4.0  # prior of the slope: 1 with SD 0.5
SMOOTHNESS = 4.0  # of a shift that varies over time: its first differences have prior SD 0.5
LEVEL_PRECISION = 0.04  # of the shift's level: prior SD 5, only there to keep it finite


@dataclass(frozen=True)
class CauseRecalibration:
    """Before and after for one cause, in the cohort used to recalibrate.

    Attributes:
        cause: Key of the cause.
        num_events: Observed events.
        expected_before: Events the model expected over the observed follow-up.
        expected_after: The same after recalibration.
        slope: Factor on the covariate part of the log hazard.
        shift: Mean shift of the log hazard.
        note: Why nothing was changed, if so.
    """

    cause: str
    num_events: int
    expected_before: float
    expected_after: float
    slope: float
    shift: float
    note: str = ""


def recalibrate(
    state: ModelState, data: PrognosticData, endpoint: Endpoint, method: Method
) -> tuple[ModelState, tuple[CauseRecalibration, ...]]:
    """A state whose level (and spread, or level over time) fits a new cohort.

    Args:
        state: The fitted head.
        data: The new cohort with outcomes; tens of events suffice for the intercept.
        endpoint: Of the head.
        method: ``intercept`` shifts, ``slope`` shifts and scales, ``baseline`` shifts each interval.

    Raises:
        PrognosisDataError: The cohort is refused by the guards, or has too few events for every cause.
    """
    check_training_data(data, endpoint)
    assert data.time_days is not None
    assert data.cause is not None
    times, cause = clean_outcomes(data.time_days, data.cause, endpoint)
    exposure, interval = state.grid.exposure(times), state.grid.interval_of(times)
    observed = times <= state.grid.edges_days[-1]
    current = state.log_hazard(state.design(data), state.hazards)
    average = state.average_log_hazard(state.hazards) + state.recalibration_shift
    shift, slope = state.recalibration_shift.copy(), state.recalibration_slope.copy()
    report = []
    for k, key in enumerate(endpoint.cause_keys):
        events = np.zeros_like(exposure)
        events[np.arange(len(times)), interval] = (cause == k + 1) & observed
        count = int(events.sum())
        before = float((np.exp(current[:, k]) * exposure).sum())
        if count < MIN_EVENTS[method]:
            note = f"{count} events; {MIN_EVENTS[method]} are needed for {method}: left as it was"
            report.append(CauseRecalibration(key, count, before, before, 1.0, 0.0, note))
            continue
        change, factor = _fit_change(current[:, k] - average[k], average[k], exposure, events, method)
        after = float((np.exp(average[k] + change + factor * (current[:, k] - average[k])) * exposure).sum())
        shift[k] += change
        slope[k] *= factor
        report.append(CauseRecalibration(key, count, before, after, factor, float(change.mean())))
    if all(item.note for item in report):
        raise PrognosisDataError([f"{item.cause}: {item.note}" for item in report])
    return replace(state, recalibration_shift=shift, recalibration_slope=slope), tuple(report)


def observed_and_expected(
    state: ModelState, data: PrognosticData, endpoint: Endpoint
) -> tuple[NDArray[np.int64], FloatArray, float]:
    """What happened beside what the state expected over the same follow-up.

    Returns:
        Events per cause (K,), expected events per cause (K,), and the negative log-likelihood of all of it.
    """
    assert data.time_days is not None
    assert data.cause is not None
    times, cause = clean_outcomes(data.time_days, data.cause, endpoint)
    exposure, interval = state.grid.exposure(times), state.grid.interval_of(times)
    cause = np.where(times <= state.grid.edges_days[-1], cause, 0)
    log_hazard = state.log_hazard(state.design(data), state.hazards)  # (N, K, J)
    expected = (np.exp(log_hazard) * exposure[:, None, :]).sum(axis=(0, 2))
    failed = np.flatnonzero(cause > 0)
    at_event = log_hazard[failed, cause[failed] - 1, interval[failed]]
    counts = np.bincount(cause, minlength=len(endpoint.causes) + 1)[1:]
    return counts.astype(np.int64), expected, float(expected.sum() - at_event.sum())


def _fit_change(
    centred: FloatArray, average: FloatArray, exposure: FloatArray, events: FloatArray, method: Method
) -> tuple[FloatArray, float]:
    """Shift per interval (J,) and slope that maximise the penalised likelihood.

    Args:
        centred: Log hazard against the average patient's, shape (N, J).
        average: Shape (J,).
        exposure: Days, shape (N, J).
        events: 0/1, shape (N, J).
        method: What may change.
    """
    num_intervals = len(average)
    basis = np.eye(num_intervals) if method == "baseline" else np.ones((num_intervals, 1))
    width = basis.shape[1]

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        change, factor = basis @ parameters[:width], parameters[width] if method == "slope" else 1.0
        expected = np.exp(np.clip(average + change + factor * centred, -60.0, 30.0)) * exposure
        residual = expected - events
        value = expected.sum() - (events * (change + factor * centred)).sum()
        gradient = np.append(basis.T @ residual.sum(axis=0), (residual * centred).sum() * (method == "slope"))
        steps = np.diff(parameters[:width])
        value += 0.5 * SMOOTHNESS * float(steps @ steps) + 0.5 * SLOPE_PRECISION * (parameters[width] - 1.0) ** 2
        value += 0.5 * LEVEL_PRECISION * float(parameters[:width] @ parameters[:width])
        gradient[:width] += SMOOTHNESS * (np.append(0.0, steps) - np.append(steps, 0.0))
        gradient[:width] += LEVEL_PRECISION * parameters[:width]
        gradient[width] += SLOPE_PRECISION * (parameters[width] - 1.0)
        return float(value), gradient

    start = np.append(np.zeros(width), 1.0)
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-12}).x
    return np.asarray(basis @ best[:width]), float(best[width]) if method == "slope" else 1.0
