from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from domain import batch_keys
from models.cross_fitting import CrossFit, cross_fit, split_for_early_stopping
from models.fitting import RunContext, fit_member
from tests.models.conftest import make_folds, make_items, quick_settings, small_spec

Items = list[dict[str, Any]]


def accuracy(found: CrossFit) -> float:
    return float((found.outputs.logits.argmax(axis=1) == found.outputs.targets.argmax(axis=1)).mean())


def test_out_of_fold_answers_are_far_better_than_chance(fitted: CrossFit) -> None:
    assert accuracy(fitted) >= 0.6  # chance is 0.25


def test_eight_scans_are_learnt_by_heart() -> None:
    rows = make_items(8)
    settings = quick_settings(max_epochs=120, label_smoothing=0.0, auxiliary_weight=0.0)
    member = fit_member(rows, None, small_spec(), settings)
    assert member.history[-1]["train_loss"] < 0.1


def test_permuted_labels_give_chance(items: Items) -> None:
    order = np.random.default_rng(5).permutation(len(items))
    permuted = [
        row | {batch_keys.PATTERN_TARGET: items[other][batch_keys.PATTERN_TARGET]}
        for row, other in zip(items, order, strict=True)
    ]
    found = cross_fit(permuted, make_folds(len(items)), small_spec(), quick_settings(max_epochs=6))
    assert accuracy(found) <= 0.5  # 48 guesses at 0.25: above 0.5 with a probability of 1e-4


def test_the_same_seed_gives_the_same_weights(items: Items) -> None:
    first, second = (fit_member(items[:8], None, small_spec(), quick_settings(max_epochs=2)) for _ in range(2))
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name


def test_unlabelled_scans_may_be_among_the_training_items(items: Items) -> None:
    unlabelled = items[0] | {batch_keys.PATTERN_TARGET: torch.full((4,), torch.nan)}
    settings = quick_settings(max_epochs=1, auxiliary_weight=0.0)
    member = fit_member([unlabelled] * 2, None, small_spec(), settings)
    assert member.history[0]["train_loss"] == 0


def test_a_patient_on_both_sides_of_a_fold_is_caught(items: Items) -> None:
    patients = [f"p{index // 2}" for index in range(len(items))]
    rows = np.arange(len(items))
    leaky = [(rows[rows % 2 != side], rows[rows % 2 == side]) for side in range(2)]
    with pytest.raises(ValueError, match="a leak"):
        cross_fit(items, leaky, small_spec(), quick_settings(), groups=patients)


def test_folds_that_forget_a_row_are_refused(items: Items) -> None:
    rows = np.arange(len(items))
    with pytest.raises(ValueError, match="hold out each"):
        cross_fit(items, [(rows[:24], rows[24:])], small_spec(), quick_settings())


def test_repeated_folds_make_more_members_and_average_those_that_did_not_see_a_row(items: Items) -> None:
    rows = items[:24]
    twice = [*make_folds(24), *make_folds(24, 2)]
    found = cross_fit(rows, twice, small_spec(width=4), quick_settings(max_epochs=1))
    assert len(found.members) == 5
    assert len(found.outputs.logits) == 24
    with pytest.raises(ValueError, match="equally often"):
        cross_fit(rows, twice[:-1], small_spec(width=4), quick_settings(max_epochs=1))


def test_early_stopping_watches_whole_patients_of_the_training_side_only() -> None:
    patients = [f"p{index // 3}" for index in range(30)]
    training, watched = split_for_early_stopping(np.arange(21), patients, np.ones(30, dtype=bool), seed=1)
    assert set(training) | set(watched) == set(range(21))
    assert not {patients[row] for row in training} & {patients[row] for row in watched}


def test_early_stopping_watches_labelled_scans_only_and_nothing_where_there_are_too_few() -> None:
    patients = [f"p{index // 2}" for index in range(40)]
    labelled = np.zeros(40, dtype=bool)
    labelled[[0, 9, 22, 30]] = True
    for seed in range(20):
        training, watched = split_for_early_stopping(np.arange(40), patients, labelled, seed=seed)
        assert len(watched) == 1
        assert labelled[watched].all()
        assert not {patients[row] for row in training} & {patients[row] for row in watched}
    labelled[9:] = False
    training, watched = split_for_early_stopping(np.arange(40), patients, labelled, seed=0)
    assert (len(training), len(watched)) == (40, 0)


def test_early_stopping_keeps_the_best_epoch(items: Items) -> None:
    settings = quick_settings(max_epochs=8, patience_epochs=2)
    member = fit_member(items[:16], items[16:24], small_spec(), settings)
    losses = [row["validation_loss"] for row in member.history]
    assert member.best_epoch == int(np.argmin(losses))


def test_members_speak_of_embeddings_in_shared_axes(fitted: CrossFit, items: Items) -> None:
    image = torch.stack([row[batch_keys.IMAGE] for row in items])
    quantitative = torch.stack([row[batch_keys.QUANTITATIVE] for row in items])
    with torch.no_grad():
        first, second = (
            member.network(image, quantitative)["embedding"].double().numpy() for member in fitted.members[:2]
        )
    unaligned = second @ fitted.members[1].network.alignment.rotation.double().numpy().T
    agreement = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert agreement > 0.5
    assert agreement > np.corrcoef(first.ravel(), unaligned.ravel())[0, 1] + 0.2


def test_progress_is_told_every_epoch(items: Items) -> None:
    told: list[tuple[str, int, int]] = []
    run = RunContext(progress=lambda *values: told.append(values), label="member 1 of 3")
    fit_member(items[:8], None, small_spec(), quick_settings(max_epochs=2), run)
    assert [(done, total) for _, done, total in told] == [(1, 2), (2, 2)]
    assert told[0][0].startswith("member 1 of 3: loss ")


def test_augmentation_acts_on_training_batches(items: Items) -> None:
    seen: list[int] = []

    def augment(batch: dict[str, Any]) -> dict[str, Any]:
        seen.append(len(batch[batch_keys.IMAGE]))
        return batch | {batch_keys.IMAGE: batch[batch_keys.IMAGE].flip(2)}

    fit_member(items[:8], items[8:16], small_spec(), quick_settings(max_epochs=1), RunContext(augment=augment))
    assert seen == [8]
