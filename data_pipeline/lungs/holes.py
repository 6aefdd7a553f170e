"""Holes in a lung filled: vessels, nodules and consolidation with lung all around. The pleura is in another file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.candidates import FACES
from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid
from data_pipeline.lungs.sides import LEFT, RIGHT

CLOSING_MM = 7.0  # closes segmental vessels and nodules; wider closing would swallow the hilum

Sides = NDArray[np.uint8]


def close_holes(sides: Sides, grid: CoarseGrid, blocked: BoolArray) -> Sides:
    """Per lung: a closing for vessels and nodules, then holes filled slice by slice.

    The dome of the diaphragm is a hole in a ring of lung too: a hole is filled only above lung.
    """
    result = sides.copy()
    iterations = grid.voxels_for_mm(CLOSING_MM)
    for side in (RIGHT, LEFT):
        lung = np.pad(sides == side, iterations)
        closed = ndimage.binary_closing(lung, structure=FACES, iterations=iterations)
        closed = closed[(slice(iterations, -iterations),) * 3]
        above = has_lung_below(closed)
        for k in range(closed.shape[2]):
            holes = ndimage.binary_fill_holes(closed[:, :, k]) & ~closed[:, :, k]
            closed[:, :, k] |= holes & above[:, :, k]
        result[closed & (result == 0) & ~blocked] = side
    return result


def has_lung_below(lung: BoolArray) -> BoolArray:
    """Voxels with lung somewhere below them in the same column."""
    below = np.zeros_like(lung)
    below[:, :, 1:] = np.logical_or.accumulate(lung, axis=2)[:, :, :-1]
    return below
