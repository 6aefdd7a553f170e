"""Lung that holds no air: holes, vessels and consolidation put back, up to the pleura that healthy lung outlines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from data_pipeline.lungs.candidates import FACES
from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid
from data_pipeline.lungs.sides import LEFT, RIGHT

CLOSING_MM = 7.0  # closes segmental vessels and nodules; wider closing would swallow the hilum
MAX_DENSE_HU = 130.0  # consolidation and fluid stay below; ribs and calcium do not
NUM_ANGLES = 180  # bins of two degrees for the costal test

Sides = NDArray[np.uint8]


def close_holes(sides: Sides, grid: CoarseGrid) -> Sides:
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
        result[closed & (result == 0)] = side
    return result


def has_lung_below(lung: BoolArray) -> BoolArray:
    """Voxels with lung somewhere below them in the same column."""
    below = np.zeros_like(lung)
    below[:, :, 1:] = np.logical_or.accumulate(lung, axis=2)[:, :, :-1]
    return below


def fill_to_pleura(sides: Sides, grid: CoarseGrid) -> Sides:
    """Add tissue that lies between a lung and the chest wall, inside the lung's convex outline.

    The costal surface of a lung is convex in every axial slice. A dent in it is consolidation, fluid or a mass at the
    pleura. The mediastinal surface is not convex, so what lies between the lung and the midline is never added; nor is
    what has no lung below it, because that is liver or spleen under the diaphragm.

    Args:
        sides: 0 outside, 1 right, 2 left. Shape (I', J', K').
        grid: The coarse volume.

    Returns:
        As ``sides``, with dents of the costal surface filled.
    """
    result = sides.copy()
    centre = _centre_between(sides)
    for side in (RIGHT, LEFT):
        lung = sides == side
        allowed = has_lung_below(lung) & (sides == 0) & (grid.hu < MAX_DENSE_HU)
        for k in np.nonzero(lung.any(axis=(0, 1)))[0]:
            dent = _costal_dent(lung[:, :, k], centre) & allowed[:, :, k]
            result[:, :, k][dent] = side
    return result


def _centre_between(sides: Sides) -> tuple[float, float]:
    """A point between the lungs, block indices along i and j."""
    middles = []
    for side in (RIGHT, LEFT):
        index = np.nonzero(sides == side)
        if index[0].size:
            middles.append((float(index[0].mean()), float(index[1].mean())))
    return float(np.mean([m[0] for m in middles])), float(np.mean([m[1] for m in middles]))


def _costal_dent(lung: NDArray[np.bool_], centre: tuple[float, float]) -> NDArray[np.bool_]:
    """Pixels of one slice inside the lung's hull, outside the lung, and further out than all lung on their ray."""
    dent = np.zeros_like(lung)
    points = np.argwhere(lung)
    if len(points) < 10:
        return dent
    try:
        equations = ConvexHull(points).equations  # (F, 3): unit normal and offset
    except QhullError:  # all points on one line
        return dent
    low, high = points.min(axis=0), points.max(axis=0) + 1
    box = (slice(low[0], high[0]), slice(low[1], high[1]))
    free = np.argwhere(~lung[box]) + low
    inside = (free @ equations[:, :2].T + equations[:, 2] <= 1e-6).all(axis=1)
    free = free[inside]
    farthest = np.full(NUM_ANGLES, np.inf)  # rays that meet no lung add nothing
    lung_angle, lung_radius = _polar(points, centre)
    farthest[lung_angle] = 0.0
    np.maximum.at(farthest, lung_angle, lung_radius)
    angle, radius = _polar(free, centre)
    outer = free[radius > farthest[angle]]
    dent[outer[:, 0], outer[:, 1]] = True
    return dent


def _polar(points: NDArray[np.intp], centre: tuple[float, float]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Angle bin and squared radius of each point around ``centre``."""
    offset = points - np.asarray(centre)
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    bins = ((angle + np.pi) / (2 * np.pi) * NUM_ANGLES).astype(np.intp) % NUM_ANGLES
    return bins, (offset**2).sum(axis=1)
