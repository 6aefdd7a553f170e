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

DEPTH_STEP_MM = 2.0  # depth is computed on every second bin where bins are finer than this

LEVELS = ("lower", "middle", "upper")


@dataclass(frozen=True, eq=False)
class Zones:
    """Place of every bin.

    Attributes:
        level: 0 lower, 1 middle, 2 upper third of each lung, by volume, cut in axial slices: without preference a
            finding has a third of itself in each. Shape (I', J', K'), int8.
        depth_mm: Distance to the chest wall, mm; not to mediastinum, fissure or diaphragm. float32.
    """

    level: NDArray[np.int8]
    depth_mm: FloatVolume


def find_zones(bins: Bins) -> Zones:
    """Zones of a volume in RAS order."""
    level = np.zeros(bins.sides.shape, dtype=np.int8)
    for side in (1, 2):
        lung = bins.sides == side
        volume = np.cumsum(lung.sum(axis=(0, 1)), dtype=np.float64)
        if not volume.size or volume[-1] == 0:
            continue
        thirds = np.clip(np.ceil(3 * volume / volume[-1]) - 1, 0, 2).astype(np.int8)
        level = np.where(lung, thirds, level)
    return Zones(level, wall_distance_mm(bins))


def wall_distance_mm(bins: Bins) -> FloatVolume:
    """Distance of every bin to the chest wall: to the outside of the outline of both lungs, mm.

    In every row of an axial slice the outline runs from the first to the last lung bin, along i and along j; what lies
    between the lungs is inside it, so that mediastinum and diaphragm are no periphery.
    """
    lungs = bins.inside
    outline = _between(lungs, 0) | _between(lungs, 1)
    thin = [
        2 if spacing < DEPTH_STEP_MM and size > 1 else 1
        for spacing, size in zip(bins.spacing_mm, outline.shape, strict=True)
    ]
    padded = np.pad(outline, 2)[:: thin[0], :: thin[1], :: thin[2]]
    step_mm = [spacing * factor for spacing, factor in zip(bins.spacing_mm, thin, strict=True)]
    distance: FloatVolume = np.asarray(ndimage.distance_transform_edt(padded, sampling=step_mm), dtype=np.float32)
    for axis, size in enumerate(outline.shape):  # every second bin was left out: its neighbour stands for it
        distance = np.take(distance, (np.arange(size) + 2) // thin[axis], axis=axis)
    return distance


def _between(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """From the first to the last True along an axis."""
    forward = np.logical_or.accumulate(mask, axis=axis)
    backward = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
    between: NDArray[np.bool_] = forward & backward
    return between
