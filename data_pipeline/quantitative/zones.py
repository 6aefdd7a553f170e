"""Where in the lung a bin is: side, third of the height, distance to the chest wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import FloatVolume
from data_pipeline.quantitative.bins import Bins

PERIPHERAL_MM = 20.0  # outer shell of the lung
SUBPLEURAL_MM = 5.0  # immediate subpleural lung, spared in NSIP
BEYOND_SUBPLEURAL_MM = 15.0  # lung just beneath it, for comparison

LEVELS = ("lower", "middle", "upper")


@dataclass(frozen=True, eq=False)
class Zones:
    """Place of every bin.

    Attributes:
        level: 0 lower, 1 middle, 2 upper third of each lung's height. Shape (I', J', K'), int8.
        depth_mm: Distance to the chest wall, mm; not to mediastinum, fissure or diaphragm. float32.
    """

    level: NDArray[np.int8]
    depth_mm: FloatVolume


def find_zones(bins: Bins) -> Zones:
    """Zones of a volume in RAS order."""
    level = np.zeros(bins.sides.shape, dtype=np.int8)
    for side in (1, 2):
        lung = bins.sides == side
        filled = np.nonzero(lung.any(axis=(0, 1)))[0]
        if not filled.size:
            continue
        k = np.arange(lung.shape[2])
        height = (k - filled[0]) / max(1, filled[-1] - filled[0] + 1)
        thirds = np.clip((height * 3).astype(np.int8), 0, 2)
        level = np.where(lung, thirds, level)
    return Zones(level, wall_distance_mm(bins))


def wall_distance_mm(bins: Bins) -> FloatVolume:
    """Distance of every bin to the chest wall: to the outside of the outline of both lungs, mm.

    In every row of an axial slice the outline runs from the first to the last lung bin, along i and along j; what lies
    between the lungs is inside it, so that mediastinum and diaphragm are no periphery.
    """
    lungs = bins.inside
    outline = _between(lungs, 0) | _between(lungs, 1)
    padded = np.pad(outline, 1)
    distance = ndimage.distance_transform_edt(padded, sampling=bins.spacing_mm)[1:-1, 1:-1, 1:-1]
    return np.asarray(distance, dtype=np.float32)


def _between(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """From the first to the last True along an axis."""
    forward = np.logical_or.accumulate(mask, axis=axis)
    backward = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
    between: NDArray[np.bool_] = forward & backward
    return between
