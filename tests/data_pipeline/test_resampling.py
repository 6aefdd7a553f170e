"""Resampling against SimpleITK, and what anti-aliasing must and must not do."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
import torch

from data_pipeline.resampling import axis_weights, output_size, resample

SPACING = (0.75, 0.75, 2.0)


def noisy_chest() -> np.ndarray:
    """HU with edges and noise: the hardest thing to interpolate alike."""
    rng = np.random.default_rng(1)
    hu = np.where(np.indices((60, 52, 24)).sum(axis=0) % 40 < 20, -850.0, 40.0)
    return (hu + 40 * rng.standard_normal(hu.shape)).astype(np.int16)


def simpleitk_linear(
    voxels: np.ndarray, spacing: tuple[float, ...], new_spacing: tuple[float, ...], new_shape: tuple[int, ...]
) -> np.ndarray:
    """SimpleITK's linear interpolation on a grid with the same centre."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)).astype(np.float32))
    image.SetSpacing(spacing)
    half = (np.array(voxels.shape) - 1) / 2 * spacing - (np.array(new_shape) - 1) / 2 * new_spacing
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetSize([int(size) for size in new_shape])
    resampler.SetOutputSpacing(new_spacing)
    resampler.SetOutputOrigin(half.tolist())
    resampler.SetInterpolator(SimpleITK.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)
    return SimpleITK.GetArrayFromImage(resampler.Execute(image)).transpose(2, 1, 0)


@pytest.mark.parametrize("new_spacing", [(1.5, 1.5, 1.5), (0.5, 0.6, 0.7), (3.1, 1.0, 2.0), (0.75, 0.75, 2.0)])
def test_linear_values_are_within_one_hu_of_simpleitk(new_spacing: tuple[float, float, float]) -> None:
    voxels = noisy_chest()
    ours = resample(torch.from_numpy(voxels), SPACING, new_spacing, anti_alias=False).numpy()
    theirs = simpleitk_linear(voxels, SPACING, new_spacing, ours.shape)
    inner = tuple(slice(2, -2) for _ in range(3))  # beyond the outermost samples the two extrapolate differently
    assert np.abs(ours - theirs)[inner].max() < 1.0


def test_anti_aliased_values_are_within_one_hu_of_filtering_and_sampling_with_simpleitk() -> None:
    voxels = noisy_chest()[:59, :51, :23]  # odd sizes: with ratio 2 every sample sits on a source voxel
    new_spacing = (1.5, 1.5, 4.0)
    ours = resample(torch.from_numpy(voxels), SPACING, new_spacing).numpy()
    triangle = np.array([0.25, 0.5, 0.25])
    kernel = np.einsum("i,j,k->ijk", triangle, triangle, triangle)
    image = SimpleITK.GetImageFromArray(voxels.transpose(2, 1, 0).astype(np.float32))
    smooth = SimpleITK.GetArrayFromImage(
        SimpleITK.Convolution(image, SimpleITK.GetImageFromArray(kernel.astype(np.float32)))
    )
    theirs = simpleitk_linear(smooth.transpose(2, 1, 0), SPACING, new_spacing, ours.shape)
    inner = tuple(slice(2, -2) for _ in range(3))
    assert np.abs(ours - theirs)[inner].max() < 1.0


def test_detail_finer_than_the_new_grid_does_not_fold_back() -> None:
    stripes = torch.from_numpy((1000 * (np.arange(120) % 2)).astype(np.float32))[:, None, None].expand(120, 4, 4)
    aliased = resample(stripes, (1.0, 1.0, 1.0), (2.1, 1.0, 1.0), anti_alias=False)
    clean = resample(stripes, (1.0, 1.0, 1.0), (2.1, 1.0, 1.0), anti_alias=True)
    assert aliased.std() > 200
    assert clean[2:-2].std() < 60


def test_a_constant_stays_and_the_mean_is_kept() -> None:
    constant = torch.full((20, 21, 22), -850, dtype=torch.int16)
    assert torch.allclose(resample(constant, SPACING, (2.0, 1.1, 3.0)), torch.tensor(-850.0))
    noise = torch.from_numpy(noisy_chest())
    assert abs(resample(noise, SPACING, (1.5, 1.5, 4.0)).mean() - noise.float().mean()) < 5


def test_same_spacing_changes_nothing() -> None:
    voxels = noisy_chest()
    assert np.array_equal(resample(torch.from_numpy(voxels), SPACING, SPACING).numpy(), voxels.astype(np.float32))


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0, 7.3])
def test_weights_of_each_sample_add_up_to_one(ratio: float) -> None:
    size = 40
    new_size = output_size(size, 1.0, ratio)
    weights = axis_weights(np.linspace(-1.0, size, new_size), size, ratio, anti_alias=True)
    np.testing.assert_allclose(weights.weight.sum(axis=1), 1.0, rtol=1e-6)
    assert weights.index.min() >= 0
    assert weights.index.max() < size
