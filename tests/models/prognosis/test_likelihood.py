"""The optimiser against scipy's L-BFGS, the likelihood against lifelines and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines import PiecewiseExponentialFitter
from scipy.optimize import approx_fprime, minimize

from benchmarks.prognosis_generator import Variant, draw, endpoint_of
from domain.settings import PrognosisSettings
from models.prognosis.feature_space import fit_feature_space
from models.prognosis.likelihood import CauseLikelihood, Penalty, Rows, minimise
from models.prognosis.masked_copies import training_rows
from models.prognosis.penalties import Strengths, build_penalty, start_values
from models.prognosis.time_grid import TimeGrid, clean_outcomes, fit_grid

SETTINGS = PrognosisSettings(num_embedding_components=4)


@pytest.fixture(scope="module")
def problem() -> tuple[CauseLikelihood, Penalty]:
    data = draw(150, 3).data
    endpoint = endpoint_of(Variant())
    assert data.time_days is not None
    assert data.cause is not None
    times, cause = clean_outcomes(data.time_days, data.cause, endpoint)
    data = data.replaced(time_days=times, cause=cause)
    space = fit_feature_space(data, SETTINGS)
    grid = fit_grid(times, cause, endpoint, min_events=5)
    rows = training_rows(data, space, grid, SETTINGS)
    strengths = Strengths(4.0, 4.0, 10.0, 1.0)
    penalty = build_penalty(space.static_columns, 0, rows.sizes[2], rows.log_time, strengths, SETTINGS)
    return CauseLikelihood(rows, rows.cause == 1), penalty


def test_gradient_and_hessian_match_finite_differences(problem: tuple[CauseLikelihood, Penalty]) -> None:
    likelihood, penalty = problem
    point = start_values(likelihood.rows, likelihood.rows.cause == 1)
    point += 0.05 * np.random.default_rng(0).normal(size=len(point))
    numeric = approx_fprime(point, likelihood.value, 1e-6)
    np.testing.assert_allclose(likelihood.gradient(point), numeric, rtol=1e-4, atol=2e-3)
    direction = np.random.default_rng(1).normal(size=len(point))
    step = 1e-5 * direction
    along = (likelihood.gradient(point + step) - likelihood.gradient(point - step)) / 2e-5
    hessian = likelihood.hessian(likelihood.expected(point))
    np.testing.assert_allclose(hessian @ direction, along, rtol=1e-5, atol=1e-4)
    del penalty


def test_newton_and_lbfgs_find_the_same_minimum(problem: tuple[CauseLikelihood, Penalty]) -> None:
    likelihood, penalty = problem
    start = start_values(likelihood.rows, likelihood.rows.cause == 1)
    ours = minimise(likelihood, penalty, start)
    assert ours.converged
    scipys = minimize(
        lambda p: likelihood.value(p) + 0.5 * p @ penalty.matrix @ p,
        start,
        jac=lambda p: likelihood.gradient(p) + penalty.matrix @ p,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-14, "gtol": 1e-8},
    )
    np.testing.assert_allclose(ours.parameters, scipys.x, atol=2e-4)


def test_without_inputs_the_hazards_are_those_of_lifelines() -> None:
    rng = np.random.default_rng(5)
    times, events = rng.weibull(0.7, 400) * 300, rng.random(400) < 0.7
    breaks = [60.0, 180.0, 400.0]
    theirs = PiecewiseExponentialFitter(breaks).fit(times, events)
    grid = TimeGrid(np.array([0.0, *breaks, times.max()]), times.max())
    empty = np.zeros((400, 0))
    rows = Rows(
        empty,
        empty,
        grid.exposure(times),
        grid.interval_of(times),
        events.astype(np.int64),
        np.ones(400),
        np.arange(400),
        grid.log_time,
    )
    no_penalty = Penalty(np.zeros((4, 4)), np.zeros(4))
    ours = minimise(CauseLikelihood(rows, events), no_penalty, start_values(rows, events))
    mean_life = theirs.summary["coef"].to_numpy()
    np.testing.assert_allclose(np.exp(-ours.parameters), mean_life, rtol=1e-4)


def test_one_patient_is_a_cohort() -> None:
    grid = TimeGrid(np.array([0.0, 10.0]), 10.0)
    empty = np.zeros((1, 0))
    rows = Rows(
        empty,
        empty,
        grid.exposure(np.array([5.0])),
        np.array([0]),
        np.array([1]),
        np.ones(1),
        np.array([0]),
        grid.log_time,
    )
    fit = minimise(CauseLikelihood(rows, np.array([True])), Penalty(np.zeros((1, 1)), np.zeros(1)), np.zeros(1))
    assert np.exp(fit.parameters[0]) == pytest.approx(1 / 5)
