"""From coarse lungs to native voxels: the coarse answer inside, the native HU along the border."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_pipeline.lungs.candidates import AIR_TISSUE_HU
from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid
from data_pipeline.lungs.morphology import dilated, eroded
from data_pipeline.lungs.sides import LEFT, RIGHT, Sides
from data_pipeline.threads import in_threads


def refine(voxels: NDArray[np.int16], sides: Sides, grid: CoarseGrid, gas: BoolArray) -> Sides:
    """Lung labels on the native grid.

    A block deep inside is lung whatever it holds. In the outermost blocks and one block beyond, a native voxel is lung
    when it is aerated, or when its block was put back as dense lung.

    Args:
        voxels: HU. Shape (I, J, K).
        sides: Coarse lungs. Shape (I', J', K').
        grid: The coarse volume.
        gas: Blocks that hold air and are no lung. Shape (I', J', K').

    Returns:
        Shape (I, J, K), uint8: 0 outside, 1 right, 2 left. Whole axial slices lie together in memory.
    """
    labels = np.zeros(voxels.shape[::-1], dtype=np.uint8).transpose(2, 1, 0)
    if max(grid.factors) == 1:
        labels[...] = sides
        return labels
    solid, open_ = _solid_and_open(sides, grid, gas)
    shown = np.nonzero((solid | open_).any(axis=(0, 1)))[0]

    def refine_block(k: int) -> None:
        _refine_slices(voxels, labels, solid[:, :, k], open_[:, :, k], (k, grid))

    in_threads(refine_block, [int(k) for k in shown])
    return labels


def _solid_and_open(sides: Sides, grid: CoarseGrid, gas: BoolArray) -> tuple[Sides, Sides]:
    """Side of the blocks that are lung throughout, and of those whose voxels are lung where they hold air."""
    solid, open_ = np.zeros_like(sides), np.zeros_like(sides)
    for side in (RIGHT, LEFT):
        lung = sides == side
        core = eroded(lung, shape="box", outside=True)  # a lung cut by the edge of the volume has no border there
        solid[core | (lung & (grid.hu > AIR_TISSUE_HU))] = side
        open_[dilated(lung, shape="box") & ((sides == 0) | lung) & (open_ == 0)] = side
    open_[(solid > 0) | gas] = 0
    return solid, open_


def _refine_slices(
    voxels: NDArray[np.int16], labels: Sides, solid: Sides, open_: Sides, block: tuple[int, CoarseGrid]
) -> None:
    """Write the native slices of one layer of blocks; the last layer reaches to the end of the volume."""
    k, grid = block
    rows, columns = (_filled(solid | open_, axis) for axis in (0, 1))
    first, stop = (_native_range(span, grid, axis) for axis, span in ((0, rows), (1, columns)))
    inside, decided = (_spread(part[rows, columns], grid, first, stop) for part in (solid, open_))
    slices = _native_range(slice(k, k + 1), grid, 2)
    for native in range(slices.start, slices.stop):
        target = labels[first, stop, native]
        np.multiply(voxels[first, stop, native] < AIR_TISSUE_HU, decided, out=target)
        target |= inside


def _filled(mask: Sides, axis: int) -> slice:
    """First to last row of an axial layer that holds anything."""
    at = np.nonzero(mask.any(axis=1 - axis))[0]
    return slice(int(at[0]), int(at[-1]) + 1)


def _native_range(blocks: slice, grid: CoarseGrid, axis: int) -> slice:
    """Native voxels of a range of blocks; a range that ends with the last block runs to the edge of the volume."""
    size, factor = grid.native_shape[axis], grid.factors[axis]
    stop = size if blocks.stop >= grid.hu.shape[axis] else blocks.stop * factor
    return slice(blocks.start * factor, stop)


def _spread(layer: Sides, grid: CoarseGrid, rows: slice, columns: slice) -> Sides:
    """A layer of blocks (I', J') on native pixels; an incomplete last block takes the value of the last whole one."""
    native = layer
    for axis, (span, factor) in enumerate(((rows, grid.factors[0]), (columns, grid.factors[1]))):
        blocks = np.minimum(np.arange(span.stop - span.start) // factor, layer.shape[axis] - 1)
        native = np.take(native, blocks, axis=axis)
    return np.asfortranarray(native)  # slices of the volume run along i in memory
