"""Prediction intervals for the event time: the promised share inside, also where the model is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lifelines import KaplanMeierFitter

from benchmarks.prognosis_generator import Cohort, Variant, draw, endpoint_of
from domain.settings import PrognosisSettings
from models.prognosis import PrognosticModel
from models.prognosis.conformal import _Calibration, fit_conformal

SETTINGS = PrognosisSettings(num_embedding_components=4, num_bootstrap=0)


@pytest.fixture(scope="module")
def model() -> PrognosticModel:
    return PrognosticModel.fit(draw(300, 31).data, SETTINGS, endpoint_of(Variant()))


def share_before(model: PrognosticModel, cohort: Cohort) -> float:
    """True probability of an event before the interval begins, averaged over patients."""
    assert model.conformal is not None
    days = np.linspace(0.0, model.state.grid.supported_days, 800)
    risk, truth = 1 - model.survival(cohort.data, days), 1 - cohort.true_survival(days)
    limit = model.conformal.strata[0].lower_risk
    assert limit is not None
    begins = (risk < limit).sum(axis=1) - 1
    return float(truth[np.arange(len(truth)), np.maximum(begins, 0)].mean())


@pytest.mark.parametrize("distortion", [0.0, 1.0, -1.0])
def test_the_promise_holds_even_where_the_level_of_risk_is_wrong(model: PrognosticModel, distortion: float) -> None:
    wrong = draw(500, 32).data  # the same head, its hazards off by a factor of e either way
    state = model.state
    shifted = PrognosticModel(
        model.endpoint,
        model.settings,
        type(state)(**{**vars(state), "recalibration_shift": state.recalibration_shift + distortion}),
    )
    calibrated = shifted.with_conformal(wrong, 0.8)
    test = draw(1500, 33)
    assert 0.05 < share_before(calibrated, test) < 0.15  # nominal 0.10 on either side


def test_a_small_stratum_is_not_available_and_says_why(model: PrognosticModel) -> None:
    bands = model.with_conformal(draw(220, 34).data).conformal
    assert bands is not None
    by_name = {stratum.name: stratum for stratum in bands.strata}
    assert by_name["all patients"].lower_risk is not None
    assert by_name["mda5"].lower_risk is None
    assert by_name["mda5"].reason.startswith("not available: ")
    assert "100 with 30 are needed" in by_name["mda5"].reason
    assert bands.for_stratum("mda5").name == "all patients"


def test_below_a_hundred_patients_nothing_is_claimed(model: PrognosticModel) -> None:
    calibrated = model.with_conformal(draw(80, 35).data)
    answer = calibrated.explain(draw(20, 36).data.take([0])).event_time
    assert answer is not None
    assert (answer.from_days, answer.until_days, answer.measured_coverage) == (None, None, None)
    assert answer.reason.startswith("not available: 80 patients")


def test_an_answer_names_level_measure_and_stratum_and_survives_its_file(model: PrognosticModel) -> None:
    calibrated = model.with_conformal(draw(600, 37).data, 0.8)
    assert calibrated.conformal is not None
    restored = PrognosticModel.from_dict(json.loads(json.dumps(calibrated.to_dict(), allow_nan=False)))
    patients = draw(40, 38).data
    for row in range(40):
        answer = restored.explain(patients.take([row])).event_time
        assert answer == calibrated.explain(patients.take([row])).event_time
        assert answer is not None
        assert answer.level == 0.8
        is_open = calibrated.conformal.for_stratum(answer.stratum).upper_risk is None
        assert answer.measured_coverage == pytest.approx(0.9 if is_open else 0.8, abs=0.05)
        assert answer.from_days is not None
        assert answer.until_days is None or answer.from_days < answer.until_days
    assert restored.explain(patients.take([0])).event_time != model.explain(patients.take([0])).event_time


def test_an_uncalibrated_head_gives_no_interval(model: PrognosticModel) -> None:
    assert model.explain(draw(20, 36).data.take([0])).event_time is None


def test_censoring_weights_are_those_of_lifelines() -> None:
    rng = np.random.default_rng(3)
    days = np.ceil(rng.exponential(40.0, 200))  # many ties
    event = rng.random(200) < 0.6
    ours = _Calibration(np.zeros(200), days, event).weights()
    # events come first on a day: move the censored half a day later, then the plain estimator says the same
    moved = np.where(event, days, days + 0.5)
    censoring = KaplanMeierFitter().fit(moved, ~event)
    expected = np.where(event, 1.0 / censoring.predict(days - 0.25).to_numpy(), 0.0)
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_limits_move_with_the_level() -> None:
    rng = np.random.default_rng(4)
    risk, days = rng.random(400), rng.exponential(100.0, 400)
    event = rng.random(400) < 0.9
    wide, narrow = (fit_conformal(risk, days, event, ("x",) * 400, level).strata[0] for level in (0.95, 0.5))
    assert wide.lower_risk is not None
    assert narrow.lower_risk is not None
    assert wide.lower_risk < narrow.lower_risk
