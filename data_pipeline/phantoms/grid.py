"""The voxel grid of a phantom in its own frame. Patient coordinates appear in the DICOM writer only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[Any]  # float32 by convention; the stubs of numpy lose the type in mixed arithmetic


@dataclass(frozen=True, slots=True)
class Grid:
    """Axis-aligned voxel centres. Arrays on it have shape (Z, Y, X).

    The frame is centred on the body: x grows to the patient's left, y to the back, z to the head; z = 0 is the
    lowest point of the lungs.

    Attributes:
        shape: (Z, Y, X) counts.
        spacing_mm: (z, y, x) steps, mm.
        origin_mm: (z, y, x) of the first voxel centre, mm.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    def axis(self, index: int) -> Field:
        """Centres along one axis, mm, float32, shaped to broadcast against (Z, Y, X)."""
        centres = self.origin_mm[index] + self.spacing_mm[index] * np.arange(self.shape[index])
        shape = [1, 1, 1]
        shape[index] = -1
        return centres.astype(np.float32).reshape(shape)

    def coordinates(self) -> tuple[Field, Field, Field]:
        """(z, y, x) as broadcastable arrays, mm."""
        return self.axis(0), self.axis(1), self.axis(2)

    def slices(self, part: slice) -> Grid:
        """Some slices of this grid, from ``part.start`` to before ``part.stop``."""
        z, y, x = self.origin_mm
        return Grid(
            (part.stop - part.start, *self.shape[1:]), self.spacing_mm, (z + self.spacing_mm[0] * part.start, y, x)
        )

    def coarsened(self, spacing_mm: float) -> Grid:
        """A grid over the same extent with steps of at least ``spacing_mm``; self where it is coarse already.

        The first and the last voxel centre stay inside the coarse grid, so that interpolation never leaves it.
        """
        if min(self.spacing_mm) >= spacing_mm:
            return self
        steps = tuple(max(step, spacing_mm) for step in self.spacing_mm)
        counts = tuple(
            int(np.ceil((count - 1) * fine / coarse)) + 2
            for count, fine, coarse in zip(self.shape, self.spacing_mm, steps, strict=True)
        )
        return Grid((counts[0], counts[1], counts[2]), (steps[0], steps[1], steps[2]), self.origin_mm)


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Linear interpolation along one axis: ``(1 - weight) * a[lower] + weight * a[lower + 1]``."""

    lower: NDArray[np.intp]
    weight: Field

    @classmethod
    def between(cls, coarse: Grid, fine: Grid, axis: int) -> Interpolation:
        """Positions of the fine centres in the coarse grid along one axis."""
        ratio = fine.spacing_mm[axis] / coarse.spacing_mm[axis]
        offset = (fine.origin_mm[axis] - coarse.origin_mm[axis]) / coarse.spacing_mm[axis]
        position = offset + ratio * np.arange(fine.shape[axis])
        lower = np.clip(np.floor(position).astype(np.intp), 0, coarse.shape[axis] - 2)
        return cls(lower, (position - lower).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Window:
    """Rows and columns of a slice."""

    rows: slice
    columns: slice


class SliceSampler:
    """Reads slices of the fine grid out of arrays on a coarse grid."""

    def __init__(self, coarse: Grid, fine: Grid) -> None:
        self._is_identity = coarse == fine
        self._shape = fine.shape
        if not self._is_identity:
            self._z, self._y, self._x = (Interpolation.between(coarse, fine, axis) for axis in range(3))

    def slice(self, field: Field, index: int, window: Window | None = None) -> Field:
        """A slice of the fine grid, or a window of it. Shape (Y, X), float32; do not write to it.

        Args:
            field: Array on the coarse grid.
            index: Slice of the fine grid.
            window: Rows and columns; all where not given.
        """
        rows, columns = (window.rows, window.columns) if window else (slice(None), slice(None))
        if self._is_identity:
            return np.asarray(field[index, rows, columns])
        lower, weight = int(self._z.lower[index]), self._z.weight[index]
        plane = field[lower] + weight * (field[lower + 1] - field[lower])
        at, share = self._x.lower[columns], self._x.weight[columns]
        left = plane[:, at]
        across = left + share * (plane[:, at + 1] - left)
        at, share = self._y.lower[rows], self._y.weight[rows]
        upper = across[at]
        upper += share[:, None] * (across[at + 1] - upper)
        return np.asarray(upper)
