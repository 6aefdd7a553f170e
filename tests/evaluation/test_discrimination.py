from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from evaluation import discrimination
from evaluation.intervals import bootstrap_counts


def hard_case(num_cases: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 4, num_cases)
    scores = generator.random((num_cases, 4)).round(1) + 0.4 * np.eye(4)[label]  # rounded: ties on purpose
    return scores / scores.sum(axis=1, keepdims=True), np.eye(4)[label], label


def test_auc_agrees_with_scikit_learn_with_ties_and_with_weights() -> None:
    probabilities, labels, label = hard_case()
    counts = bootstrap_counts([str(i) for i in range(150)], 5, seed=0)
    ours = discrimination.one_vs_rest_auc(probabilities, labels, counts)
    for row in range(6):
        for k in range(4):
            expected = reference.roc_auc_score(label == k, probabilities[:, k], sample_weight=counts[row])
            assert ours[row, k] == pytest.approx(expected, abs=1e-12)


def test_confusion_figures_agree_with_scikit_learn() -> None:
    probabilities, labels, label = hard_case(seed=1)
    answer = probabilities.argmax(axis=1)
    confusion = discrimination.soft_confusion(labels, answer, np.ones((1, 150)))
    assert confusion[0].tolist() == reference.confusion_matrix(label, answer).tolist()
    assert discrimination.accuracy(confusion)[0] == pytest.approx(reference.accuracy_score(label, answer))
    assert discrimination.cohen_kappa(confusion)[0] == pytest.approx(reference.cohen_kappa_score(label, answer))
    macro = discrimination.macro_average(discrimination.f1_scores(confusion))[0]
    assert macro == pytest.approx(reference.f1_score(label, answer, average="macro"))
    balanced = discrimination.balanced_accuracy(confusion)[0]
    assert balanced == pytest.approx(reference.balanced_accuracy_score(label, answer))


def test_soft_labels_give_the_expectation_over_readers_drawn_at_random() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), size=12)
    readers = generator.integers(0, 4, (12, 2))
    labels = (np.eye(4)[readers[:, 0]] + np.eye(4)[readers[:, 1]]) / 2
    ordered, pairs = 0.0, 0.0
    for i in range(12):
        for j in range(12):
            if i != j:
                weight = labels[i, 0] * (1 - labels[j, 0])
                gap = probabilities[i, 0] - probabilities[j, 0]
                ordered, pairs = ordered + weight * ((gap > 0) + 0.5 * (gap == 0)), pairs + weight
    ours = discrimination.one_vs_rest_auc(probabilities, labels, np.ones((1, 12)))[0, 0]
    assert ours == pytest.approx(ordered / pairs)


def test_a_duplicated_case_is_never_compared_with_itself() -> None:
    probabilities, labels = np.array([[0.3, 0.7], [0.8, 0.2]]), np.array([[0.5, 0.5], [1.0, 0.0]])
    once = discrimination.one_vs_rest_auc(probabilities, labels, np.array([[1.0, 1.0]]))
    thrice = discrimination.one_vs_rest_auc(probabilities, labels, np.array([[3.0, 1.0]]))
    assert once[0, 0] == pytest.approx(1.0)
    assert thrice[0, 0] == pytest.approx(1.0)


def test_one_class_only_has_no_auc_and_does_not_raise() -> None:
    probabilities = np.full((5, 4), 0.25)
    labels = np.tile([1.0, 0, 0, 0], (5, 1))
    aucs = discrimination.one_vs_rest_auc(probabilities, labels, np.ones((2, 5)))
    assert np.isnan(aucs).all()
    assert np.isnan(discrimination.macro_average(aucs)).all()


def test_strata_pool_pairs_and_not_scores() -> None:
    label = np.array([1.0, 0.0, 1.0, 0.0])
    scores = np.array([0.9, 0.8, 0.3, 0.2])  # right within each stratum, one wrong pair across
    strata = np.array([0, 0, 1, 1])
    counts = np.ones((1, 4))
    within = discrimination.pair_sums(scores, counts * label, counts * (1 - label), strata)
    across = discrimination.pair_sums(scores, counts * label, counts * (1 - label))
    assert within[0][0] / within[1][0] == 1.0
    assert across[0][0] / across[1][0] == 0.75


def test_permuted_labels_give_chance() -> None:
    generator = np.random.default_rng(0)
    probabilities, labels, _ = hard_case(2000)
    shuffled = labels[generator.permutation(2000)]
    aucs = discrimination.one_vs_rest_auc(probabilities, shuffled, np.ones((1, 2000)))
    assert np.abs(aucs - 0.5).max() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(0, 10_000))
def test_auc_is_a_share_turns_with_the_score_and_ignores_monotone_changes(num_cases: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores, label = generator.normal(size=num_cases).round(1), generator.random(num_cases).round()
    counts = np.ones((1, num_cases))

    def auc(values: np.ndarray) -> float:
        return float(discrimination.one_vs_rest_auc(values[:, None], label[:, None], counts)[0, 0])

    value = auc(scores)
    if np.isnan(value):
        assert label.min() == label.max()
        return
    assert 0 <= value <= 1
    assert auc(-scores) == pytest.approx(1 - value)
    assert auc(np.exp(scores)) == pytest.approx(value)


def test_readers_who_agree_no_more_than_chance_have_kappa_near_zero() -> None:
    generator = np.random.default_rng(0)
    random_votes = generator.integers(0, 4, (800, 2)).tolist()
    _, kappa, read_twice = discrimination.reader_agreement(random_votes, 4)
    assert read_twice == 800
    assert abs(kappa) < 0.06
    same = [[vote, vote] for vote in (0, 1, 2, 3)]
    assert discrimination.reader_agreement(same, 4)[:2] == (1.0, 1.0)
    assert np.isnan(discrimination.reader_agreement([[1], [2]], 4)[1])


def test_chance_names_one_pattern_in_every_resample() -> None:
    labels = np.eye(4)[np.repeat([0, 1, 2, 3], [26, 25, 25, 24])]
    shares = discrimination.majority_share(labels, bootstrap_counts([str(i) for i in range(100)], 2000, 0))
    assert shares[0] == 0.26
    assert shares.mean() == pytest.approx(0.26, abs=0.005)  # the largest share of each resample would be near 0.30
