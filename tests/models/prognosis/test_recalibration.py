"""A head moved to a site with another level of risk."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.prognosis_generator import Variant, draw, endpoint_of
from domain.errors import PrognosisDataError
from domain.settings import PrognosisSettings
from models.prognosis import PrognosticModel

YEAR = np.array([365.0])
SHIFTED = Variant(centre_shift=0.9)


@pytest.fixture(scope="module")
def model() -> PrognosticModel:
    return PrognosticModel.fit(
        draw(400, 21).data, PrognosisSettings(num_embedding_components=4, num_bootstrap=5), endpoint_of(Variant())
    )


def bias(model: PrognosticModel) -> float:
    there = draw(1500, 55, SHIFTED)  # the same hospitals, other patients
    return float((model.survival(there.data, YEAR) - there.true_survival(YEAR)).mean())


@pytest.mark.parametrize("method", ["intercept", "slope", "baseline"])
def test_recalibration_halves_the_bias_at_least_of_another_site(model: PrognosticModel, method: str) -> None:
    new_site = draw(300, 55, SHIFTED).data
    recalibrated = model.recalibrated(new_site, method)  # type: ignore[arg-type]
    assert bias(model) > 0.1
    assert abs(bias(recalibrated)) < 0.5 * bias(model)


def test_the_report_shows_observed_and_expected_before_and_after(model: PrognosticModel) -> None:
    (death,) = model.recalibration_report(draw(300, 55, SHIFTED).data)
    assert death.expected_before < 0.8 * death.num_events
    assert death.expected_after == pytest.approx(death.num_events, rel=0.02)
    assert death.slope == 1.0


def test_an_intercept_keeps_the_order_of_patients(model: PrognosticModel) -> None:
    patients = draw(80, 56).data
    moved = model.recalibrated(draw(300, 55, SHIFTED).data).survival(patients, YEAR)[:, 0]
    assert np.array_equal(np.argsort(moved), np.argsort(model.survival(patients, YEAR)[:, 0]))


def test_a_recalibrated_head_survives_its_file_and_says_what_happened(model: PrognosticModel) -> None:
    recalibrated = model.recalibrated(draw(300, 55, SHIFTED).data, "slope")
    restored = PrognosticModel.from_dict(json.loads(json.dumps(recalibrated.to_dict(), allow_nan=False)))
    patient = draw(80, 56).data.take([0])
    assert np.array_equal(restored.survival(patient, YEAR), recalibrated.survival(patient, YEAR))
    assert any("recalibrated (slope) on 300 patients" in note for note in restored.explain(patient).notes)


def test_too_few_events_are_refused(model: PrognosticModel) -> None:
    with pytest.raises(PrognosisDataError, match="are needed for baseline"):
        model.recalibrated(draw(30, 5, SHIFTED).data, "baseline")
