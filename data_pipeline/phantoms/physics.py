"""What a scanner does to the object: motion, slice thickness, kernel, beam hardening, streaks, noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.phantoms.acquisition import AcquisitionPlan, Kernel, kernel_of, load_acquisition_settings
from data_pipeline.phantoms.grid import Field, Grid, Window
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.randomness import STABLE_DECIMALS

LOWEST_HU, HIGHEST_HU = -1024, 3071
REACH = 2.5  # standard deviations that a smoothing reaches
Edge = Literal["reflect", "wrap"]
LEAST_PIXELS = 0.3  # smoothing by less is left out: it would change nothing
NUM_PLANES = 12  # planes of noise made per scan; each slice mixes two of them, shifted at random
MIX = (0.8, 0.6)  # shares of the two; their squares add up to 1


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
    hu: Field, grid: Grid, habitus: Habitus, plan: AcquisitionPlan, body: Window, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Scan the object.

    Args:
        hu: Object HU, shape (Z, Y, X).
        grid: Its voxels.
        habitus: Where the heart and the shoulders are.
        plan: The acquisition.
        body: Rows and columns outside of which all slices are alike.
        rng: Generator of the noise.

    Returns:
        HU of the written slices, int16, on ``written_grid``.
    """
    target = written_grid(grid, plan)
    out = np.empty(target.shape, np.int16)
    kernel, pixel = kernel_of(plan), grid.spacing_mm[1]
    scanner = _Scanner(grid, habitus, plan, rng)
    rows, columns = body.rows, body.columns
    around = respond(hu[0], kernel, pixel)
    for index in range(target.shape[0]):
        start = index * plan.stride
        plane = scanner.moved(hu[start], start)
        for further in range(start + 1, start + plan.window):
            plane = plane + scanner.moved(hu[further], further)
        if plan.window > 1:
            plane = plane / np.float32(plan.window)
        height = float(target.origin_mm[0] + index * target.spacing_mm[0]) / habitus.lung_height
        noisy = scanner.noise(height)
        if scanner.is_metal_at(height):
            noisy += respond(scanner.with_metal(scanner.hardened(plane, slice(None), slice(None))), kernel, pixel)
        else:
            inside = respond(scanner.hardened(plane[rows, columns], rows, columns), kernel, pixel)
            inside += noisy[rows, columns]
            noisy += around
            noisy[rows, columns] = inside
        np.rint(noisy, out=noisy)
        np.clip(noisy, LOWEST_HU, HIGHEST_HU, out=noisy)
        out[index] = noisy
    return out


def respond(plane: Field, kernel: Kernel, pixel_mm: float) -> Field:
    """Point spread and edge enhancement of a kernel; what is finer than a part of a pixel is left out."""
    blurred = gaussian(plane, kernel.blur_mm / pixel_mm, "reflect")
    if kernel.edge_gain > 0 and kernel.edge_mm / pixel_mm > LEAST_PIXELS:
        smooth = gaussian(blurred, kernel.edge_mm / pixel_mm, "reflect")
        blurred = blurred + np.float32(kernel.edge_gain) * (blurred - smooth)
    return np.asarray(blurred)


def gaussian(plane: Field, length_pixels: float, edge: Edge) -> Field:
    """A plane smoothed by a Gaussian whose weights are rounded: equal bits on every processor.

    Args:
        plane: Shape (Y, X).
        length_pixels: Standard deviation; under ``LEAST_PIXELS`` the plane is given back as it is.
        edge: How it goes on beyond the edge.
    """
    if length_pixels < LEAST_PIXELS:
        return plane
    reach = max(int(np.ceil(REACH * length_pixels)), 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / length_pixels) ** 2)
    weights = np.round(weights / weights.sum(), STABLE_DECIMALS)
    return np.asarray(ndimage.correlate1d(ndimage.correlate1d(plane, weights, 0, mode=edge), weights, 1, mode=edge))


