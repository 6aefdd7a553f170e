"""The secondary lobules of one patient: cells, bent by smooth noise, that septa, meshes, cysts and arcs follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.textures import TilePlacement, cell_tile, smooth_noise

Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Lobules:
    """Where the cells of a patient lie.

    Attributes:
        grid: Coarse grid of the noise.
        placement: How the tile of cells lies in space.
        mottle: Smooth noise of unit variance on ``grid``, coarse.
        streaks: The same, finer.
        warp_mm: How far cells are bent, so that neither lattice nor period shows.
    """

    grid: Grid
    placement: TilePlacement
    mottle: Field
    streaks: Field
    warp_mm: float

    @classmethod
    def draw(cls, grid: Grid, warp_mm: float, rng: np.random.Generator) -> Lobules:
        """Random lobules."""
        mottle, streaks = smooth_noise(grid, 16, rng), smooth_noise(grid, 9, rng)
        return cls(grid, TilePlacement.draw(rng), mottle, streaks, warp_mm)

    def bent(self, y: Field, x: Field, mottle: Field, streaks: Field) -> tuple[Field, Field]:
        """Rows and columns, mm, as the cells see them. Shapes broadcast to those of the noise."""
        warp = np.float32(self.warp_mm)
        return y + warp * (mottle + np.float32(0.5) * streaks), x + warp * (streaks - np.float32(0.5) * mottle)

    def on_grid(self, cell_mm: float) -> tuple[Field, Field]:
        """Number of the cell, and distance to its middle in cells, at each point of the coarse grid."""
        tile = cell_tile()
        values, centres = np.empty(self.grid.shape, np.float32), np.empty(self.grid.shape, np.float32)
        z, y, x = (self.grid.axis(axis) for axis in range(3))
        for index in range(self.grid.shape[0]):
            at_y, at_x = self.bent(y[0], x[0], self.mottle[index], self.streaks[index])
            place = self.placement.lookup(cell_mm, float(z[index, 0, 0]), at_y, at_x)
            values[index], centres[index] = tile.value.ravel()[place], tile.centre_distance.ravel()[place]
        return values, centres


class LobularPainter:
    """Walls and numbers of cells of any size at chosen pixels of one slice."""

    def __init__(self, placement: TilePlacement, z: float, y: Field, x: Field, width_mm: float) -> None:
        self._placement, self._z, self._y, self._x, self._width = placement, z, y, x, width_mm

    @classmethod
    def of_slice(
        cls, lobules: Lobules, grid: Grid, index: int, width_mm: float, noise: tuple[Field, Field]
    ) -> LobularPainter:
        """All pixels of a slice.

        Args:
            lobules: Of the patient.
            grid: Fine grid.
            index: Slice.
            width_mm: Width of a pixel, over which walls are averaged.
            noise: Mottle and streaks at the slice's pixels.
        """
        y, x = lobules.bent(grid.axis(1)[0], grid.axis(2)[0], *noise)
        return cls(lobules.placement, grid.origin_mm[0] + index * grid.spacing_mm[0], y, x, width_mm)

    def at(self, places: Places) -> LobularPainter:
        """The same for some pixels only, given as flat indices."""
        return LobularPainter(self._placement, self._z, self._y.ravel()[places], self._x.ravel()[places], self._width)

    def walls(self, cell_mm: float, wall_mm: float) -> Field:
        """Share of each pixel taken by the walls between cells, partial volume included."""
        distance = cell_tile().wall_distance.ravel()[self._placement.lookup(cell_mm, self._z, self._y, self._x)]
        width = max(self._width, wall_mm)
        ramp = np.clip(1 - distance * np.float32(cell_mm / width), 0, 1)
        return np.asarray(ramp * np.float32(min(1.0, wall_mm / width)))

    def values(self, cell_mm: float) -> Field:
        """One uniform number per cell."""
        return np.asarray(cell_tile().value.ravel()[self._placement.lookup(cell_mm, self._z, self._y, self._x)])
