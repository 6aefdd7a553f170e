from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from domain import batch_keys
from models.calibrator import Calibrator
from models.cross_fitting import CrossFit
from models.ensemble import Ensemble
from models.evidence import INSIDE_LUNGS, ZONES, gradient_evidence, to_grid, to_image_grid, zone_shares
from models.network import build_network
from tests.models.conftest import NUM_QUANTITIES, small_spec

Items = list[dict[str, Any]]


def test_evidence_for_op_lies_on_the_block_that_makes_it_op(fitted: CrossFit, items: Items) -> None:
    shares, sizes = [], []
    for item in items[1:33:4]:  # the OP rows
        image = item[batch_keys.IMAGE][None]
        found = gradient_evidence(fitted.members[0].network, image, item[batch_keys.QUANTITATIVE][None], 1)
        assert found is not None
        inside = image[0, 0] > 0.5
        inside = torch.nn.functional.max_pool3d(inside[None].float(), 9, stride=1, padding=4)[0] > 0
        shares.append(float((found * inside).sum() / found.sum().clamp_min(1e-9)))
        sizes.append(float(inside.float().mean()))
    assert np.mean(shares) > np.mean(sizes) + 0.15


def test_a_network_without_eyes_has_no_map() -> None:
    network = build_network(small_spec("quantitative_only"), 1, NUM_QUANTITIES).eval()
    assert gradient_evidence(network, torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, NUM_QUANTITIES), 0) is None


def test_zones_follow_the_patients_sides_and_add_up() -> None:
    mask = np.zeros((12, 6, 9), dtype=bool)
    mask[1:5], mask[7:11] = True, True
    evidence = np.zeros(mask.shape)
    evidence[8, 3, 7] = 3.0  # i grows to the right, k upward
    evidence[2, 3, 1] = 1.0
    shares = zone_shares(evidence, mask)
    assert shares["right_upper"] == pytest.approx(0.75)
    assert shares["left_lower"] == pytest.approx(0.25)
    assert sum(shares[zone] for zone in ZONES) == pytest.approx(1)
    assert shares[INSIDE_LUNGS] == pytest.approx(1)
    evidence[0, 0, 0] = 4.0  # outside
    assert zone_shares(evidence, mask)[INSIDE_LUNGS] == pytest.approx(0.5)
    assert zone_shares(evidence, mask)["right_upper"] == pytest.approx(0.75)
    assert zone_shares(np.zeros(mask.shape), mask) == {}


def test_a_map_lands_where_it_belongs_on_another_grid() -> None:
    evidence = np.zeros((10, 8, 6), dtype=np.float32)
    evidence[7, 2, 4] = 1
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    affine[:3, 3] = (-30, 5, 100)
    target = np.array([[-2.0, 0, 0, 40], [0, -2.0, 0, 60], [0, 0, 3.0, 95], [0, 0, 0, 1]])  # an LPS grid
    found = to_grid(evidence, affine, target, (45, 35, 20))
    place = np.unravel_index(found.argmax(), found.shape)
    position = target @ np.array([*place, 1.0])
    np.testing.assert_allclose(position[:3], (affine @ np.array([7, 2, 4, 1.0]))[:3], atol=2.0)


def test_resampling_to_the_same_grid_changes_nothing() -> None:
    evidence = np.random.default_rng(0).random((7, 5, 9)).astype(np.float32)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    np.testing.assert_allclose(to_grid(evidence, affine, affine, evidence.shape), evidence, atol=1e-5)


def test_a_cell_is_drawn_around_its_centre_and_a_scan_of_odd_size_too() -> None:
    cells = torch.zeros(1, 5, 4, 3)
    cells[0, 2, 1, 1] = 1.0
    grid = to_image_grid(cells, (33, 30, 20), (8, 8, 8), (0.0, 3.5, 7.0))[0]
    centre = [
        float((grid.sum(dim=[a for a in range(3) if a != axis]) * torch.arange(grid.shape[axis])).sum() / grid.sum())
        for axis in range(3)
    ]
    assert centre == pytest.approx([16.0, 11.5, 15.0], abs=0.6)
    assert grid[16, 11, 15] > 0.9


def test_a_mirrored_answer_is_the_same_in_use_as_in_training_and_its_map_lies_on_the_right_side() -> None:
    torch.manual_seed(0)
    spec = small_spec().model_copy(update={"mirror_average": True})
    network = build_network(spec, 1, NUM_QUANTITIES).eval()
    image, quantity = torch.rand(1, 24, 16, 16), torch.rand(NUM_QUANTITIES)
    with torch.no_grad():
        expected = network(image[None], quantity[None])["pattern_logits"][0]
    ensemble = Ensemble([network], Calibrator(1.0, np.zeros(4)), torch.device("cpu"))
    one, mirrored = (ensemble.run([view], [quantity])[0] for view in (image, image.flip(1)))
    np.testing.assert_allclose(one.logits[0], expected.numpy(), rtol=1e-5)
    np.testing.assert_allclose(mirrored.logits, one.logits, rtol=1e-5)
    assert one.evidence is not None
    assert mirrored.evidence is not None
    stride = network.backbone.cell_stride[0]  # cells of a mirror image lie up to a cell aside
    assert (
        np.corrcoef(one.evidence.sum((1, 2))[stride:-stride], mirrored.evidence[::-1].sum((1, 2))[stride:-stride])[0, 1]
        > 0.9
    )
