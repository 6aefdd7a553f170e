from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from evaluation import ridge_cox


def trial(num_cases: int = 250, seed: int = 0, *, day_width: float = 20.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    design = generator.normal(size=(num_cases, 4))
    event = generator.exponential(400 * np.exp(-design @ [0.8, -0.5, 0.0, 0.2]))
    censored = generator.exponential(700, num_cases)
    time_days = np.ceil(np.minimum(event, censored) / day_width) * day_width
    return design, time_days, event <= censored


@pytest.mark.parametrize("penalty", [0.0, 2.0, 50.0])
def test_coefficients_and_curves_agree_with_scikit_survival_under_ties(penalty: float) -> None:
    linear_model = pytest.importorskip("sksurv.linear_model")
    design, time_days, is_event = trial()
    outcome = np.array(list(zip(is_event, time_days, strict=True)), dtype=[("event", bool), ("time", float)])
    reference = linear_model.CoxPHSurvivalAnalysis(alpha=penalty, ties="breslow").fit(design, outcome)
    model = ridge_cox.fit_cox(design, time_days, is_event, penalty)
    assert model.coefficients == pytest.approx(reference.coef_, abs=1e-6)
    days = np.array([30.0, 200.0, 900.0])
    curves = [function(days) for function in reference.predict_survival_function(design[:5])]
    assert model.survival(design[:5], days) == pytest.approx(np.array(curves), abs=1e-6)


def test_coefficients_agree_with_lifelines_without_ties() -> None:
    design, time_days, is_event = trial(day_width=1e-6)
    frame = pd.DataFrame(design).assign(time=time_days, event=is_event)
    reference = CoxPHFitter().fit(frame, "time", "event").params_.to_numpy()
    assert ridge_cox.fit_cox(design, time_days, is_event, 0.0).coefficients == pytest.approx(reference, abs=1e-4)


def test_a_constant_column_and_complete_separation_do_not_break_it() -> None:
    _, time_days, is_event = trial(60)
    design = np.column_stack([np.ones(60), np.where(is_event, 1.0, 0.0)])  # the second column is the event itself
    model = ridge_cox.fit_cox(design, time_days, is_event, 1.0)
    assert np.isfinite(model.coefficients).all()
    assert model.coefficients[0] == pytest.approx(0, abs=1e-6)


def test_no_column_is_the_breslow_curve_of_everyone() -> None:
    _, time_days, is_event = trial(80)
    model = ridge_cox.fit_cox(np.zeros((80, 0)), time_days, is_event, 1.0)
    hazard = sum(
        is_event[time_days == day].sum() / (time_days >= day).sum()
        for day in np.unique(time_days[is_event])
        if day <= 300
    )
    assert model.survival(np.zeros((1, 0)), np.array([300.0]))[0, 0] == pytest.approx(np.exp(-hazard))


def test_noise_gets_the_strongest_penalty_and_signal_a_weaker_one() -> None:
    generator = np.random.default_rng(0)
    folds = np.arange(250) % 5
    design, time_days, is_event = trial()
    noise = generator.normal(size=(250, 8))
    chosen = [
        ridge_cox.choose_penalty(columns, time_days, is_event, folds, ridge_cox.PENALTIES)
        for columns in (noise, design)
    ]
    assert chosen[0] == max(ridge_cox.PENALTIES)
    assert chosen[1] < chosen[0]
