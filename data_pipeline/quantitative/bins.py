"""Whole-number binning of the native grid: quiet enough for thresholds, equal for scans of any slice thickness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.lungs.coarse_grid import BoolArray, FloatVolume, Spacing, block_label, block_mean

BIN_MM = (
    1.5  # tissue classes are read at this size; a secondary lobule is 10-25 mm, noise falls with the root of voxels
)

COARSE_BIN_MM = 2.2  # two such bins would be half a lobule

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Bins:
    """Block means of a volume inside the box of its lungs.

    Attributes:
        hu: Mean HU. Shape (I', J', K'), float32.
        sides: 1 right, 2 left where every voxel of the block is that lung, else 0: mixed blocks at the pleura would
            look like ground glass. uint8.
        spacing_mm: Spacing of the blocks, mm.
        factors: Native voxels per block along i, j, k; even in the plane wherever that is more than one.
    """

    hu: FloatVolume
    sides: NDArray[np.uint8]
    spacing_mm: Spacing
    factors: tuple[int, int, int]

    @property
    def inside(self) -> BoolArray:
        """Blocks that are lung throughout."""
        inside: BoolArray = self.sides > 0
        return inside

    @property
    def cell(self) -> int:
        """Bins along one edge of the cells that neighbourhoods are made of: two, one where bins are coarse."""
        return 2 if max(self.spacing_mm[:2]) < COARSE_BIN_MM else 1

    @property
    def voxel_ml(self) -> float:
        """Volume of one block, ml."""
        return self.spacing_mm[0] * self.spacing_mm[1] * self.spacing_mm[2] / 1000.0


def box_of(labels: NDArray[np.uint8] | BoolArray) -> Box:
    """Smallest box around all labelled voxels; an empty box where none is."""
    rest, sides = labels, [slice(0, 0)] * 3
    for axis in sorted(range(3), key=lambda item: -abs(labels.strides[item])):  # whole layers of memory first
        filled = np.nonzero(rest.any(axis=tuple(other for other in range(3) if other != axis)))[0]
        if not filled.size:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        sides[axis] = slice(int(filled[0]), int(filled[-1]) + 1)
        rest = rest[tuple(sides[axis] if other == axis else slice(None) for other in range(3))]
    return sides[0], sides[1], sides[2]


def bin_lungs(voxels: NDArray[np.int16], labels: NDArray[np.uint8], spacing_mm: Spacing) -> Bins:
    """Bin a volume and its lungs to about ``BIN_MM``; axes already coarser stay as they are.

    Args:
        voxels: HU inside the box of the lungs. Shape (I, J, K).
        labels: 0 outside, 1 right, 2 left, same shape.
        spacing_mm: Native spacing, mm.
    """
    fi, fj = (_in_plane_factor(spacing_mm[axis], voxels.shape[axis]) for axis in (0, 1))
    fk = min(max(1, round(BIN_MM / spacing_mm[2])), max(1, voxels.shape[2]))
    sides = block_label(labels, (fi, fj, fk))
    spacing = (spacing_mm[0] * fi, spacing_mm[1] * fj, spacing_mm[2] * fk)
    return Bins(block_mean(voxels, (fi, fj, fk)), sides, spacing, (fi, fj, fk))


def one_lung(bins: Bins, side: int) -> tuple[Box, Bins | None]:
    """The bins of one lung in their own box, and the box; None where that lung has no bin."""
    box = box_of(bins.sides == side)
    if box[0].start == box[0].stop:
        return box, None
    sides = np.where(bins.sides[box] == side, bins.sides[box], np.uint8(0))
    return box, Bins(bins.hu[box], sides, bins.spacing_mm, bins.factors)


def _in_plane_factor(spacing_mm: float, size: int) -> int:
    """An even factor, so that bins can be halved for fine lines; 1 where even two voxels are too coarse."""
    if spacing_mm > BIN_MM * 0.75:
        return 1
    return min(2 * max(1, round(BIN_MM / 2 / spacing_mm)), max(1, size))
