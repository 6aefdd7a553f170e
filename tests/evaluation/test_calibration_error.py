from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from evaluation import calibration_error


def test_brier_and_log_loss_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    probabilities, label = generator.dirichlet(np.ones(4), size=80), generator.integers(0, 4, 80)
    labels, counts = np.eye(4)[label], np.ones((1, 80))
    squares = ((probabilities - labels) ** 2).sum(axis=1).mean()
    assert calibration_error.brier_score(probabilities, labels, counts)[0] == pytest.approx(squares)
    expected = reference.log_loss(label, probabilities, labels=[0, 1, 2, 3])
    assert calibration_error.log_loss(probabilities, labels, counts)[0] == pytest.approx(expected)


def test_brier_of_vote_shares_is_the_mean_over_readers() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1, 0.0]])
    readers = [0, 0, 1]
    each = [((probabilities[0] - np.eye(4)[reader]) ** 2).sum() for reader in readers]
    labels = np.eye(4)[readers].mean(axis=0, keepdims=True)
    assert calibration_error.brier_score(probabilities, labels, np.ones((1, 1)))[0] == pytest.approx(np.mean(each))


def test_a_right_model_shows_the_error_expected_of_its_size_and_a_wrong_one_more() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.3, 1, 400)
    right = (generator.random(400) < confidence).astype(float)
    wrong = (generator.random(400) < confidence - 0.2).astype(float)
    counts = np.ones((1, 400))
    expected = calibration_error.calibration_error_if_perfect(confidence, 200, seed=0)
    assert 0.01 < expected < 0.08
    assert calibration_error.expected_calibration_error(confidence, right, counts)[0] < 2 * expected
    assert calibration_error.expected_calibration_error(confidence, wrong, counts)[0] > 0.15


def test_bins_are_about_equally_full_and_equal_values_share_one() -> None:
    bins = calibration_error.equal_count_bins(np.r_[np.zeros(50), np.linspace(0.5, 1, 50)])
    assert len(set(bins[:50])) == 1
    assert np.bincount(bins).max() <= 60
    assert set(calibration_error.equal_count_bins(np.linspace(0, 1, 7))) == {0}  # too few for two bins


def test_reliability_of_a_constant_prediction_is_one_point_at_the_base_rate() -> None:
    label = np.r_[np.ones(30), np.zeros(70)]
    table = calibration_error.reliability_table(np.full(100, 0.4), label, np.ones((1, 100)))
    assert len(table) == 1
    predicted, observed, n = table[0]
    assert (predicted, observed[0], n) == (pytest.approx(0.4), pytest.approx(0.3), 100)
