"""Morphology on bits against SciPy's, and the distance that stops at a limit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from data_pipeline.lungs.morphology import Shape, closed, dilated, eroded, opened, opened_square, propagated
from data_pipeline.quantitative.zones import depth_mm

STRUCTURES: dict[Shape, np.ndarray] = {
    "cross": ndimage.generate_binary_structure(3, 1),
    "box": np.ones((3, 3, 3), dtype=bool),
    "plane": np.ones((3, 3, 1), dtype=bool),
}


@pytest.mark.parametrize("share", [0.05, 0.5, 0.93])
@pytest.mark.parametrize("size", [(13, 11, 9), (6, 5, 64), (5, 6, 131), (4, 1, 3)])
@pytest.mark.parametrize("shape", STRUCTURES)
def test_every_operation_equals_scipy(shape: Shape, size: tuple[int, int, int], share: float) -> None:
    rng = np.random.default_rng(1)
    mask, within, structure = rng.random(size) < share, rng.random(size) < 0.6, STRUCTURES[shape]
    for steps in (1, 3):
        assert np.array_equal(dilated(mask, steps, shape=shape), ndimage.binary_dilation(mask, structure, steps))
        grown = ndimage.binary_dilation(mask, structure, steps, mask=within | mask)
        assert np.array_equal(dilated(mask, steps, shape=shape, within=within), grown)
        for outside in (False, True):
            shrunk = ndimage.binary_erosion(mask, structure, steps, border_value=outside)
            assert np.array_equal(eroded(mask, steps, shape=shape, outside=outside), shrunk)
        assert np.array_equal(opened(mask, steps, shape=shape), ndimage.binary_opening(mask, structure, steps))
    if shape == "cross":
        inner = (slice(2, -2),) * 3
        assert np.array_equal(closed(mask, 2), ndimage.binary_closing(np.pad(mask, 2), structure, 2)[inner])
        assert np.array_equal(propagated(mask, within), ndimage.binary_propagation(mask & within, mask=within))


def test_an_opening_by_a_rectangle_keeps_what_holds_it() -> None:
    mask = np.zeros((12, 12, 3), dtype=bool)
    mask[3:7, 2:8, 1] = True
    mask[9, 2:11, 1] = True
    opening = opened_square(mask, (4, 3))
    assert opening[3:7, 2:8, 1].all()
    assert opening.sum() == 24


def test_depth_equals_the_euclidean_distance_up_to_its_limit() -> None:
    inside = ndimage.binary_opening(np.random.default_rng(2).random((20, 18, 16)) < 0.97, iterations=1)
    spacing, limit = (3.0, 2.5, 4.0), 11.0
    exact = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    depth = depth_mm(inside, spacing, limit)
    assert np.allclose(depth[exact <= limit], exact[exact <= limit], atol=1e-4)
    assert (depth[exact > limit] > limit).all()
