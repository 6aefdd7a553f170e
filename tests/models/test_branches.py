from __future__ import annotations

from typing import Any

import numpy as np
import torch

from domain import batch_keys
from domain.specs import ComponentSpec, ModelSpec
from models.auxiliary import AuxiliaryHead
from models.branch_weights import combine_branches, fit_branch_weights
from models.cross_fitting import CrossFit
from models.fitting import fit_member
from models.network import build_network
from tests.models.conftest import NUM_QUANTITIES, quick_settings, small_spec

Items = list[dict[str, Any]]


def test_a_branch_that_knows_nothing_is_silenced() -> None:
    generator = np.random.default_rng(0)
    targets = np.eye(4)[generator.integers(0, 4, 300)]
    knows = 2 * targets + generator.standard_normal((300, 4))
    guesses = 2 * generator.standard_normal((300, 4))
    weights = fit_branch_weights(np.stack([guesses, knows], axis=1), targets)
    assert weights[0] < 0.1
    assert weights[1] > 0.5
    np.testing.assert_allclose(combine_branches(np.stack([guesses, knows], axis=1), np.array([0, 1.0])), knows)


def test_one_branch_or_no_label_leaves_equal_shares() -> None:
    logits = np.random.default_rng(0).standard_normal((10, 2, 4))
    assert fit_branch_weights(logits, np.full((10, 4), np.nan)).tolist() == [0.5, 0.5]
    assert fit_branch_weights(logits[:, :1], np.eye(4)[[0] * 10]).tolist() == [1.0]


def test_an_ensemble_shares_weights_fitted_out_of_fold(fitted: CrossFit) -> None:
    outputs = fitted.outputs
    weights = [member.network.branch_weights.numpy() for member in fitted.members]
    for value in weights:
        np.testing.assert_array_equal(value, weights[0])
    np.testing.assert_allclose(outputs.logits, combine_branches(outputs.branch_logits, weights[0]), atol=1e-5)
    assert weights[0][0] > weights[0][1]  # the image shows the label, the quantities are noise


def test_what_is_not_known_is_not_learnt() -> None:
    head = AuxiliaryHead(3, torch.tensor([[1.0, torch.nan], [3.0, torch.nan]]))
    features = torch.randn(2, 3)
    nothing = head.loss(features, torch.full((2, 2), torch.nan))
    assert nothing == 0
    part = torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan]])
    assert head.loss(features, part).isfinite() > 0


def test_readers_extents_teach_the_image_branch(items: Items) -> None:
    brightness = [row | {batch_keys.AUXILIARY_TARGET: row[batch_keys.IMAGE].mean()[None] * 100} for row in items[:16]]
    settings = quick_settings(max_epochs=10, auxiliary_weight=5.0)
    member = fit_member(brightness, None, small_spec(width=4), settings)
    assert member.history[-1]["train_loss"] < member.history[0]["train_loss"]
    assert not any("auxiliary" in name for name in member.network.state_dict())


def test_mirror_averaging_makes_both_sides_equal() -> None:
    spec = ModelSpec(backbone=ComponentSpec(name="small_cnn_3d", version=1, params={"width": 4}), mirror_average=True)
    network = build_network(spec, num_channels=1, num_quantities=NUM_QUANTITIES).eval()
    image, quantitative = torch.randn(1, 1, 24, 24, 24), torch.randn(1, NUM_QUANTITIES)
    with torch.no_grad():
        one, other = (network(view, quantitative)["pattern_logits"] for view in (image, image.flip(2)))
        network.mirror_average = False
        plain = network(image, quantitative)["pattern_logits"]
    torch.testing.assert_close(one, other)
    assert not torch.allclose(one, plain, atol=1e-6)
