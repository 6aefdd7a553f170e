from __future__ import annotations

import numpy as np
import pytest

from evaluation.net_benefit import net_benefit, net_benefit_of_all
from evaluation.survival import Observed


def test_without_censoring_it_is_the_textbook_formula() -> None:
    generator = np.random.default_rng(0)
    risk, time_days = generator.random(200), generator.exponential(300, 200)
    observed = Observed.of(time_days, np.ones(200, dtype=int), np.ones((1, 200)))
    thresholds = np.array([0.1, 0.3, 0.6])
    for k, threshold in enumerate(thresholds):
        treated, event = risk >= threshold, time_days <= 180
        expected = (treated & event).mean() - (treated & ~event).mean() * threshold / (1 - threshold)
        assert net_benefit(risk, observed, 180.0, thresholds)[0, k] == pytest.approx(expected)


def test_acting_on_all_depends_on_the_incidence_alone() -> None:
    time_days, cause = np.array([10.0, 20.0, 400.0, 400.0]), np.array([1, 1, 0, 0])
    observed = Observed.of(time_days, cause, np.ones((1, 4)))
    assert net_benefit_of_all(observed, 100.0, np.array([0.25]))[0, 0] == pytest.approx(0.5 - 0.5 / 3)


def test_a_right_model_is_worth_at_least_as_much_as_all_or_none() -> None:
    generator = np.random.default_rng(1)
    hazard = np.exp(generator.normal(-6, 1, 20_000))
    event, censored = generator.exponential(1 / hazard), generator.uniform(50, 1500, 20_000)
    observed = Observed.of(np.minimum(event, censored), (event <= censored).astype(int), np.ones((1, 20_000)))
    thresholds = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    model = net_benefit(1 - np.exp(-hazard * 365), observed, 365.0, thresholds)[0]
    assert (model > -0.003).all()
    assert (model > net_benefit_of_all(observed, 365.0, thresholds)[0] - 0.003).all()


def test_a_competing_event_makes_acting_a_false_positive() -> None:
    observed = Observed.of(np.array([10.0, 10.0]), np.array([1, 2]), np.ones((1, 2)))
    value = net_benefit(np.array([0.9, 0.9]), observed, 50.0, np.array([0.5]), wanted=1)
    assert value[0, 0] == pytest.approx(0.0)