class _Scanner:
    """Fields that are the same for all slices of one scan."""

    def __init__(self, grid: Grid, habitus: Habitus, plan: AcquisitionPlan, rng: np.random.Generator) -> None:
        self._plan, self._rng, self._grid, self._habitus = plan, rng, grid, habitus
        self._effects = load_acquisition_settings().effects
        _, y, x = grid.coordinates()
        y, x = y[0], x[0]
        reach = np.float32(self._effects.heart_reach_mm**2)
        heart = ((y + 0.34 * habitus.chest_half_depth) ** 2 + (x - 20) ** 2) / reach
        self._near_heart = np.clip(1 - heart, 0, 1)
        radius = (x * x + y * y) / np.float32((habitus.chest_half_width + 30) ** 2)
        self._cupping = np.float32(self._effects.cupping_hu) * np.clip(1 - radius, 0, 1)
        self._shift = round(plan.motion_mm / grid.spacing_mm[1])
        place = rng.uniform(-0.5, 0.5, size=2)
        self._metal_x = x - np.float32(place[0] * habitus.chest_half_width)
        self._metal_y = y + np.float32(habitus.chest_half_depth * (0.9 + 0.2 * place[1]))
        self._metal_height = float(rng.uniform(0.35, 0.8))
        self._noise = NoiseBank(grid.shape[1:], kernel_of(plan), grid.spacing_mm[1], self._effects.streak_mm, rng)

    def moved(self, plane: Field, index: int) -> Field:
        """Two positions of heart and diaphragm at once: double contours."""
        height = (self._grid.origin_mm[0] + index * self._grid.spacing_mm[0]) / self._habitus.lung_height
        if self._shift == 0 or not 0.02 < height < 0.5:
            return plane
        other = np.roll(plane, (self._shift, self._shift), axis=(0, 1))
        return np.asarray(plane + np.float32(self._effects.ghost_share) * self._near_heart * (other - plane))

    def hardened(self, plane: Field, rows: slice, columns: slice) -> Field:
        """Cupping of soft tissue."""
        return np.asarray(plane - self._cupping[rows, columns] * (plane > -200))

    def is_metal_at(self, height: float) -> bool:
        """Whether a metal object lies at a height (share of lung height)."""
        return self._plan.has_metal and abs(height - self._metal_height) <= 0.03

    def with_metal(self, plane: Field) -> Field:
        """A metal object of a few mm with bright and dark rays."""
        x, y = self._metal_x, self._metal_y
        squared = x * x + y * y + np.float32(1)
        rays = (x * x - y * y) * x * y / (squared * squared)
        streaks = np.float32(self._effects.metal_streak_hu) * rays / (1 + np.sqrt(squared) / np.float32(25))
        is_metal = squared < np.float32(self._effects.metal_mm2)
        return np.asarray(np.where(is_metal, np.float32(self._effects.metal_hu), plane + streaks * (plane > -990)))

    def noise(self, height: float) -> Field:
        """Noise of one slice: stronger, and running sideways, at the shoulders."""
        shoulder = min(max((height - 0.72) / 0.3, 0.0), 1.0)
        level = self._plan.noise_hu * (1 + (self._effects.shoulder_noise - 1) * shoulder)
        return self._noise.slice(level, self._effects.streak_share * shoulder * level)


class NoiseBank:
    """Noise with the power spectrum of a kernel, made once per scan and shifted at random from slice to slice."""

    def __init__(
        self, shape: tuple[int, int], kernel: Kernel, pixel_mm: float, streak_mm: float, rng: np.random.Generator
    ) -> None:
        """Make the planes.

        Args:
            shape: (Y, X).
            kernel: Band, dip at low frequencies, and what is left there.
            pixel_mm: Size of a pixel.
            streak_mm: Length of the streaks of the shoulders.
            rng: Generator of the noise.
        """
        self._rng, self._shape = rng, shape
        self._planes = [textured_noise(shape, kernel, pixel_mm, rng) for _ in range(NUM_PLANES)]
        length = max(round(streak_mm / pixel_mm), 3)
        self._streaks = []
        for _ in range(NUM_PLANES // 2):
            rough = rng.standard_normal(shape, dtype=np.float32)
            mean = ndimage.uniform_filter1d(rough, length, axis=1, mode="wrap")
            self._streaks.append(mean * np.float32(np.sqrt(length)))

    def slice(self, level_hu: float, streak_hu: float) -> Field:
        """Noise of one slice; deviation ``level_hu``, and that of the streaks added to it."""
        one, other = self._rng.choice(NUM_PLANES, size=2, replace=False)
        plane = self._shifted(self._planes[one], level_hu * MIX[0])
        plane += self._shifted(self._planes[other], level_hu * MIX[1])
        if streak_hu > 0:
            plane += self._shifted(self._streaks[int(self._rng.integers(len(self._streaks)))], streak_hu)
        return plane

    def _shifted(self, plane: Field, factor: float) -> Field:
        down, right = (int(self._rng.integers(size)) for size in self._shape)
        return np.roll(plane * np.float32(factor), (down, right), axis=(0, 1))


def textured_noise(shape: tuple[int, int], kernel: Kernel, pixel_mm: float, rng: np.random.Generator) -> Field:
    """Gaussian noise of unit deviation with the power spectrum of a kernel.

    The ramp of the reconstruction under its apodisation is a difference of two Gaussians; a wide Gaussian gives the
    part at low frequencies that scanners keep. What is finer than a pixel is cut off, as by the field of view.

    Args:
        shape: (Y, X).
        kernel: Widths and shares.
        pixel_mm: Size of a pixel.
        rng: Generator of the noise.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    band = gaussian(white, kernel.noise_mm / pixel_mm, "wrap")
    band = band - np.float32(kernel.ramp_gain) * gaussian(white, kernel.ramp_mm / pixel_mm, "wrap")
    low = gaussian(rng.standard_normal(shape, dtype=np.float32), kernel.low_mm / pixel_mm, "wrap")
    share = kernel.low_share
    return _unit(band) * np.float32((1 - share) ** 0.5) + _unit(low) * np.float32(share**0.5)


def _unit(plane: Field) -> Field:
    """The plane over its deviation, which is rounded so that its last bits are the same everywhere."""
    deviation = float(np.sqrt(np.square(plane, dtype=np.float64).mean()))
    return plane / np.float32(np.round(deviation, STABLE_DECIMALS))
