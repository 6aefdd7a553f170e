"""From coarse lungs to native voxels: the coarse answer inside, the native HU along the border."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.candidates import AIR_TISSUE_HU, FULL
from data_pipeline.lungs.coarse_grid import CoarseGrid, to_native
from data_pipeline.lungs.sides import LEFT, RIGHT

Box = tuple[slice, slice, slice]


def refine(voxels: NDArray[np.int16], sides: NDArray[np.uint8], grid: CoarseGrid) -> NDArray[np.uint8]:
    """Lung labels on the native grid.

    A block deep inside is lung whatever it holds. In the outermost blocks and one block beyond, a native voxel is lung
    when it is aerated, or when its block was put back as dense lung.

    Args:
        voxels: HU. Shape (I, J, K).
        sides: Coarse lungs. Shape (I', J', K').
        grid: The coarse volume.

    Returns:
        Shape (I, J, K), uint8: 0 outside, 1 right, 2 left.
    """
    labels = np.zeros(voxels.shape, dtype=np.uint8)
    if max(grid.factors) == 1:
        labels[...] = sides
        return labels
    for side in (RIGHT, LEFT):
        lung = sides == side
        if not lung.any():
            continue
        _refine_one(voxels, lung, sides, grid, side, labels)
    return labels


def _refine_one(
    voxels: NDArray[np.int16],
    lung: NDArray[np.bool_],
    sides: NDArray[np.uint8],
    grid: CoarseGrid,
    side: int,
    labels: NDArray[np.uint8],
) -> None:
    """Write one lung into ``labels``."""
    border_is_inside = 1  # a lung cut by the edge of the volume has no border there
    core = ndimage.binary_erosion(lung, structure=FULL, border_value=border_is_inside)
    solid = core | (lung & (grid.hu > AIR_TISSUE_HU))
    near = ndimage.binary_dilation(lung, structure=FULL) & ((sides == 0) | lung)
    box = _native_box(near, grid)
    zone = to_native(near.astype(np.uint8) + solid.astype(np.uint8), grid, box)  # 2 solid, 1 decide by HU
    inside = zone == 2
    inside |= (zone == 1) & (voxels[box] < AIR_TISSUE_HU)
    target = labels[box]
    target[inside & (target == 0)] = side


def _native_box(mask: NDArray[np.bool_], grid: CoarseGrid) -> Box:
    """Smallest native box around the blocks of a mask; a box at the last block runs to the edge of the volume."""
    edges = []
    for axis in range(3):
        filled = np.nonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))[0]
        stop = grid.native_shape[axis]
        if filled[-1] + 1 < mask.shape[axis]:
            stop = int(filled[-1] + 1) * grid.factors[axis]
        edges.append(slice(int(filled[0]) * grid.factors[axis], stop))
    return edges[0], edges[1], edges[2]
