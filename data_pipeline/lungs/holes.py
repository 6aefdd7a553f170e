"""Holes in a lung filled: vessels, nodules and consolidation with lung all around. The pleura is in another file."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid
from data_pipeline.lungs.morphology import closed
from data_pipeline.lungs.sides import LEFT, RIGHT, Sides

IN_PLANE = ndimage.generate_binary_structure(2, 1)[:, :, None]  # neighbours within an axial slice
CLOSING_MM = 7.0  # closes segmental vessels and nodules; wider closing would swallow the hilum


def close_holes(sides: Sides, grid: CoarseGrid, blocked: BoolArray) -> Sides:
    """Per lung: a closing for vessels and nodules, then holes filled slice by slice.

    The dome of the diaphragm is a hole in a ring of lung too: a hole is filled only above lung.
    """
    result = sides.copy()
    iterations = grid.voxels_for_mm(CLOSING_MM)
    for side, box in zip((RIGHT, LEFT), ndimage.find_objects(sides, max_label=LEFT), strict=True):
        if box is None:
            continue
        lung = closed(sides[box] == side, iterations)
        lung |= _holes_in_slices(lung) & has_lung_below(lung)
        result[box][lung & (result[box] == 0) & ~blocked[box]] = side
    return result


def _holes_in_slices(lung: BoolArray) -> BoolArray:
    """What cannot be reached from the side faces of the box inside an axial slice."""
    labels, count = ndimage.label(~lung, structure=np.pad(IN_PLANE, ((0, 0), (0, 0), (1, 1))))
    is_hole = np.ones(count + 1, dtype=np.bool_)
    is_hole[0] = False
    for face in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        is_hole[face] = False
    holes: BoolArray = is_hole[labels]
    return holes


def has_lung_below(lung: BoolArray) -> BoolArray:
    """Voxels with lung somewhere below them in the same column."""
    below = np.zeros_like(lung)
    below[:, :, 1:] = np.logical_or.accumulate(lung, axis=2)[:, :, :-1]
    return below
