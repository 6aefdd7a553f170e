"""Our survival figures beside R's, stored with the script that made them; tied times throughout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import survival
from evaluation.incidence import median_follow_up, observed_incidence
from evaluation.ridge_cox import fit_cox
from evaluation.survival import Observed

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "survival_reference.json"
NEAR = 1e-9


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return dict(json.loads(REFERENCE.read_text()))


@pytest.fixture(scope="module")
def observed(reference: dict[str, Any]) -> Observed:
    return Observed.of(
        np.array(reference["time_days"]), np.array(reference["cause"], dtype=np.int64), np.ones((1, 180))
    )


def test_incidence_agrees_with_survival_and_cmprsk(reference: dict[str, Any], observed: Observed) -> None:
    figures, days = reference["figures"], np.array(reference["days"])

    def ours(wanted: int | None) -> np.ndarray:
        return observed_incidence(observed.time_days, observed.cause, observed.counts, days, wanted)[0]

    assert 1 - ours(None) == pytest.approx(figures["kaplan_meier"], abs=NEAR)
    for cause in (1, 2):
        assert ours(cause) == pytest.approx(figures["aalen_johansen_survival"][cause - 1], abs=NEAR)
        assert ours(cause) == pytest.approx(figures["aalen_johansen_cmprsk"][cause - 1], abs=NEAR)


def test_ranking_agrees_with_survival(reference: dict[str, Any], observed: Observed) -> None:
    figures = reference["figures"]
    score = np.array(reference["x1"]) + 0.5 * np.array(reference["x2"])
    uno = survival.concordance(score, observed, tau=reference["tau"][0])[0]
    harrell = survival.concordance(score, observed, tau=np.inf, weighted=False)[0]
    assert harrell == pytest.approx(figures["harrell_c"][0], abs=NEAR)
    assert uno == pytest.approx(figures["uno_c"][0], abs=NEAR)


def test_errors_agree_with_risk_regression(reference: dict[str, Any], observed: Observed) -> None:
    figures, days = reference["figures"], np.array(reference["days"])
    risk = 1 - np.array(reference["event_free"])
    brier = [survival.brier_at(risk[:, k], observed, day)[0] for k, day in enumerate(days)]
    auc = [survival.auc_at(risk[:, k], observed, day)[0] for k, day in enumerate(days)]
    assert brier == pytest.approx(figures["brier"], abs=NEAR)
    assert auc == pytest.approx(figures["auc"], abs=NEAR)
    share = 0.6 * risk
    brier = [survival.brier_at(share[:, k], observed, day, wanted=1)[0] for k, day in enumerate(days)]
    auc = [survival.auc_at(share[:, k], observed, day, wanted=1)[0] for k, day in enumerate(days)]
    assert brier == pytest.approx(figures["brier_competing"], abs=NEAR)
    assert auc == pytest.approx(figures["auc_competing"], abs=NEAR)


def test_cox_agrees_with_coxph(reference: dict[str, Any], observed: Observed) -> None:
    figures, days = reference["figures"], np.array(reference["days"])
    design = np.column_stack([reference["x1"], reference["x2"]]).astype(float)
    for penalty, name in ((0.0, "cox_breslow"), (10.0, "cox_breslow_ridge_10")):
        model = fit_cox(design, observed.time_days, observed.cause > 0, penalty)
        assert model.coefficients == pytest.approx(figures[name], abs=1e-6)
    plain = fit_cox(design, observed.time_days, observed.cause > 0, 0.0)
    ours = plain.survival(np.array([[0.5, 1.0]]), days)[0]
    assert ours == pytest.approx(figures["cox_survival_at_half_one"], abs=1e-6)


def test_median_follow_up_agrees_with_survfit(reference: dict[str, Any], observed: Observed) -> None:
    ours = median_follow_up(observed.time_days, observed.cause)
    assert ours == reference["figures"]["median_follow_up"][0]
