from __future__ import annotations

import numpy as np
import pytest

from evaluation.goodness_of_fit import a_calibration, survival_at_own_time

DAYS = np.array([90.0, 180.0, 365.0, 1096.0, 1826.0])


def p_values(hazard_factor: float, censoring_days: float, repeats: int = 120, num_cases: int = 300) -> np.ndarray:
    values = []
    for seed in range(repeats):
        generator = np.random.default_rng(seed)
        hazard = np.exp(generator.normal(-6.5, 0.8, num_cases))
        event = generator.exponential(1 / (hazard * hazard_factor))
        censored = generator.exponential(censoring_days, num_cases)
        predicted = np.exp(-np.outer(hazard, DAYS))
        test = a_calibration(predicted, DAYS, np.minimum(event, censored), (event <= censored).astype(float))
        values.append(test.p_value)
    return np.array(values)


@pytest.mark.parametrize("censoring_days", [3000.0, 300.0])
def test_a_right_model_is_rejected_about_as_often_as_the_level_says(censoring_days: float) -> None:
    assert np.mean(p_values(1.0, censoring_days) < 0.05) < 0.12  # 0.05 within three standard errors of 120 sets


def test_hazards_forty_percent_too_low_are_found_most_of_the_time_even_under_censoring() -> None:
    assert np.mean(p_values(1.4, 3000.0) < 0.05) > 0.8
    assert np.mean(p_values(1.4, 500.0) < 0.05) > 0.4


def test_expected_and_observed_events_agree_in_total_for_a_right_model() -> None:
    generator = np.random.default_rng(0)
    hazard = np.exp(generator.normal(-6, 0.5, 20_000))
    event, censored = generator.exponential(1 / hazard), generator.exponential(800, 20_000)
    predicted = np.exp(-np.outer(hazard, DAYS))
    test = a_calibration(predicted, DAYS, np.minimum(event, censored), (event <= censored).astype(float))
    assert sum(test.observed) == pytest.approx(sum(test.expected), rel=0.02)


def test_survival_between_horizons_has_a_constant_hazard() -> None:
    predicted = np.array([[0.9, 0.8, 0.8, 0.4, 0.2]])
    assert survival_at_own_time(predicted, DAYS, np.array([45.0]))[0] == pytest.approx(np.sqrt(0.9))
    assert survival_at_own_time(predicted, DAYS, np.array([0.0]))[0] == 1.0
    assert survival_at_own_time(predicted, DAYS, np.array([9999.0]))[0] == pytest.approx(0.2)


def test_too_few_events_give_no_p_value_and_no_error() -> None:
    test = a_calibration(np.full((3, 5), 0.9), DAYS, np.array([10.0, 20.0, 30.0]), np.array([1.0, 0.0, 0.0]))
    assert np.isnan(test.p_value)
