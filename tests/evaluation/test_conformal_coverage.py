from __future__ import annotations

import numpy as np
import pytest

from evaluation import conformal_coverage

LABELS = np.eye(4)[[0, 1, 2, 3, 0]]
SETS = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=bool)


def test_coverage_size_and_single_answers_are_counted() -> None:
    counts = np.ones((1, 5))
    assert conformal_coverage.set_coverage(SETS, LABELS, counts)[0] == pytest.approx(3 / 5)
    assert conformal_coverage.mean_set_size(SETS, counts)[0] == pytest.approx(8 / 5)
    assert conformal_coverage.single_answer_share(SETS, counts)[0] == pytest.approx(2 / 5)


def test_coverage_by_pattern_is_class_conditional() -> None:
    by_pattern = conformal_coverage.set_coverage_by_pattern(SETS, LABELS, np.ones((1, 5)))[0]
    assert by_pattern.tolist() == [0.5, 1.0, 1.0, 0.0]


def test_a_split_vote_counts_by_its_share() -> None:
    labels = np.array([[0.75, 0.25, 0, 0]])
    sets = np.array([[True, False, False, False]])
    assert conformal_coverage.set_coverage(sets, labels, np.ones((1, 1)))[0] == pytest.approx(0.75)


def test_answering_everything_gives_plain_accuracy_and_confidence_helps_when_it_knows() -> None:
    confidence = np.linspace(0.1, 1, 100)
    correct = (np.arange(100) >= 40).astype(float)  # wrong exactly where unsure
    values = conformal_coverage.coverage_accuracy(confidence, correct, np.ones((1, 100)), np.array([0.3, 0.6, 1.0]))[0]
    assert values.tolist() == [1.0, 1.0, pytest.approx(0.6)]
