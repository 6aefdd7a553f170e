"""Lungs in chests with something wrong: fluid, free gas, a table, a hole in the mask; each planted and looked for."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from synthetic_chests import chest, dice

from data_pipeline.lungs import find_lungs
from data_pipeline.lungs.coarse_grid import BoolArray, block_mean, coarse_grid
from data_pipeline.lungs.lung_mask import judged
from data_pipeline.lungs.mask_faults import free_gas
from data_pipeline.quantitative import quantify
from domain.findings import QualityCode


def codes_of(labels: NDArray[np.uint8], hu: NDArray[np.int16]) -> set[QualityCode]:
    """What the checks say of a mask on the native grid; the grid of these chests is coarse already."""
    spacing = chest("normal").spacing_mm
    grid = coarse_grid(hu, spacing)
    return {finding.code for finding in judged(labels, spacing, labels, grid, hu.shape[0] / 2).findings}


def shell(mask: BoolArray, voxels: int) -> BoolArray:
    """The outermost voxels of a mask towards the front."""
    depth = np.cumsum(mask[:, ::-1], axis=1)[:, ::-1]
    return mask & (depth <= voxels)


def test_a_pneumothorax_is_no_lung() -> None:
    truth = chest("normal")
    hu = truth.hu.copy()
    gas = shell(truth.lungs == 1, 7)
    hu[gas] = -1000
    labels = find_lungs(hu, truth.spacing_mm).labels
    assert (labels[ndimage.binary_erosion(gas)] > 0).mean() < 0.1
    assert (labels[(truth.lungs > 0) & ~gas] > 0).mean() > 0.93


def test_fluid_behind_the_lung_leaves_the_aerated_lung_and_the_other_side() -> None:
    truth = chest("normal")
    hu = truth.hu.copy()
    fluid = (truth.lungs == 1) & ~shell(truth.lungs == 1, 25)
    hu[fluid] = 10
    mask = find_lungs(hu, truth.spacing_mm)
    assert (mask.labels[(truth.lungs > 0) & ~fluid] > 0).mean() > 0.95
    assert (mask.labels[truth.lungs == 2] == 2).mean() > 0.95


def test_trachea_and_table_are_no_lung() -> None:
    truth = chest("normal")
    labels = find_lungs(truth.hu, truth.spacing_mm).labels
    highest, middle = np.argwhere(truth.lungs)[:, 2].max(), truth.hu.shape[0] // 2
    windpipe = np.zeros_like(truth.lungs, dtype=bool)
    windpipe[middle - 4 : middle + 4, 20:-20, highest - 12 : highest] = True
    windpipe &= (truth.hu < -900) & (truth.lungs == 0)
    assert windpipe.sum() > 20
    hu = truth.hu.copy()
    hu[10:-10, 1:3] = -150  # a plate with foam behind it
    hu[10:-10, 0] = -900
    with_table = find_lungs(hu, truth.spacing_mm).labels
    assert not labels[windpipe].any()
    assert not with_table[:, :3].any()
    assert dice(with_table > 0, truth.lungs > 0) > 0.97


def test_a_mask_that_leaks_into_gas_is_named() -> None:
    truth = chest("normal")
    hu = truth.hu.copy()
    gas = shell(truth.lungs == 1, 8)
    hu[gas] = -1000
    assert QualityCode.MASK_LEAK in codes_of(truth.lungs, hu)
    assert QualityCode.MASK_LEAK not in codes_of(truth.lungs, truth.hu)


def test_a_mask_with_holes_is_named() -> None:
    truth = chest("normal")
    labels = truth.lungs.copy()
    labels[ndimage.binary_erosion(labels == 1, iterations=4)] = 0
    assert QualityCode.MASK_HOLES in codes_of(labels, truth.hu)
    assert QualityCode.MASK_HOLES not in codes_of(truth.lungs, truth.hu)


def test_a_mask_of_aerated_lung_alone_is_named_where_lung_is_consolidated() -> None:
    truth = chest("op_peripheral")
    aerated = np.where(truth.hu < -500, truth.lungs, 0).astype(np.uint8)
    assert QualityCode.DENSE_LUNG_MISSED in codes_of(aerated, truth.hu)
    assert QualityCode.DENSE_LUNG_MISSED not in codes_of(truth.lungs, truth.hu)


def test_emphysema_is_no_free_gas() -> None:
    truth = chest("emphysema")
    lost = free_gas(truth.lungs > 0, coarse_grid(truth.hu, truth.spacing_mm))
    assert lost.sum() < 0.005 * (truth.lungs > 0).sum()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
@pytest.mark.parametrize("metal_hu", [4200, 12000, 32767])
def test_metal_is_never_summed_to_air(metal_hu: int, order: tuple[int, int, int]) -> None:
    hu = np.random.default_rng(0).integers(-1024, 4095, (24, 24, 10)).astype(np.int16).transpose(order)
    mean = hu.astype(np.float64).reshape(hu.shape[0] // 2, 2, hu.shape[1] // 2, 2, -1, 2).mean(axis=(1, 3, 5))
    assert np.array_equal(block_mean(hu, (2, 2, 2)), mean.astype(np.float32))
    hu[:2, :2, :2] = metal_hu
    found = block_mean(hu, (2, 2, 2))
    assert found[0, 0, 0] == 4095
    assert np.array_equal(found.ravel()[1:], mean.astype(np.float32).ravel()[1:])


def peak_mib() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory of one step is read from Linux")
@pytest.mark.parametrize(
    ("repeats", "spacing_mm"),
    [((2, 2, 24), (1.8, 1.8, 0.17)), ((11, 11, 1), (0.33, 0.33, 4.0))],
    ids=["1500 slices", "1024 matrix"],
)
def test_memory_stays_below_one_and_a_half_volumes(
    repeats: tuple[int, int, int], spacing_mm: tuple[float, ...]
) -> None:
    hu = chest("normal").hu
    for axis, count in enumerate(repeats):
        hu = hu.repeat(count, axis=axis)
    volume = np.ascontiguousarray(hu.transpose(2, 1, 0)).transpose(2, 1, 0)
    del hu
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mib()
    spacing = (spacing_mm[0], spacing_mm[1], spacing_mm[2])
    quantify(volume, find_lungs(volume, spacing).labels, spacing)
    assert peak_mib() - before < 1.5 * volume.nbytes / 2**20 + 64
