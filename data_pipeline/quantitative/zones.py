"""Where in the lung a bin is: side, third of the height, shell of depth below the chest wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.lungs.coarse_grid import BoolArray, FloatVolume, Spacing
from data_pipeline.quantitative.bins import Bins

# Depths, mm, at which one shell ends and the next begins: lung immediately below the pleura, spared in NSIP; the lung
# beneath it, for comparison; the rest of the outer shell of 20 mm; central lung.
SHELL_ENDS_MM = (5.0, 15.0, 20.0)
NUM_SHELLS = len(SHELL_ENDS_MM) + 1
PERIPHERAL_SHELLS = len(SHELL_ENDS_MM)  # the first shells together are the periphery, the last one is the centre

DEPTH_STEP_MM = 3.0  # depth is computed on every second bin, or more, where bins are finer than this

LEVELS = ("lower", "middle", "upper")


@dataclass(frozen=True, eq=False)
class Zones:
    """Place of every bin.

    Attributes:
        level: 0 lower, 1 middle, 2 upper third of each lung, by volume, cut in axial slices: without preference a
            finding has a third of itself in each. Shape (I', J', K'), int8.
        shell: Index into the shells of ``SHELL_ENDS_MM``, by distance to the chest wall; not to mediastinum, fissure or
            diaphragm. int8.
    """

    level: NDArray[np.int8]
    shell: NDArray[np.int8]


def find_zones(bins: Bins) -> Zones:
    """Zones of a volume in RAS order."""
    level = np.zeros(bins.sides.shape, dtype=np.int8)
    for side in (1, 2):
        lung = bins.sides == side
        volume = np.cumsum(np.count_nonzero(lung, axis=(0, 1)), dtype=np.float64)
        if volume[-1] > 0:
            thirds = np.clip(np.ceil(3 * volume / volume[-1]) - 1, 0, 2).astype(np.int8)
            level += lung * thirds
    return Zones(level, _shells(bins))


def _shells(bins: Bins) -> NDArray[np.int8]:
    """Shell of every bin. Bins left out of the distance take that of their neighbour."""
    shape = bins.sides.shape
    thin = [
        max(1, round(DEPTH_STEP_MM / step)) if size > 1 else 1
        for step, size in zip(bins.spacing_mm, shape, strict=True)
    ]
    sparse = np.ascontiguousarray(bins.sides[:: thin[0], :: thin[1], :: thin[2]]) > 0
    sparse = _between(sparse, 0) | _between(sparse, 1)
    step_mm = (bins.spacing_mm[0] * thin[0], bins.spacing_mm[1] * thin[1], bins.spacing_mm[2] * thin[2])
    depth = depth_mm(sparse, step_mm, SHELL_ENDS_MM[-1] + max(step_mm))
    shell = np.searchsorted(SHELL_ENDS_MM, depth, side="left").astype(np.int8)
    for axis in range(3):
        shell = shell.repeat(thin[axis], axis=axis)
    return shell[: shape[0], : shape[1], : shape[2]]


def depth_mm(inside: BoolArray, step_mm: Spacing, limit_mm: float) -> FloatVolume:
    """Euclidean distance to the nearest voxel outside, up to a limit; beyond the volume is outside.

    One axis after the other, the smallest sum of squares over all neighbours within the limit: exact, and quicker than
    a transform without a limit.

    Args:
        inside: Shape (I, J, K).
        step_mm: Spacing along i, j, k, mm.
        limit_mm: What is deeper is given as deeper than this.

    Returns:
        mm, float32.
    """
    far = np.float32(2 * limit_mm**2)
    reach = [min(int(np.ceil(limit_mm / step)), size) for step, size in zip(step_mm, inside.shape, strict=True)]
    squared = np.where(np.pad(inside, [(1, 1)] * 3), far, np.float32(0.0))
    for axis, step in enumerate(step_mm):
        source = np.moveaxis(squared, axis, 0)
        nearest = source.copy()
        for offset in range(1, reach[axis] + 1):
            away = np.float32((offset * step) ** 2)
            np.minimum(nearest[offset:], source[:-offset] + away, out=nearest[offset:])
            np.minimum(nearest[:-offset], source[offset:] + away, out=nearest[:-offset])
        squared = np.moveaxis(nearest, 0, axis)
    return np.sqrt(squared[1:-1, 1:-1, 1:-1])


def _between(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """From the first to the last True along an axis."""
    forward = np.logical_or.accumulate(mask, axis=axis)
    backward = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
    between: NDArray[np.bool_] = forward & backward
    return between
