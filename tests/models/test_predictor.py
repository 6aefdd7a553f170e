from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from domain import batch_keys
from domain.patterns import PATTERNS
from models.abstention import Abstention
from models.belief import Belief, fit_belief
from models.cross_fitting import CrossFit
from models.predictor import Predictor
from tests.models.conftest import make_folds

Items = list[dict[str, Any]]


@pytest.fixture(scope="module")
def belief(fitted: CrossFit) -> Belief:
    return fit_belief(fitted.outputs, [held_out for _, held_out in make_folds(48)])


@pytest.fixture(scope="module")
def predictor(fitted: CrossFit, belief: Belief) -> Predictor:
    return Predictor([member.network for member in fitted.members], belief, torch.device("cpu"))


def test_scans_like_the_cohort_are_answered_and_noise_is_not(predictor: Predictor, items: Items) -> None:
    answered = [predictor.predict(item).prediction for item in items]
    assert np.mean([prediction.ood_score <= prediction.ood_threshold for prediction in answered]) >= 0.9
    noise = items[0] | {batch_keys.IMAGE: torch.rand_like(items[0][batch_keys.IMAGE])}
    prediction = predictor.predict(noise).prediction
    assert prediction.abstained
    assert prediction.pattern is None
    assert "unlike the training scans" in prediction.reason


def test_a_scan_it_is_unsure_of_gets_the_reason(fitted: CrossFit, belief: Belief, items: Items) -> None:
    unsure = Belief(belief.calibrator, belief.conformal, Abstention(1.1, 0.8, ()), belief.out_of_distribution)
    predictor = Predictor([fitted.members[0].network], unsure, torch.device("cpu"))
    prediction = predictor.predict(items[0]).prediction
    assert prediction.pattern is None
    assert "below the limit" in prediction.reason


def test_the_answer_is_the_most_probable_pattern_and_is_in_no_way_rounded(predictor: Predictor, items: Items) -> None:
    examination = predictor.predict(items[1])
    assert sum(examination.prediction.probabilities.values()) == pytest.approx(1, abs=1e-9)
    best = PATTERNS[int(examination.probabilities.argmax())]
    assert examination.prediction.pattern in {best, None}
    assert examination.embedding.shape == (32,)


def test_wrong_shapes_are_refused_with_both_shapes(predictor: Predictor, items: Items) -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 24, 24, 24\)"):
        predictor.predict(items[0] | {batch_keys.IMAGE: items[0][batch_keys.IMAGE][None]})


def test_an_ensemble_needs_members(belief: Belief) -> None:
    with pytest.raises(ValueError, match="at least one member"):
        Predictor([], belief, torch.device("cpu"))
