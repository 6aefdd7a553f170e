from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from domain.patterns import Pattern
from models.abstention import Abstention, coverage_accuracy_curve, fit_abstention
from models.belief import Belief, fit_belief
from models.calibrator import Calibrator, fit_calibrator
from models.conformal import ConformalSets, fit_conformal
from models.cross_fitting import CrossFit
from models.out_of_distribution import OutOfDistribution, fit_out_of_distribution
from tests.models.conftest import make_folds


def cohort(num_rows: int, *, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the truth, times a sharpness that makes them too sure; labels drawn from the truth."""
    generator = np.random.default_rng(seed)
    logits = 1.5 * generator.standard_normal((num_rows, 4))
    labels = [generator.choice(4, p=row) for row in softmax(logits, axis=1)]
    return sharpness * logits, np.eye(4)[labels]


def cross_entropy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    return float(-(targets * np.log(probabilities)).sum(axis=1).mean())


def test_the_temperature_that_made_logits_too_sure_is_found() -> None:
    logits, targets = cohort(2000, seed=1, sharpness=3.0)
    calibrator = fit_calibrator(logits, targets)
    assert calibrator.temperature == pytest.approx(3.0, rel=0.12)
    assert np.abs(calibrator.bias).max() < 0.15
    fresh, fresh_targets = cohort(2000, seed=2, sharpness=3.0)
    assert cross_entropy(calibrator.probabilities(fresh), fresh_targets) < cross_entropy(
        softmax(fresh, axis=1), fresh_targets
    )


def test_unlabelled_rows_do_not_move_the_calibration() -> None:
    logits, targets = cohort(200, seed=3)
    more = np.vstack([logits, 50 * np.ones((5, 4))])
    with_gaps = np.vstack([targets, np.full((5, 4), np.nan)])
    assert fit_calibrator(more, with_gaps) == fit_calibrator(logits, targets)
    assert fit_calibrator(logits[:2], np.full((2, 4), np.nan)) == Calibrator()


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_sets_cover_each_class_as_often_as_promised(level: float) -> None:
    coverage = []
    for seed in range(40):
        logits, targets = cohort(400, seed=seed)
        probabilities = softmax(logits, axis=1)
        sets = fit_conformal(probabilities[:200], targets[:200], level=level)
        inside = sets.membership(probabilities[200:])
        held = targets[200:].astype(bool)
        coverage.append([inside[held[:, k], k].mean() for k in range(4)])
    assert np.mean(coverage, axis=0) == pytest.approx(level, abs=0.03)


def test_a_class_with_too_few_scans_is_always_in_the_set() -> None:
    targets = np.eye(4)[[0] * 20 + [1] * 5]
    probabilities = softmax(np.random.default_rng(0).standard_normal((25, 4)), axis=1)
    sets = fit_conformal(probabilities, targets, level=0.9)
    assert sets.thresholds[0] > 0
    assert sets.thresholds[1] == 0
    assert Pattern.OP in sets.pattern_set(np.array([1.0, 0.0, 0.0, 0.0]))


def test_accuracy_rises_as_unsure_scans_are_left_out() -> None:
    logits, targets = cohort(1000, seed=5)
    curve = coverage_accuracy_curve(softmax(logits, axis=1), targets)
    assert curve[0][1] == 1.0
    assert curve[len(curve) // 2][2] > curve[0][2] + 0.1
    rule = fit_abstention(softmax(logits, axis=1), targets, target_accuracy=0.7, min_coverage=0.3)
    assert rule.min_confidence > 0
    assert next(point for point in rule.curve if point[0] == rule.min_confidence)[2] >= 0.7


def test_a_target_out_of_reach_still_answers_most_scans() -> None:
    logits, targets = cohort(500, seed=6)
    probabilities = softmax(logits, axis=1)
    rule = fit_abstention(probabilities, targets, target_accuracy=1.0, min_coverage=0.7)
    assert (probabilities.max(axis=1) >= rule.min_confidence).mean() >= 0.69


def test_scans_from_elsewhere_score_above_the_limit_and_cohort_like_ones_below() -> None:
    generator = np.random.default_rng(0)

    def draw(num_rows: int, shift: float) -> tuple[np.ndarray, ...]:
        quantitative = generator.standard_normal((num_rows, 5)) + shift
        quantitative[:, 4] = np.nan
        return (
            generator.standard_normal((num_rows, 8)) + shift,
            quantitative,
            generator.standard_normal((num_rows, 3)),
        )

    cohort_blocks = draw(150, 0.0)
    held_out = np.array_split(np.arange(150), 3)
    fitted = fit_out_of_distribution(*cohort_blocks, held_out=held_out)
    assert (fitted.score(*draw(200, 0.0)) <= fitted.threshold).mean() >= 0.88
    assert (fitted.score(*draw(50, 5.0)) > fitted.threshold).all()


def test_everything_survives_json(fitted: CrossFit) -> None:
    belief = fit_belief(fitted.outputs, [held_out for _, held_out in make_folds(48)])
    again = Belief.from_dict(json.loads(json.dumps(belief.to_dict(), allow_nan=False)))
    assert again.calibrator == belief.calibrator
    assert again.conformal == belief.conformal
    assert again.abstention == belief.abstention
    blocks = (fitted.outputs.embedding, fitted.outputs.quantitative, fitted.outputs.image_statistics)
    np.testing.assert_allclose(
        again.out_of_distribution.score(*blocks), belief.out_of_distribution.score(*blocks), rtol=1e-12
    )


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="isotonic"):
        Calibrator.from_dict({"method": "isotonic"})
    with pytest.raises(ValueError, match="unknown out-of-distribution"):
        OutOfDistribution.from_dict({"method": "energy"})


def test_rules_read_back_as_written() -> None:
    rule = Abstention(0.4, 0.8, ((0.2, 1.0, 0.6), (0.4, 0.8, 0.8)))
    assert Abstention.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule
    sets = ConformalSets(0.9, (0.1, 0.2, 0.0, 0.3), (10.0, 12.0, 3.0, 11.0))
    assert ConformalSets.from_dict(json.loads(json.dumps(sets.to_dict()))) == sets


def test_calibrated_probabilities_add_up_to_one(fitted: CrossFit) -> None:
    belief = fit_belief(fitted.outputs, [held_out for _, held_out in make_folds(48)])
    probabilities = belief.calibrated(fitted.outputs)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    raw = -(fitted.outputs.targets * log_softmax(fitted.outputs.logits, axis=1)).sum(axis=1).mean()
    assert cross_entropy(probabilities, fitted.outputs.targets) <= raw + 1e-6
