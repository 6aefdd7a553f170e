from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import AalenJohansenFitter, KaplanMeierFitter

from evaluation import incidence
from evaluation.intervals import bootstrap_counts


def follow_up(num_cases: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    time_days = np.ceil(generator.exponential(300, num_cases) / 10) * 10  # many ties
    return time_days, generator.choice(3, size=num_cases, p=[0.4, 0.35, 0.25])


def test_kaplan_meier_agrees_with_lifelines_under_ties_and_weights() -> None:
    time_days, cause = follow_up()
    counts = bootstrap_counts([str(i) for i in range(200)], 3, seed=0)
    days = np.array([5.0, 90.0, 185.0, 600.0])
    curve = incidence.event_free_curve(incidence.risk_table(time_days, cause, counts)).at(days)
    for row in range(4):
        drawn = counts[row] > 0
        fitter = KaplanMeierFitter().fit(time_days[drawn], cause[drawn] > 0, weights=counts[row][drawn])
        assert curve[row] == pytest.approx(fitter.predict(days).to_numpy(), abs=1e-12)


def test_aalen_johansen_agrees_with_lifelines() -> None:
    generator = np.random.default_rng(1)
    time_days, cause = generator.exponential(300, 150), generator.choice(3, 150)
    days = np.array([50.0, 200.0, 500.0])
    for wanted in (1, 2):
        ours = incidence.observed_incidence(time_days, cause, np.ones((1, 150)), days, wanted)[0]
        fitter = AalenJohansenFitter(calculate_variance=False).fit(time_days, cause, event_of_interest=wanted)
        table = fitter.cumulative_density_.iloc[:, 0]
        assert ours == pytest.approx([float(table[table.index <= day].iloc[-1]) for day in days], abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10_000))
def test_incidences_and_event_free_probability_add_up_to_one(num_cases: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    time_days, cause = generator.integers(0, 12, num_cases).astype(float), generator.integers(0, 4, num_cases)
    counts = bootstrap_counts([str(i) for i in range(num_cases)], 4, seed)
    table = incidence.risk_table(time_days, cause, counts)
    total = incidence.event_free_curve(table).values.copy()
    for wanted in (1, 2, 3):
        curve = incidence.cumulative_incidence(table, cause, counts, wanted).values
        assert (np.diff(curve, axis=1) >= -1e-12).all()
        total += curve
    assert total == pytest.approx(np.ones_like(total), abs=1e-9)


def test_the_censoring_curve_lets_events_leave_first() -> None:
    table = incidence.risk_table(np.array([5.0, 5.0, 9.0]), np.array([1, 0, 1]), np.ones((1, 3)))
    curve = incidence.censoring_curve(table)
    at = np.array([5.0])
    assert curve.at(at, just_before=True)[0, 0] == 1.0
    assert curve.at(at)[0, 0] == pytest.approx(0.5)  # one of the two left after the event is censored


def test_an_event_at_time_zero_counts_from_time_zero() -> None:
    values = incidence.observed_incidence(
        np.array([0.0, 10.0, 10.0, 10.0]), np.array([1, 0, 0, 0]), np.ones((1, 4)), np.array([0.0, 5.0]), None
    )
    assert values[0].tolist() == [0.25, 0.25]


def test_nothing_is_said_beyond_the_last_follow_up_unless_everyone_has_failed() -> None:
    counts = np.ones((1, 2))
    ends_censored = incidence.observed_incidence(np.array([3.0, 8.0]), np.array([1, 0]), counts, np.array([9.0]), None)
    assert np.isnan(ends_censored).all()
    all_failed = incidence.observed_incidence(np.array([3.0, 8.0]), np.array([1, 1]), counts, np.array([9.0]), None)
    assert all_failed[0, 0] == pytest.approx(1.0)


def test_median_follow_up_is_the_reverse_kaplan_meier_of_lifelines() -> None:
    generator = np.random.default_rng(0)
    time_days, cause = generator.exponential(300, 101), generator.integers(0, 2, 101)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter = KaplanMeierFitter().fit(time_days, cause == 0)
    assert incidence.median_follow_up(time_days, cause) == pytest.approx(fitter.median_survival_time_)
    assert incidence.median_follow_up(np.array([]), np.array([], dtype=int)) is None
