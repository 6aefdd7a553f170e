"""Lines, haze, cysts and sharpness: read the same from scans of other kernels, thicknesses and noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.quantitative import quantify
from data_pipeline.quantitative.sharpness import USUAL_VARIANCE_MM2, blur_variance_mm2

SPACING = (0.8, 0.8, 1.0)
PIXEL_VARIANCE = 0.8**2 / 6  # interpolation between pixels


def two_lungs() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Two cylinders of lung of -860 HU in soft tissue, and their labels. RAS."""
    i, j, _ = np.indices((240, 150, 44), dtype=np.float32)
    labels = np.zeros(i.shape, dtype=np.uint8)
    for side, centre in ((1, 176.0), (2, 64.0)):
        labels[((i - centre) / 48) ** 2 + ((j - 75) / 62) ** 2 < 1] = side
    return np.where(labels > 0, np.float32(-860), np.float32(40)), labels


def scanned(hu: NDArray[np.float32], *, blur_mm: float = 0.35, noise_hu: float = 20.0) -> NDArray[np.int16]:
    """The object through a Gaussian kernel, with noise that the kernel smooths too."""
    rng = np.random.default_rng(5)
    sigma = (blur_mm / SPACING[0], blur_mm / SPACING[1], 0)
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), sigma)
    return np.round(ndimage.gaussian_filter(hu, sigma) + noise * (noise_hu / noise.std())).astype(np.int16)


def with_mesh(
    hu: NDArray[np.float32], labels: NDArray[np.uint8], cell_mm: float, wall_mm: float, wall_hu: float
) -> None:
    """Walls of square cells in the front half of the right lung, in place."""
    i, j, k = np.indices(hu.shape, dtype=np.float32)
    position = [axis * step for axis, step in zip((i, j, k), SPACING, strict=True)]
    walls = np.minimum(*(np.abs((axis + cell_mm / 2) % cell_mm - cell_mm / 2) for axis in position[:2]))
    share = np.clip((wall_mm + SPACING[0]) / 2 - walls, 0, min(wall_mm, SPACING[0])) / SPACING[0]
    place = (labels == 1) & (j > 75)
    hu[place] += (share * (wall_hu - hu))[place]


@pytest.mark.parametrize("blur_mm", [0.45, 0.7, 1.0])
def test_sharpness_is_read_from_the_edge_of_the_lungs(blur_mm: float) -> None:
    hu, labels = two_lungs()
    assert blur_variance_mm2(scanned(hu, blur_mm=blur_mm), labels, SPACING) == pytest.approx(blur_mm**2, abs=0.17)


def test_without_any_edge_sharpness_is_the_usual_one() -> None:
    labels = np.ones((30, 30, 10), dtype=np.uint8)
    assert blur_variance_mm2(np.full(labels.shape, -850, np.int16), labels, SPACING) == USUAL_VARIANCE_MM2


def test_lines_are_reticulation_and_no_ground_glass() -> None:
    hu, labels = two_lungs()
    with_mesh(hu, labels, cell_mm=6.0, wall_mm=0.9, wall_hu=-350)
    table, _ = quantify(scanned(hu), labels, SPACING)
    assert table["reticulation_percent"] == pytest.approx(25, abs=5)
    assert table["ggo_percent"] < 5
    assert table["honeycombing_percent"] < 2
    assert table["reticulation_symmetry"] < 0.1


def test_even_haze_is_ground_glass_and_no_reticulation() -> None:
    hu, labels = two_lungs()
    hu[(labels == 1) & (np.indices(hu.shape)[1] > 75)] = -650
    table, _ = quantify(scanned(hu), labels, SPACING)
    assert table["ggo_percent"] == pytest.approx(25, abs=3)
    assert table["reticulation_percent"] < 2


def test_cysts_with_walls_are_honeycombing() -> None:
    hu, labels = two_lungs()
    hu[(labels == 1) & (np.indices(hu.shape)[1] > 75)] = -960
    with_mesh(hu, labels, cell_mm=9.0, wall_mm=1.6, wall_hu=-100)
    table, _ = quantify(scanned(hu), labels, SPACING)
    assert table["honeycombing_percent"] == pytest.approx(25, abs=6)
    assert table["fibrosis_percent"] == pytest.approx(25, abs=6)


def test_reticulation_is_the_same_for_other_kernels_noise_and_thickness() -> None:
    hu, labels = two_lungs()
    with_mesh(hu, labels, cell_mm=6.0, wall_mm=0.9, wall_hu=-350)
    usual = quantify(scanned(hu), labels, SPACING)[0]["reticulation_percent"]
    thick = scanned(hu)[:, :, :44].reshape(*hu.shape[:2], -1, 4).mean(axis=3).astype(np.int16)
    others = {
        "soft": quantify(scanned(hu, blur_mm=0.75, noise_hu=10), labels, SPACING)[0],
        "noisy": quantify(scanned(hu, noise_hu=45), labels, SPACING)[0],
        "4 mm": quantify(thick, labels[:, :, ::4], (*SPACING[:2], 4.0))[0],
    }
    for name, table in others.items():
        assert table["reticulation_percent"] == pytest.approx(usual, abs=3), name
