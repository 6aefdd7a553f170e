"""The piecewise-exponential fit beside R's Poisson regression; its incidence beside numerical integration in R."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.prognosis.curves import cumulative_incidence, survival
from models.prognosis.likelihood import CauseLikelihood, Penalty, Rows, minimise
from models.prognosis.penalties import start_values
from models.prognosis.time_grid import TimeGrid

REFERENCE = Path(__file__).resolve().parents[2] / "reference" / "survival_reference.json"


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return dict(json.loads(REFERENCE.read_text()))


@pytest.fixture(scope="module")
def grid(reference: dict[str, Any]) -> TimeGrid:
    edges = np.array(reference["edges"])
    return TimeGrid(edges, float(edges[-1]))


@pytest.fixture(scope="module")
def rows(reference: dict[str, Any], grid: TimeGrid) -> Rows:
    times, x1, x2 = (np.array(reference[name], dtype=float) for name in ("time_days", "x1", "x2"))
    return Rows(
        static=np.column_stack([x1, x2]),
        temporal=x2[:, None],
        exposure=grid.exposure(times),
        interval=grid.interval_of(times),
        cause=np.array(reference["cause"], dtype=np.int64),
        weight=np.ones(len(times)),
        patient=np.arange(len(times)),
        log_time=grid.log_time,
    )


def test_mean_log_time_of_an_interval_agrees(reference: dict[str, Any], grid: TimeGrid) -> None:
    np.testing.assert_allclose(grid.log_time, reference["figures"]["log_time"], atol=1e-12)


@pytest.mark.parametrize("cause", [1, 2])
def test_coefficients_and_likelihood_agree_with_glm(reference: dict[str, Any], rows: Rows, cause: int) -> None:
    likelihood = CauseLikelihood(rows, rows.cause == cause)
    size = sum(rows.sizes)
    fit = minimise(likelihood, Penalty(np.zeros((size, size)), np.zeros(size)), start_values(rows, rows.cause == cause))
    figures = reference["figures"]
    np.testing.assert_allclose(fit.parameters, figures[f"piecewise_cause_{cause}"], atol=3e-5)
    assert likelihood.value(fit.parameters) == pytest.approx(figures["piecewise_loss"][cause - 1], abs=1e-6)


def test_curves_agree_with_numerical_integration(reference: dict[str, Any], grid: TimeGrid) -> None:
    figures, days = reference["figures"], np.array(reference["days"])
    by_cause = [np.array(figures[f"piecewise_cause_{cause}"]) for cause in (1, 2)]
    log_hazard = np.array([b[:4] + 0.5 * b[4] + b[5] + b[6] * grid.log_time for b in by_cause])[None]
    np.testing.assert_allclose(survival(log_hazard, grid, days)[0], figures["piecewise_survival"], atol=1e-9)
    ours = cumulative_incidence(log_hazard, grid, days)[0]
    np.testing.assert_allclose(ours, figures["piecewise_incidence"], atol=1e-9)
