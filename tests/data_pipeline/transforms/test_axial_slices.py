"""Slices keep their sharpness, lie where they say, and nothing is mixed across the gaps of a sequential scan."""

from __future__ import annotations

import numpy as np
import torch

from data_pipeline.transforms.axial_slices import AxialSlices, AxialSlicesParams, slab_weights, slice_positions
from data_pipeline.transforms.resample import Resample
from domain.affine import Affine
from domain.batch_keys import ACQUISITION, IMAGE, IMAGE_AFFINE, IMAGE_MASK
from domain.volume import Acquisition


def cropped(spacing_mm: tuple[float, float, float], *, is_sequential: bool) -> dict[str, object]:
    """Slice k holds the value 10 k everywhere; lung in all but the first and last slice."""
    hu = np.broadcast_to((10 * np.arange(20)).astype(np.int16), (1, 30, 24, 20)).copy()
    mask = np.ones(hu.shape, dtype=np.uint8)
    mask[..., [0, -1]] = 0
    return {
        IMAGE: hu,
        IMAGE_MASK: mask,
        IMAGE_AFFINE: np.array(Affine.from_spacing(spacing_mm, (5.0, 6.0, 100.0)).matrix),
        ACQUISITION: Acquisition(is_sequential=is_sequential),
    }


def test_positions_spread_evenly_over_the_lung() -> None:
    shown = np.zeros(50, dtype=bool)
    shown[10:40] = True
    np.testing.assert_allclose(slice_positions(shown, 3), [14.5, 24.5, 34.5])
    assert slice_positions(np.zeros(5, dtype=bool), 5).tolist() == [0, 1, 2, 3, 4]


def test_a_slab_averages_thin_slices_and_leaves_thick_ones_alone() -> None:
    assert slab_weights(np.array([5.0]), 20, 3.0).index.tolist() == [[4, 5, 6]]
    assert slab_weights(np.array([5.0]), 20, 0.4).index.tolist() == [[5]]


def test_slices_lie_where_the_affine_says() -> None:
    data = AxialSlices(AxialSlicesParams(num_slices=6, spacing_mm=0.7, slab_mm=1.0), "cpu")(
        cropped((0.7, 0.7, 1.0), is_sequential=False)
    )
    image, affine = data[IMAGE], data[IMAGE_AFFINE]
    assert image.shape == (1, 30, 24, 6)
    z_mm = [(affine @ [0, 0, k, 1])[2] for k in range(6)]
    np.testing.assert_allclose(image[0, 3, 3].numpy(), 10 * np.round(np.array(z_mm) - 100.0 - 1e-6), atol=10)
    np.testing.assert_allclose(affine[:2, 3], [5.0, 6.0])


def test_native_pixels_are_kept_exactly() -> None:
    data = cropped((0.8, 0.8, 1.0), is_sequential=False)
    rng = np.random.default_rng(0)
    data[IMAGE] = rng.integers(-1000, 200, size=(1, 30, 24, 20)).astype(np.int16)
    slices = AxialSlices(AxialSlicesParams(num_slices=18, spacing_mm=0.8, slab_mm=1.0), "cpu")(data)[IMAGE]
    assert torch.equal(slices, torch.from_numpy(data[IMAGE][..., 1:19]))


def test_a_sequential_scan_gives_only_slices_that_were_measured() -> None:
    data = cropped((0.8, 0.8, 10.0), is_sequential=True)
    slices = AxialSlices(AxialSlicesParams(num_slices=7, spacing_mm=0.8, slab_mm=30.0), "cpu")(data)[IMAGE]
    volume = Resample((0.8, 0.8, 3.0), anti_alias=True, device="cpu")(data)[IMAGE]
    for image in (slices, volume):
        assert set(image.unique().tolist()) <= set(range(0, 200, 10))
