"""Our figures beside those of other programs, stored with the script that made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import survival
from evaluation.incidence import observed_incidence
from evaluation.survival import Observed

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "evaluation_reference.json"


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return dict(json.loads(REFERENCE.read_text()))


@pytest.fixture(scope="module")
def observed(reference: dict[str, Any]) -> Observed:
    time_days, cause = np.array(reference["time_days"]), np.array(reference["cause"])
    return Observed.of(time_days, cause, np.ones((1, len(cause))))


def test_ranking_agrees(reference: dict[str, Any], observed: Observed) -> None:
    score, figures, near = np.array(reference["score"]), reference["figures"], reference["tolerance"]
    assert survival.concordance(score, observed, tau=reference["tau"])[0] == pytest.approx(figures["uno_c"], abs=near)
    harrell = survival.concordance(score, observed, tau=np.inf, weighted=False)[0]
    assert harrell == pytest.approx(figures["harrell_c"], abs=near)
    aucs = [survival.auc_at(score, observed, day)[0] for day in reference["days"]]
    assert aucs == pytest.approx(figures["auc_at"], abs=near)


def test_error_agrees(reference: dict[str, Any], observed: Observed) -> None:
    free, days = np.array(reference["event_free"]), np.array(reference["days"])
    scores = np.stack([survival.brier_at(1 - free[:, k], observed, day) for k, day in enumerate(days)], axis=1)
    assert scores[0] == pytest.approx(reference["figures"]["brier_at"], abs=reference["tolerance"])
    assert survival.integrate(days, scores)[0] == pytest.approx(reference["figures"]["ibs"], abs=reference["tolerance"])


def test_incidence_agrees(reference: dict[str, Any], observed: Observed) -> None:
    days = np.array(reference["days"])
    for wanted in (None, 1, 2):
        ours = observed_incidence(observed.time_days, observed.cause, observed.counts, days, wanted)[0]
        name = "kaplan_meier" if wanted is None else f"aalen_johansen_{wanted}"
        theirs = np.array(reference["figures"][name])
        assert ours == pytest.approx(1 - theirs if wanted is None else theirs, abs=reference["tolerance"])
