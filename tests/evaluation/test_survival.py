from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import survival
from evaluation.incidence import event_free_curve, risk_table
from evaluation.intervals import bootstrap_counts
from evaluation.survival import Observed


def follow_up(num_cases: int, seed: int, *, censoring_mean: float = 600.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    risk = generator.normal(size=num_cases)
    event, censored = generator.exponential(400 * np.exp(-risk)), generator.exponential(censoring_mean, num_cases)
    noisy = 0.7 * risk + generator.normal(size=num_cases)
    return np.minimum(event, censored), (event <= censored).astype(np.int64), noisy


def sksurv_outcome(time_days: np.ndarray, cause: np.ndarray) -> np.ndarray:
    return np.array(list(zip(cause > 0, time_days, strict=True)), dtype=[("event", bool), ("time", float)])


@pytest.mark.parametrize("censoring_mean", [2000.0, 600.0, 120.0])  # about 15 %, 40 % and 75 % censored
def test_concordance_auc_and_brier_agree_with_scikit_survival(censoring_mean: float) -> None:
    reference = pytest.importorskip("sksurv.metrics")
    time_days, cause, risk = follow_up(250, 3, censoring_mean=censoring_mean)
    observed, outcome = Observed.of(time_days, cause, np.ones((1, 250))), sksurv_outcome(time_days, cause)
    tau = float(np.quantile(time_days, 0.8))
    expected = reference.concordance_index_ipcw(outcome, outcome, risk, tau=tau)[0]
    assert survival.concordance(risk, observed, tau=tau)[0] == pytest.approx(expected, abs=1e-12)
    harrell = reference.concordance_index_censored(cause > 0, time_days, risk)[0]
    assert survival.concordance(risk, observed, tau=np.inf, weighted=False)[0] == pytest.approx(harrell, abs=1e-12)
    day = float(np.quantile(time_days, 0.4))
    auc = reference.cumulative_dynamic_auc(outcome, outcome, risk, [day])[0][0]
    assert survival.auc_at(risk, observed, day)[0] == pytest.approx(auc, abs=1e-12)
    free = 1 / (1 + np.exp(risk))
    brier = reference.brier_score(outcome, outcome, free[:, None], [day])[1][0]
    assert survival.brier_at(1 - free, observed, day)[0] == pytest.approx(brier, abs=1e-12)


def test_integrated_brier_agrees_with_scikit_survival() -> None:
    reference = pytest.importorskip("sksurv.metrics")
    time_days, cause, risk = follow_up(200, 5)
    days = np.array([50.0, 100.0, 200.0, 400.0])
    predicted = np.exp(-np.exp(risk)[:, None] * days / 400)
    observed, outcome = Observed.of(time_days, cause, np.ones((1, 200))), sksurv_outcome(time_days, cause)
    scores = np.stack([survival.brier_at(1 - predicted[:, k], observed, day) for k, day in enumerate(days)], axis=1)
    expected = reference.integrated_brier_score(outcome, outcome, predicted, days)
    assert survival.integrate(days, scores)[0] == pytest.approx(expected, abs=1e-12)


def test_a_resample_gives_what_the_drawn_patients_give_by_themselves() -> None:
    time_days, cause, risk = follow_up(60, 7)
    counts = bootstrap_counts([str(i) for i in range(60)], 3, seed=2)
    together = Observed.of(time_days, cause, counts)
    for row in range(1, 4):
        drawn = np.repeat(np.arange(60), counts[row].astype(int))
        alone = Observed.of(time_days[drawn], cause[drawn], np.ones((1, len(drawn))))
        for measure in (
            lambda x, o: survival.concordance(x, o, tau=500.0),
            lambda x, o: survival.auc_at(x, o, 200.0),
            lambda x, o: survival.brier_at(1 / (1 + np.exp(-x)), o, 200.0),
        ):
            assert measure(risk, together)[row] == pytest.approx(measure(risk[drawn], alone)[0], abs=1e-12)


def brute_force_concordance(risk: np.ndarray, observed: Observed, tau: float, wanted: int) -> float:
    time_days, cause = observed.time_days, observed.cause
    weight = observed.weight_at_own_time()[0]
    ordered = pairs = 0.0
    for i in range(len(risk)):
        if cause[i] != wanted or time_days[i] > tau:
            continue
        for j in range(len(risk)):
            later = time_days[j] > time_days[i] or (time_days[j] == time_days[i] and cause[j] == 0)
            never = cause[j] not in (0, wanted) and not later
            if not later and not never:
                continue
            w = weight[i] ** 2 if later else weight[i] * weight[j]
            ordered += w * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
            pairs += w
    return ordered / pairs


def test_competing_concordance_agrees_with_its_definition_pair_by_pair() -> None:
    generator = np.random.default_rng(0)
    time_days, cause = generator.integers(1, 30, 70).astype(float), generator.integers(0, 3, 70)
    risk = generator.normal(size=70).round(1)
    observed = Observed.of(time_days, cause, np.ones((1, 70)))
    for wanted in (1, 2):
        ours = survival.concordance(risk, observed, tau=25.0, wanted=wanted)[0]
        assert ours == pytest.approx(brute_force_concordance(risk, observed, 25.0, wanted), abs=1e-12)


def test_without_ties_uno_agrees_with_r_survauc_as_posted() -> None:
    """R survAUC `UnoC` gives 0.4129032 for these data (output posted in scikit-survival issue 428)."""
    time_days = np.array([11.0, 26.0, 89.0, 128.0, 299.0, 300.0])
    cause = np.array([1, 0, 1, 0, 1, 0])
    risk = np.array([-0.02, -0.56, -1.33, -0.81, 1.02, -1.29])
    observed = Observed.of(time_days, cause, np.ones((1, 6)))
    assert survival.concordance(risk, observed, tau=298.0)[0] == pytest.approx(0.4129032, abs=1e-7)


def test_who_is_censored_exactly_at_a_horizon_was_event_free_there() -> None:
    time_days, cause, risk = follow_up(300, 4)
    beyond = time_days > 365.0
    figures = []
    for closed_on in (365.0, 366.0):  # the day a study ends must not change what was seen by day 365
        closed = np.where(beyond, closed_on, time_days)
        observed = Observed.of(closed, np.where(beyond, 0, cause), np.ones((1, 300)))
        probability = 1 / (1 + np.exp(-risk))
        auc, brier = survival.auc_at(risk, observed, 365.0)[0], survival.brier_at(probability, observed, 365.0)[0]
        figures.append((auc, brier, survival.status_weights(observed, 365.0).sum()))
    assert figures[0] == pytest.approx(figures[1])
    assert figures[0][2] == pytest.approx(300, abs=1e-9)  # weights stand for everyone


def test_an_event_and_a_censoring_on_one_day_form_a_pair_weighted_by_the_left_limit() -> None:
    time_days, cause = np.array([11.0, 11.0, 26.0, 89.0, 128.0, 300.0]), np.array([1, 0, 0, 1, 0, 0])
    risk = np.array([-0.02, 1.20, -0.56, -1.33, -0.81, -1.29])
    observed = Observed.of(time_days, cause, np.ones((1, 6)))
    censoring_before_89 = (1 - 1 / 5) * (1 - 1 / 4)  # censored on days 11 and 26
    weight = censoring_before_89**-2
    expected = (4 - 0.0) / (5 + 2 * weight)  # day 11: 4 of 5 right; day 89: 0 of 2
    assert survival.concordance(risk, observed, tau=200.0)[0] == pytest.approx(expected)


def test_weighting_removes_the_bias_that_heavy_censoring_puts_into_the_brier_score() -> None:
    generator = np.random.default_rng(0)
    num_cases, day = 40_000, 200.0
    log_hazard = generator.normal(size=num_cases)
    event = generator.exponential(400 * np.exp(-log_hazard))
    censored = generator.exponential(250, num_cases)
    risk = 1 - np.exp(-np.exp(log_hazard) * day / 400)
    truth = np.mean(((event <= day) - risk) ** 2)
    observed = Observed.of(np.minimum(event, censored), (event <= censored).astype(int), np.ones((1, num_cases)))
    assert survival.brier_at(risk, observed, day)[0] == pytest.approx(truth, abs=0.004)


def test_competing_events_count_as_not_having_the_wanted_one() -> None:
    time_days, cause = np.array([10.0, 20.0, 50.0, 60.0]), np.array([1, 2, 1, 2])
    observed = Observed.of(time_days, cause, np.ones((1, 4)))
    risk = np.array([0.9, 0.1, 0.5, 0.2])
    expected = np.mean([(1 - 0.9) ** 2, 0.1**2, 0.5**2, 0.2**2])
    assert survival.brier_at(risk, observed, 30.0, wanted=1)[0] == pytest.approx(expected)
    assert survival.auc_at(risk, observed, 30.0, wanted=1)[0] == 1.0
    assert survival.auc_at(-risk, observed, 30.0, wanted=1)[0] == 0.0


def test_no_event_before_the_horizon_is_no_value_and_no_error() -> None:
    observed = Observed.of(np.array([100.0, 200.0]), np.array([1, 0]), np.ones((2, 2)))
    risk = np.array([0.2, 0.1])
    assert np.isnan(survival.auc_at(risk, observed, 50.0)).all()
    assert np.isnan(survival.concordance(risk, observed, tau=50.0)).all()


def test_everyone_censored_is_no_value_and_no_error() -> None:
    observed = Observed.of(np.array([1.0, 2.0, 3.0]), np.zeros(3, dtype=int), np.ones((1, 3)))
    assert np.isnan(survival.concordance(np.arange(3.0), observed, tau=10.0)).all()


def test_events_at_time_zero_are_ranked_like_any_other() -> None:
    time_days, cause = np.array([0.0, 0.0, 5.0, 9.0]), np.array([1, 1, 0, 1])
    observed = Observed.of(time_days, cause, np.ones((1, 4)))
    assert survival.concordance(np.array([4.0, 3.0, 2.0, 1.0]), observed, tau=10.0)[0] == 1.0


def test_the_index_of_prediction_accuracy_of_kaplan_meier_itself_is_zero() -> None:
    time_days, cause, _ = follow_up(100, 0)
    observed = Observed.of(time_days, cause, np.ones((1, 100)))
    free = event_free_curve(risk_table(time_days, cause, np.ones((1, 100)))).at(np.array([200.0]))[0, 0]
    score = survival.brier_at(np.full(100, 1 - free), observed, 200.0)
    assert survival.prediction_accuracy_index(score, score)[0] == 0.0
    assert score[0] == pytest.approx(free * (1 - free), abs=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 40), st.integers(0, 10_000))
def test_concordance_is_a_share_turns_with_the_risk_and_ignores_the_order_of_rows(num_cases: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    time_days, cause = generator.integers(0, 15, num_cases).astype(float), generator.integers(0, 2, num_cases)
    risk = generator.normal(size=num_cases).round(1)
    observed = Observed.of(time_days, cause, np.ones((1, num_cases)))
    value = survival.concordance(risk, observed, tau=12.0)[0]
    if np.isnan(value):
        return
    assert -1e-12 <= value <= 1 + 1e-12
    assert survival.concordance(-risk, observed, tau=12.0)[0] == pytest.approx(1 - value)
    order = generator.permutation(num_cases)
    again = Observed.of(time_days[order], cause[order], np.ones((1, num_cases)))
    assert survival.concordance(risk[order], again, tau=12.0)[0] == pytest.approx(value)
