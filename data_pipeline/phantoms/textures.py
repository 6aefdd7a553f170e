"""Random fields the diseases are painted with: smooth noise, and cells with walls that play the secondary lobules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.grid import Field, Grid

CELL_SEED = 20240  # the tile of cells is the same for all patients; each shifts, turns and warps it in its own way
CELLS_PER_EDGE = 8
SAMPLES_PER_CELL = 12
# Standard deviation left of unit noise after interpolation with weight s = 3t^2 - 2t^3 along three axes: the mean of
# (1 - s)^2 + s^2 over t is 26/35 per axis.
INTERPOLATED_SPREAD = (26 / 35) ** 1.5


def smooth_noise(grid: Grid, length_mm: float, rng: np.random.Generator) -> Field:
    """Gaussian random field of unit variance with structure of about ``length_mm``.

    A lattice of independent numbers, one every ``length_mm``, is interpolated smoothly.
    """
    counts = [int(np.ceil(n * step / length_mm)) + 3 for n, step in zip(grid.shape, grid.spacing_mm, strict=True)]
    field = rng.standard_normal(counts, dtype=np.float32)
    for axis in (2, 1, 0):  # rows last: whole rows are copied faster than single numbers
        count, step = grid.shape[axis], grid.spacing_mm[axis]
        position = np.arange(count) * (step / length_mm) + 0.5
        lower = np.floor(position).astype(np.intp)
        weight = (position - lower).astype(np.float32)
        weight = weight * weight * (3 - 2 * weight)
        shape = [1, 1, 1]
        shape[axis] = -1
        weight = weight.reshape(shape)
        below, above = np.take(field, lower, axis=axis), np.take(field, lower + 1, axis=axis)
        above -= below
        above *= weight
        below += above
        field = below
    field *= np.float32(1 / INTERPOLATED_SPREAD)
    return field


@dataclass(frozen=True, eq=False)
class CellTile:
    """A periodic block of space divided into cells of size 1; ``CELLS_PER_EDGE`` along each edge.

    Attributes:
        wall_distance: Distance to the nearest wall, float32, (N, N, N).
        centre_distance: Distance to the centre of the cell, float32, (N, N, N).
        value: One uniform number in [0, 1) per cell, float32, (N, N, N).
    """

    wall_distance: Field
    centre_distance: Field
    value: Field


@lru_cache(maxsize=1)
def cell_tile() -> CellTile:
    """Cells around jittered lattice points (Worley noise), made once per process."""
    rng = np.random.Generator(np.random.Philox(CELL_SEED))
    edge = CELLS_PER_EDGE
    jitter = rng.random((edge, edge, edge, 3), dtype=np.float32)
    values = rng.random((edge, edge, edge), dtype=np.float32)
    count = edge * SAMPLES_PER_CELL
    tile = CellTile(*(np.empty((count, count, count), np.float32) for _ in range(3)))
    within = (np.arange(SAMPLES_PER_CELL, dtype=np.float32) + np.float32(0.5)) / SAMPLES_PER_CELL
    axis = (np.arange(count) + np.float32(0.5)).astype(np.float32) / SAMPLES_PER_CELL
    cell = np.arange(count) // SAMPLES_PER_CELL
    for layer in range(edge):
        slab = slice(layer * SAMPLES_PER_CELL, (layer + 1) * SAMPLES_PER_CELL)
        shape = (SAMPLES_PER_CELL, count, count)
        nearest, second = np.full(shape, 9, np.float32), np.full(shape, 9, np.float32)
        value = np.zeros(shape, np.float32)
        for step_z, step_y, step_x in np.ndindex(3, 3, 3):
            at_y, at_x = cell + step_y - 1, cell + step_x - 1
            key = np.ix_([(layer + step_z - 1) % edge], at_y % edge, at_x % edge)
            offset = jitter[key]
            reach_z = offset[..., 0] + np.float32(step_z - 1) - within[:, None, None]
            reach_y = (offset[..., 1] + (at_y - axis).astype(np.float32)[None, :, None])[0]
            reach_x = (offset[..., 2] + (at_x - axis).astype(np.float32)[None, None, :])[0]
            distance = reach_z * reach_z + (reach_y * reach_y + reach_x * reach_x)[None]
            is_nearest = distance < nearest
            second = np.where(is_nearest, nearest, np.minimum(second, distance))
            value = np.where(is_nearest, values[key], value)
            nearest = np.minimum(nearest, distance)
        tile.centre_distance[slab] = np.sqrt(nearest)
        tile.wall_distance[slab] = (np.sqrt(second) - tile.centre_distance[slab]) / 2
        tile.value[slab] = value
    return tile


@dataclass(frozen=True, slots=True)
class TilePlacement:
    """How one patient lays the tile over space: a shift and a flip of each axis.

    Attributes:
        shift: In cells, (z, y, x).
        sign: +1 or -1, (z, y, x).
    """

    shift: tuple[float, float, float]
    sign: tuple[int, int, int]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> TilePlacement:
        """A random placement."""
        shift = np.round(rng.random(3) * CELLS_PER_EDGE, 4)
        sign = np.where(rng.random(3) < 0.5, 1, -1)
        return cls((float(shift[0]), float(shift[1]), float(shift[2])), (int(sign[0]), int(sign[1]), int(sign[2])))

    def lookup(self, cell_mm: float, z: float, y: Field, x: Field) -> NDArray[np.int32]:
        """Flat indices into the tile of points of one slice.

        Args:
            cell_mm: Size of a cell.
            z: Height of the slice, mm.
            y: Rows, mm; may be bent.
            x: Columns, mm, broadcastable with the rows; may be bent.
        """
        count = CELLS_PER_EDGE * SAMPLES_PER_CELL
        scale = np.float32(SAMPLES_PER_CELL / cell_mm)
        index: NDArray[np.int32] = np.zeros((), np.int32)
        for value, shift, sign in zip((np.float32(z), y, x), self.shift, self.sign, strict=True):
            samples = np.asarray(value) * np.float32(scale * sign) + np.float32(shift * SAMPLES_PER_CELL + 64 * count)
            index = index * np.int32(count) + np.asarray(samples).astype(np.int32) % np.int32(count)
        return index
