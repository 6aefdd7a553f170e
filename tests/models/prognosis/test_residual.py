"""A neural correction wins where an effect is curved, and is not chosen where there is nothing for it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from benchmarks.prognosis_generator import Cohort, Variant, draw, endpoint_of
from domain.settings import PrognosisSettings
from models.prognosis import PrognosticModel
from models.prognosis import residual as residual_module
from models.prognosis.explanation import RESIDUAL_BLOCK

CURVED = Variant(nonlinear=True)
DAYS = np.linspace(60.0, 1000.0, 12)


def fit(cohort: Cohort, *, try_residual: bool) -> PrognosticModel:
    settings = PrognosisSettings(num_embedding_components=4, num_bootstrap=0, try_residual=try_residual)
    return PrognosticModel.fit(cohort.data, settings, endpoint_of(Variant()))


def error(model: PrognosticModel, test: Cohort) -> float:
    return float(((model.survival(test.data, DAYS) - test.true_survival(DAYS)) ** 2).mean())


@pytest.fixture(scope="module")
def corrected() -> PrognosticModel:
    return fit(draw(600, 41, CURVED), try_residual=True)


def test_it_wins_where_effects_are_curved(corrected: PrognosticModel) -> None:
    assert corrected.state.residual is not None
    assert corrected.state.residual.gate[0] > 0
    test = draw(1000, 42, CURVED)
    assert error(corrected, test) < 0.8 * error(fit(draw(600, 41, CURVED), try_residual=False), test)
    assert any("a neural correction is used" in note for note in corrected.state.summary.notes)


@pytest.mark.parametrize("variant", [Variant(), Variant(interactions=False), Variant(permuted=True)])
def test_it_is_not_chosen_where_the_core_is_right(variant: Variant) -> None:
    tried = fit(draw(300, 43, variant), try_residual=True)
    assert tried.state.residual is None
    assert any("was tried and is not used" in note for note in tried.state.summary.notes)
    plain = fit(draw(300, 43, variant), try_residual=False)
    patients = draw(50, 44, variant).data
    assert np.array_equal(tried.survival(patients, DAYS), plain.survival(patients, DAYS))


def test_contributions_still_add_up_and_the_file_keeps_it(corrected: PrognosticModel) -> None:
    patient = draw(30, 45, CURVED).data.take([3])
    parts = [part for part in corrected.contributions(patient, [365.0]) if part.days == 365.0]
    assert RESIDUAL_BLOCK in {part.block for part in parts}
    interval = corrected.state.grid.interval_of(np.array([365.0]))[0]
    average = corrected.state.average_log_hazard(corrected.state.hazards)[0, interval]
    total = corrected.log_hazard(patient)[0, 0, interval]
    assert sum(part.log_hazard for part in parts) == pytest.approx(total - average, abs=1e-9)
    restored = PrognosticModel.from_dict(json.loads(json.dumps(corrected.to_dict(), allow_nan=False)))
    assert np.array_equal(restored.survival(patient, DAYS), corrected.survival(patient, DAYS))


def test_few_events_try_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual_module, "fit_networks", lambda *_: pytest.fail("tried with too few events"))
    assert fit(draw(100, 46), try_residual=True).state.residual is None


def test_the_gradient_is_that_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, expected, events = rng.normal(size=(40, 3)), rng.random(40), (rng.random(40) < 0.5).astype(float)
    seen: list[float] = []

    def check(loss, start, **_):  # type: ignore[no-untyped-def]
        point = start + 0.3 * rng.normal(size=len(start))
        numeric = approx_fprime(point, lambda flat: loss(flat)[0], 1e-7)
        seen.append(float(np.abs(loss(point)[1] - numeric).max()))
        return type("Found", (), {"x": start})

    monkeypatch.setattr(residual_module, "minimize", check)
    residual_module.fit_networks(x, expected, events, seed=0)
    assert max(seen) < 1e-4
