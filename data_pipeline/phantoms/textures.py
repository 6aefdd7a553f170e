"""Random fields the diseases are painted with: smooth noise, and cells with walls that play the secondary lobules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.phantoms.grid import Field, Grid

CELL_SEED = 20240  # the cell tile is the same for all patients; each shifts and flips it in its own way


def smooth_noise(grid: Grid, length_mm: float, rng: np.random.Generator) -> Field:
    """Gaussian random field of unit variance with structure of about ``length_mm``.

    A lattice of independent numbers, one every ``length_mm``, is interpolated linearly and slightly smoothed.
    """
    counts = [int(np.ceil(n * step / length_mm)) + 3 for n, step in zip(grid.shape, grid.spacing_mm, strict=True)]
    lattice = rng.standard_normal(counts, dtype=np.float32)
    field = lattice
    for axis, (count, step) in enumerate(zip(grid.shape, grid.spacing_mm, strict=True)):
        position = np.arange(count) * (step / length_mm) + 0.5
        lower = np.floor(position).astype(np.intp)
        weight = (position - lower).astype(np.float32)
        weight = weight * weight * (3 - 2 * weight)
        shape = [1, 1, 1]
        shape[axis] = -1
        weight = weight.reshape(shape)
        field = np.take(field, lower, axis=axis) * (1 - weight) + np.take(field, lower + 1, axis=axis) * weight
    return field / np.float32(max(float(np.round(field.std(dtype=np.float64), 4)), 1e-3))


@dataclass(frozen=True, eq=False)
class CellTile:
    """A periodic block of space divided into cells.

    Attributes:
        wall_distance: Distance to the nearest wall in units of the cell size, float32, (N, N, N).
        cell_value: One uniform number in [0, 1) per cell, float32, (N, N, N).
        spacing_mm: Step of the tile, mm.
        cell_mm: Mean cell size, mm.
    """

    wall_distance: Field
    cell_value: Field
    centre_distance: Field
    spacing_mm: tuple[float, float, float]
    cell_mm: float


@lru_cache(maxsize=16)
def cell_tile(cells_per_edge: int, cell_mm: float, spacing_mm: tuple[float, float, float]) -> CellTile:
    """Cells around jittered lattice points (Worley), periodic over ``cells_per_edge * cell_mm``.

    Args:
        cells_per_edge: Cells along each edge of the tile.
        cell_mm: Mean cell size, mm.
        spacing_mm: (z, y, x) step at which the tile is sampled, mm. The edge is rounded to whole steps.
    """
    rng = np.random.Generator(np.random.Philox(CELL_SEED))
    jitter = rng.random((cells_per_edge, cells_per_edge, cells_per_edge, 3), dtype=np.float32)
    values = rng.random((cells_per_edge, cells_per_edge, cells_per_edge), dtype=np.float32)
    counts = [max(round(cells_per_edge * cell_mm / step), cells_per_edge) for step in spacing_mm]
    axes = [(np.arange(count) * (cells_per_edge / count)).astype(np.float32) for count in counts]
    z, y, x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    cell_z, cell_y, cell_x = (np.floor(axis).astype(np.intp) for axis in (z, y, x))
    shape = (counts[0], counts[1], counts[2])
    nearest = np.full(shape, 9.0, np.float32)
    second = np.full(shape, 9.0, np.float32)
    value = np.zeros(shape, np.float32)
    for step_z, step_y, step_x in np.ndindex(3, 3, 3):
        at_z, at_y, at_x = cell_z + step_z - 1, cell_y + step_y - 1, cell_x + step_x - 1
        key = (at_z % cells_per_edge, at_y % cells_per_edge, at_x % cells_per_edge)
        offset = jitter[key]
        distance = (
            (at_z + offset[..., 0] - z) ** 2 + (at_y + offset[..., 1] - y) ** 2 + (at_x + offset[..., 2] - x) ** 2
        )
        distance = np.sqrt(distance)
        is_nearest = distance < nearest
        second = np.where(is_nearest, nearest, np.minimum(second, distance))
        value = np.where(is_nearest, values[key], value)
        nearest = np.minimum(nearest, distance)
    return CellTile((second - nearest) / 2, value, nearest, spacing_mm, cell_mm)


@dataclass(frozen=True, slots=True)
class TilePlacement:
    """How one patient lays a periodic tile over the grid: a shift per axis, flips, and the slices of a grid."""

    shift: tuple[int, int, int]
    flip: tuple[bool, bool, bool]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> TilePlacement:
        """A random placement."""
        shift = rng.integers(0, 10_000, size=3)
        flip = rng.random(3) < 0.5
        return cls((int(shift[0]), int(shift[1]), int(shift[2])), (bool(flip[0]), bool(flip[1]), bool(flip[2])))

    def indices(self, count: int, axis: int, tile_count: int) -> NDArray[np.intp]:
        """Index into the tile of each of ``count`` voxels along one axis."""
        index = (np.arange(count) + self.shift[axis]) % tile_count
        return tile_count - 1 - index if self.flip[axis] else index

    def slice(self, tile: Field, index: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Field:
        """Slice ``index`` of the tile laid over a grid, at its rows and columns. Shape (rows, columns)."""
        at = int(self.indices(index + 1, 0, tile.shape[0])[-1])
        return np.asarray(tile[at][rows][:, columns])


def gaussian(field: Field, sigma_mm: float, spacing_mm: tuple[float, float, float]) -> Field:
    """Separable Gaussian smoothing in millimetres; edges are extended."""
    sigmas = [sigma_mm / step for step in spacing_mm]
    return np.asarray(ndimage.gaussian_filter(field, sigmas, mode="nearest", truncate=3.0))
