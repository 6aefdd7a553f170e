"""Sheared boxes made upright: the slices of a tilted gantry moved along their columns until they stand on each other.

A tilted gantry scans slices that lean while the table moves level, so slice k sits a little further along its own
columns than slice k - 1. Each slice is a true picture of its plane; nothing is interpolated between slices here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from domain.affine import Affine
from domain.volume import AIR_HU

IGNORED_SHIFT = 0.05  # voxels over the whole stack: less than positions are known


def shear_degrees(affine: Affine) -> float:
    """Angle between the slice axis k and the normal of the planes i, j."""
    i, j, k = affine.matrix[:3, :3].T
    normal = np.cross(i, j)
    cosine = abs(float(normal @ k)) / float(np.linalg.norm(normal) * np.linalg.norm(k))
    return math.degrees(math.acos(min(1.0, cosine)))


def plane_degrees(affine: Affine) -> float:
    """Angle between the axes i and j."""
    i, j, _ = affine.matrix[:3, :3].T
    cosine = float(i @ j) / float(np.linalg.norm(i) * np.linalg.norm(j))
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def straighten(voxels: NDArray[np.int16], affine: Affine) -> tuple[NDArray[np.int16], Affine]:
    """Turn a sheared stack into an upright one, which leans in the patient as the gantry did.

    Each slice is moved within its plane by a whole number of voxels and a fraction, the fraction by cubic convolution
    (Keys 1981, a = -1/2). The box grows so that nothing is cut off; what no slice covers is air.

    Args:
        voxels: HU, shape (I, J, K), k the slice axis.
        affine: ijk to RAS mm; i and j at right angles, k anywhere.

    Returns:
        HU, shape (I', J', K), and the affine, whose axes are at right angles.
    """
    i, j, k = affine.matrix[:3, :3].T
    normal = np.cross(i, j) / np.linalg.norm(np.cross(i, j))
    matrix = np.array(affine.matrix)
    matrix[:3, 2] = normal * float(normal @ k)
    planes = voxels.transpose(2, 1, 0)  # (K, J, I)
    for axis, step in ((1, j), (2, i)):
        shift = float(k @ step) / float(step @ step)  # voxels from one slice to the next
        if abs(shift) * (len(planes) - 1) > IGNORED_SHIFT:
            planes, first = _move_slices(planes, shift, axis)
            matrix[:3, 3] += step * first
    return planes.transpose(2, 1, 0), Affine(matrix)


def _move_slices(planes: NDArray[np.int16], shift: float, axis: int) -> tuple[NDArray[np.int16], int]:
    """Move slice k by ``k * shift`` voxels along an axis; gives the planes and the old index of the first voxel."""
    reach = shift * (len(planes) - 1)
    first, last = math.floor(min(0.0, reach)), planes.shape[axis] - 1 + math.ceil(max(0.0, reach))
    shape = list(planes.shape)
    shape[axis] = last - first + 1
    moved = np.full(shape, AIR_HU, dtype=np.int16)
    for index, plane in enumerate(planes):
        lines = plane.T if axis == 2 else plane  # the moving axis first
        target = moved[index].T if axis == 2 else moved[index]
        whole = math.floor(index * shift)
        start = whole - first  # where the slice's first voxel comes to lie, but for the fraction
        _add_fraction(lines, index * shift - whole, target[start : start + len(lines) + 1])
    return moved, first


def _add_fraction(lines: NDArray[np.int16], fraction: float, target: NDArray[np.int16]) -> None:
    """Lines moved forward by 0 <= fraction < 1 of their distance. ``target`` has room for one more, where it exists."""
    if fraction < 1e-6:
        target[: len(lines)] = lines
        return
    padded = np.pad(lines.astype(np.float32), ((2, 2), (0, 0)), constant_values=AIR_HU)
    count = len(target)
    taps = (padded[place : place + count] * weight for place, weight in enumerate(cubic_weights(1.0 - fraction)))
    total = sum(taps, start=np.zeros((count, lines.shape[1]), dtype=np.float32))
    np.clip(np.rint(total), AIR_HU, np.iinfo(np.int16).max, out=total)
    target[...] = total.astype(np.int16)


def cubic_weights(place: float) -> tuple[float, float, float, float]:
    """Weights of samples -1, 0, 1, 2 for a value at ``place`` between samples 0 and 1. They add up to 1."""
    t = place
    return (
        -0.5 * t + t * t - 0.5 * t**3,
        1.0 - 2.5 * t * t + 1.5 * t**3,
        0.5 * t + 2.0 * t * t - 1.5 * t**3,
        -0.5 * t * t + 0.5 * t**3,
    )
