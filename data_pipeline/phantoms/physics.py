"""What a scanner does to the object: motion, slice thickness, kernel, beam hardening, streaks, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.phantoms.acquisition import AcquisitionPlan, Kernel, kernel_of
from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.habitus import Habitus

LOWEST_HU, HIGHEST_HU = -1024, 3071
CUPPING_HU = 9.0  # beam hardening left after correction: the middle of the body reads low (assumed)
SHOULDER_NOISE = 1.9  # noise at the shoulders over noise at the heart (assumed)
STREAK_SHARE = 0.45  # share of the shoulder noise that runs sideways
METAL_HU = 2600.0
HEART_REACH_MM = 70.0


def written_grid(object_grid: Grid, plan: AcquisitionPlan) -> Grid:
    """Grid of the slices that are written: every ``stride``-th, at the middle of its averaging window."""
    count = (object_grid.shape[0] - plan.window) // plan.stride + 1
    first = object_grid.origin_mm[0] + (plan.window - 1) / 2 * object_grid.spacing_mm[0]
    _, row, column = object_grid.spacing_mm
    return Grid(
        (count, *object_grid.shape[1:]),
        (plan.slice_gap_mm, row, column),
        (first, object_grid.origin_mm[1], object_grid.origin_mm[2]),
    )


def pick_labels(labels: NDArray[np.uint8], plan: AcquisitionPlan) -> NDArray[np.uint8]:
    """Labels of the written slices: those at the middle of each averaging window."""
    count = (labels.shape[0] - plan.window) // plan.stride + 1
    return labels[[index * plan.stride + plan.window // 2 for index in range(count)]]


def acquire(
    hu: Field, grid: Grid, habitus: Habitus, plan: AcquisitionPlan, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Scan the object.

    Args:
        hu: Object HU, shape (Z, Y, X).
        grid: Its voxels.
        habitus: Where the heart and the shoulders are.
        plan: The acquisition.
        rng: Generator of the noise.

    Returns:
        HU of the written slices, int16, on ``written_grid``.
    """
    target = written_grid(grid, plan)
    out = np.empty(target.shape, np.int16)
    kernel, pixel = kernel_of(plan), grid.spacing_mm[1]
    scanner = _Scanner(grid, habitus, plan, rng)
    for index in range(target.shape[0]):
        start = index * plan.stride
        plane = scanner.moved(hu[start], start)
        for further in range(start + 1, start + plan.window):
            plane = plane + scanner.moved(hu[further], further)
        if plan.window > 1:
            plane = plane / np.float32(plan.window)
        height = float(target.origin_mm[0] + index * target.spacing_mm[0]) / habitus.lung_height
        plane = scanner.hardened(plane)
        plane = scanner.with_metal(plane, height)
        plane = respond(plane, kernel, pixel)
        plane = plane + scanner.noise(kernel, pixel, height)
        out[index] = np.clip(np.rint(plane), LOWEST_HU, HIGHEST_HU)
    return out


def respond(plane: Field, kernel: Kernel, pixel_mm: float) -> Field:
    """Point spread and edge enhancement of a kernel; what is finer than half a pixel is left out."""
    blurred = plane
    if kernel.blur_mm / pixel_mm > 0.3:
        blurred = ndimage.gaussian_filter(plane, kernel.blur_mm / pixel_mm, truncate=2.5)
    if kernel.edge_mm / pixel_mm > 0.5:
        smooth = ndimage.gaussian_filter(blurred, kernel.edge_mm / pixel_mm, truncate=2.0)
        blurred = blurred + np.float32(kernel.edge_gain) * (blurred - smooth)
    return np.asarray(blurred)


class _Scanner:
    """Fields that are the same for all slices of one scan."""

    def __init__(self, grid: Grid, habitus: Habitus, plan: AcquisitionPlan, rng: np.random.Generator) -> None:
        self._plan, self._rng, self._shape = plan, rng, grid.shape[1:]
        self._grid, self._habitus = grid, habitus
        _, y, x = grid.coordinates()
        y, x = y[0], x[0]
        heart = ((y + 0.34 * habitus.chest_half_depth) ** 2 + (x - 20) ** 2) / np.float32(HEART_REACH_MM**2)
        self._near_heart = np.clip(1 - heart, 0, 1)
        radius = (x * x + y * y) / np.float32((habitus.chest_half_width + 30) ** 2)
        self._cupping = np.float32(CUPPING_HU) * np.clip(1 - radius, 0, 1)
        self._shift = round(plan.motion_mm / grid.spacing_mm[1])
        place = rng.uniform(-0.5, 0.5, size=2)
        self._metal_x = x - np.float32(place[0] * habitus.chest_half_width)
        self._metal_y = y + np.float32(habitus.chest_half_depth * (0.9 + 0.2 * place[1]))
        self._metal_height = float(rng.uniform(0.35, 0.8))

    def moved(self, plane: Field, index: int) -> Field:
        """Two positions of heart and diaphragm at once: double contours."""
        height = (self._grid.origin_mm[0] + index * self._grid.spacing_mm[0]) / self._habitus.lung_height
        if self._shift == 0 or not 0.02 < height < 0.5:
            return plane
        other = np.roll(plane, (self._shift, self._shift), axis=(0, 1))
        return np.asarray(plane + np.float32(0.5) * self._near_heart * (other - plane))

    def hardened(self, plane: Field) -> Field:
        """Cupping of soft tissue."""
        return np.asarray(plane - self._cupping * (plane > -200))

    def with_metal(self, plane: Field, height: float) -> Field:
        """A metal object of a few mm with bright and dark rays, if there is one at this height."""
        if not self._plan.has_metal or abs(height - self._metal_height) > 0.03:
            return plane
        x, y = self._metal_x, self._metal_y
        squared = x * x + y * y + np.float32(1)
        rays = (x * x - y * y) * x * y / (squared * squared)
        streaks = np.float32(2200) * rays / (1 + np.sqrt(squared) / np.float32(25))
        return np.asarray(np.where(squared < 14, np.float32(METAL_HU), plane + streaks * (plane > -990)))

    def noise(self, kernel: Kernel, pixel_mm: float, height: float) -> Field:
        """Correlated noise of one slice: stronger, and running sideways, at the shoulders."""
        shoulder = min(max((height - 0.72) / 0.3, 0.0), 1.0)
        level = np.float32(self._plan.noise_hu * (1 + (SHOULDER_NOISE - 1) * shoulder))
        noise = correlated_noise(self._shape, kernel.noise_mm / pixel_mm, self._rng)
        if shoulder > 0:
            rough = self._rng.standard_normal(self._shape, dtype=np.float32)
            length = max(round(40 / pixel_mm), 3)
            sideways = ndimage.uniform_filter1d(rough, length, axis=1, mode="wrap") * np.float32(np.sqrt(length))
            noise = noise + np.float32(STREAK_SHARE * shoulder) * sideways
        return np.asarray(noise * level)


def correlated_noise(shape: tuple[int, ...], length_pixels: float, rng: np.random.Generator) -> Field:
    """Gaussian noise of unit variance with a correlation length.

    Args:
        shape: (Y, X).
        length_pixels: Standard deviation of the smoothing; under 0.3 pixels the noise stays white.
        rng: Generator of the noise.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    if length_pixels < 0.3:
        return white
    reach = max(int(np.ceil(2.5 * length_pixels)), 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / length_pixels) ** 2)
    weights = np.round(weights / np.sqrt((weights**2).sum()), 6)
    for axis in (0, 1):
        white = ndimage.correlate1d(white, weights, axis=axis, mode="wrap")
    return white
