from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from evaluation import survival_calibration as calibration
from evaluation.incidence import observed_incidence
from evaluation.survival import Observed


def cohort(num_cases: int, seed: int = 0, *, true_factor: float = 1.0) -> tuple[np.ndarray, Observed]:
    """Predicted one-year risk, and outcomes whose hazard is ``true_factor`` times the predicted one."""
    generator = np.random.default_rng(seed)
    hazard = np.exp(generator.normal(-6.2, 0.9, num_cases))
    event = generator.exponential(1 / (hazard * true_factor))
    censored = generator.uniform(100, 1500, num_cases)
    observed = Observed.of(np.minimum(event, censored), (event <= censored).astype(int), np.ones((1, num_cases)))
    return 1 - np.exp(-hazard * 365), observed


def test_weighted_logistic_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    design = np.column_stack([np.ones(300), generator.normal(size=(300, 2))])
    outcome = (generator.random(300) < 1 / (1 + np.exp(-design @ [0.2, 1.0, -0.5]))).astype(float)
    weights = generator.uniform(0, 3, (2, 300))
    ours = calibration.weighted_logistic(design, outcome, weights)
    for row in range(2):
        model = LogisticRegression(C=1 / calibration.RIDGE, fit_intercept=False, tol=1e-10, max_iter=1000)
        model.fit(design, outcome, sample_weight=weights[row])
        assert ours[row] == pytest.approx(model.coef_[0], abs=2e-4)


def test_a_right_model_has_slope_one_ratio_one_and_a_small_ici() -> None:
    risk, observed = cohort(20_000)
    curve = calibration.calibration_curve(risk, observed, 365.0, None)
    assert calibration.observed_over_expected(risk, observed, 365.0, None)[0] == pytest.approx(1, abs=0.03)
    assert curve.slope[0] == pytest.approx(1, abs=0.06)
    assert calibration.integrated_calibration_index(risk, curve.smooth_risk, observed.counts)[0] < 0.012


def test_too_extreme_predictions_have_a_slope_below_one() -> None:
    risk, observed = cohort(20_000)
    extreme = 1 / (1 + np.exp(-2 * calibration.logit(risk)))
    assert calibration.calibration_curve(extreme, observed, 365.0, None).slope[0] == pytest.approx(0.5, abs=0.04)


def test_risks_that_are_too_low_have_a_ratio_above_one_and_the_ici_of_the_gap() -> None:
    risk, observed = cohort(20_000, true_factor=1.8)
    true_risk = 1 - (1 - risk) ** 1.8
    curve = calibration.calibration_curve(risk, observed, 365.0, None)
    expected = true_risk.mean() / risk.mean()
    assert calibration.observed_over_expected(risk, observed, 365.0, None)[0] == pytest.approx(expected, rel=0.04)
    gap = np.abs(true_risk - risk).mean()
    ici = calibration.integrated_calibration_index(risk, curve.smooth_risk, observed.counts)[0]
    assert ici == pytest.approx(gap, rel=0.12)


def test_ici_is_near_that_of_lifelines_on_a_miscalibrated_model() -> None:
    lifelines_calibration = pytest.importorskip("lifelines.calibration")
    import pandas as pd
    from lifelines import CoxPHFitter
    from matplotlib.figure import Figure

    generator = np.random.default_rng(0)
    x = generator.normal(size=2500)
    event, censored = generator.exponential(400 * np.exp(-x)), generator.uniform(100, 1500, 2500)
    frame = pd.DataFrame({"x": x, "time": np.minimum(event, censored), "event": event <= censored})
    model = CoxPHFitter(penalizer=0.4).fit(frame, "time", "event")  # shrunk: predictions too moderate
    axes = Figure().add_subplot()
    import contextlib
    import io
    import warnings

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, ici, _ = lifelines_calibration.survival_probability_calibration(model, frame, t0=365, ax=axes)
    risk = 1 - model.predict_survival_function(frame, times=[365.0]).to_numpy()[0]
    observed = Observed.of(frame["time"].to_numpy(), frame["event"].to_numpy().astype(int), np.ones((1, 2500)))
    curve = calibration.calibration_curve(risk, observed, 365.0, None)
    ours = calibration.integrated_calibration_index(risk, curve.smooth_risk, observed.counts)[0]
    assert ici > 0.02  # it is miscalibrated
    assert ours == pytest.approx(ici, abs=0.012)


def test_competing_events_use_aalen_johansen_and_not_one_minus_kaplan_meier() -> None:
    generator = np.random.default_rng(0)
    time_days, cause = generator.exponential(200, 4000), generator.integers(1, 3, 4000)
    observed = Observed.of(time_days, cause, np.ones((1, 4000)))
    truth = 0.5 * (1 - np.exp(-365 / 200))
    ratio = calibration.observed_over_expected(np.full(4000, truth), observed, 365.0, 1)[0]
    assert ratio == pytest.approx(1, abs=0.05)
    as_censoring = observed_incidence(
        time_days, np.where(cause == 1, 1, 0), np.ones((1, 4000)), np.array([365.0]), None
    )
    assert as_censoring[0, 0] > truth + 0.1


def test_one_outcome_only_has_no_slope_and_does_not_raise() -> None:
    observed = Observed.of(np.array([10.0, 20.0, 30.0]), np.array([1, 1, 1]), np.ones((1, 3)))
    curve = calibration.calibration_curve(np.array([0.2, 0.5, 0.7]), observed, 365.0, None)
    assert np.isnan(curve.slope).all()


def test_quarters_are_at_most_four_and_equal_risks_share_one() -> None:
    assert np.bincount(calibration.risk_quarters(np.linspace(0, 1, 100))).tolist() == [25, 25, 25, 25]
    assert len(set(calibration.risk_quarters(np.full(10, 0.3)))) == 1
