"""Tissue maps: what quantitative CT found, on the network's grid, at its place and in its amount."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from data_pipeline.quantitative import CLASSES, TissueMap
from data_pipeline.transforms.tissue_maps import TissueMaps, TissueMapsParams, overlaps
from data_pipeline.transforms.window import Window, WindowParams
from domain.batch_keys import AFFINE, IMAGE, IMAGE_AFFINE, IMAGE_MASK, IMAGE_TISSUE, TISSUE


def graph_data(bits: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Bins of 2 x 2 x 1 voxels of 0.8 x 0.8 x 1.5 mm, from voxel (10, 20, 3) on; a grid of 6 mm that holds them all."""
    source = np.diag([0.8, 0.8, 1.5, 1.0])
    source[:3, 3] = (-90.0, -70.0, 30.0)
    grid = np.diag([6.0, 6.0, 6.0, 1.0])
    grid[:3, 3] = (-83.0, -55.0, 33.0)
    return {
        AFFINE: source,
        IMAGE_AFFINE: grid,
        IMAGE: torch.full((1, 12, 10, 8), -800, dtype=torch.int16),
        TISSUE: TissueMap(bits, (10, 20, 3), (2, 2, 1)),
    }


def bits_of(name: str) -> int:
    return 1 << CLASSES.index(name)


def test_amounts_are_kept() -> None:
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 1 << len(CLASSES), (30, 25, 20)).astype(np.uint8)
    names = ("ggo", "consolidation")
    maps = TissueMaps(names)(graph_data(bits))[IMAGE_TISSUE]
    assert maps.shape == (2, 12, 10, 8)
    for name, one in zip(names, maps, strict=True):
        planted_ml = np.count_nonzero(bits & bits_of(name)) * 1.6 * 1.6 * 1.5 / 1000
        found_ml = float(one.double().sum()) / 100 * 6.0**3 / 1000
        assert found_ml == pytest.approx(planted_ml, rel=0.01)  # whole percent


def test_a_finding_stays_at_its_place() -> None:
    bits = np.zeros((30, 25, 20), dtype=np.uint8)
    bits[24, 3, 14] = bits_of("reticulation")
    data = graph_data(bits)
    maps = TissueMaps(("reticulation",))(data)[IMAGE_TISSUE][0].double().numpy()
    # centre of that bin: voxels 58.5, 26.5, 17
    wanted_mm = (data[AFFINE] @ [58.5, 26.5, 17.0, 1.0])[:3]
    cells = np.stack(np.meshgrid(*map(np.arange, maps.shape), indexing="ij"), axis=-1)
    mean_cell = (cells * maps[..., None]).sum(axis=(0, 1, 2)) / maps.sum()
    found_mm = (data[IMAGE_AFFINE] @ [*mean_cell, 1.0])[:3]
    np.testing.assert_allclose(found_mm, wanted_mm, atol=3.0)  # half a cell


def test_overlaps_are_shares_of_a_cell() -> None:
    np.testing.assert_allclose(overlaps(2, 0.5, 2.0, 10)[:, :5], [[0.25, 0.5, 0.25, 0, 0], [0, 0, 0.25, 0.5, 0.25]])
    np.testing.assert_allclose(overlaps(3, -1.0, 0.5, 4).sum(axis=1), [0, 0, 1])  # what lies before the bins is empty
    np.testing.assert_allclose(overlaps(1, 3.0, 4.0, 4).sum(axis=1), [0.25])


def test_channels_follow_windows_and_mask() -> None:
    data = TissueMaps(("ggo", "consolidation"))(graph_data(np.full((30, 25, 20), bits_of("ggo"), dtype=np.uint8)))
    data[IMAGE_MASK] = torch.ones((1, 12, 10, 8), dtype=torch.uint8)
    params = WindowParams(windows_hu=((-1000, -600),), mask_channel=True, tissue_channels=True)
    image = Window(params)(data)[IMAGE]
    assert image.shape == (4, 12, 10, 8)
    torch.testing.assert_close(image[0], torch.full((12, 10, 8), 0.5))
    assert (image[1] == 1).all()
    torch.testing.assert_close(image[2], data[IMAGE_TISSUE][0] / 100)
    assert image[2].max() == 1
    assert not image[3].any()
    batch = {key: torch.stack([data[key], data[key]]) for key in (IMAGE, IMAGE_MASK, IMAGE_TISSUE)}
    torch.testing.assert_close(Window(params)(batch)[IMAGE][1], image)


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="no class of quantitative CT is called crazy_paving"):
        TissueMapsParams(classes=("crazy_paving",))
