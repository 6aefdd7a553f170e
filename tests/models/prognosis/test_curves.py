"""Closed forms against numerical integration and against lifelines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import AalenJohansenFitter, KaplanMeierFitter

from benchmarks.prognosis_generator import Variant, draw, endpoint_of
from domain.prognostic_data import PrognosticData
from domain.settings import PrognosisSettings
from models.prognosis import PrognosticModel
from models.prognosis.curves import cumulative_incidence, survival
from models.prognosis.time_grid import TimeGrid

GRID = TimeGrid(np.array([0.0, 30.0, 90.0, 365.0]), 365.0)


@settings(max_examples=60, deadline=None)
@given(
    log_hazard=st.lists(st.floats(-30.0, 3.0), min_size=6, max_size=6),
    days=st.lists(st.floats(0.0, 365.0), min_size=1, max_size=8),
)
def test_curves_are_monotone_and_add_up_for_any_hazard(log_hazard: list[float], days: list[float]) -> None:
    hazards = np.array(log_hazard).reshape(1, 2, 3)
    when = np.array([0.0, *sorted(days)])
    alive, incidence = survival(hazards, GRID, when), cumulative_incidence(hazards, GRID, when)
    assert alive[0, 0] == 1.0
    assert np.all(np.diff(alive) <= 0)
    assert np.all(np.diff(incidence) >= -1e-15)
    np.testing.assert_allclose(alive + incidence.sum(axis=1), 1.0, atol=1e-12)


def test_incidence_is_the_integral_of_hazard_times_survival() -> None:
    hazards = np.log(np.array([[[2e-3, 5e-4, 1e-3], [1e-3, 3e-3, 1e-4]]]))
    fine = np.linspace(0.0, 300.0, 60_001)
    alive = survival(hazards, GRID, fine)[0]
    per_day = np.exp(hazards[0][:, GRID.interval_of(np.maximum(fine, 1e-9))])
    numeric = np.trapezoid(per_day * alive, fine, axis=1)
    np.testing.assert_allclose(cumulative_incidence(hazards, GRID, np.array([300.0]))[0, :, 0], numeric, atol=1e-5)


@pytest.fixture(scope="module")
def without_inputs() -> tuple[PrognosticData, PrognosticModel]:
    """A cohort of which only outcomes are known, and its fit."""
    variant = Variant(competing=True)
    data = draw(1500, 8, variant).data
    bare = PrognosticData(case_ids=data.case_ids, time_days=data.time_days, cause=data.cause)
    quiet = PrognosisSettings(num_embedding_components=4, num_bootstrap=0, baseline_smoothness=0.01)
    return bare, PrognosticModel.fit(bare, quiet, endpoint_of(variant))


def test_without_inputs_survival_is_kaplan_meier_at_the_edges(
    without_inputs: tuple[PrognosticData, PrognosticModel],
) -> None:
    data, model = without_inputs
    edges = np.array([30.0, 90.0, 180.0, 365.0, 730.5, 1096.0])
    km = KaplanMeierFitter().fit(data.time_days, data.cause > 0)  # type: ignore[operator]
    expected = km.survival_function_at_times(edges).to_numpy()
    np.testing.assert_allclose(model.survival(data.take([0]), edges)[0], expected, atol=0.006)


def test_without_inputs_incidence_is_aalen_johansen_at_the_edges(
    without_inputs: tuple[PrognosticData, PrognosticModel],
) -> None:
    data, model = without_inputs
    edges = np.array([90.0, 365.0, 1096.0])
    ours = model.cumulative_incidence(data.take([0]), edges)
    for index, key in enumerate(model.endpoint.cause_keys, start=1):
        theirs = AalenJohansenFitter(jitter_level=1e-6, seed=1, calculate_variance=False)
        curve = theirs.fit(data.time_days, data.cause, event_of_interest=index).cumulative_density_
        at = np.searchsorted(curve.index.to_numpy(), edges, side="right") - 1
        np.testing.assert_allclose(ours[key][0], curve.to_numpy()[at, 0], atol=0.006)
