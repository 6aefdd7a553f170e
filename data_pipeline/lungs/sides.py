"""Which lung is which: glued lungs are cut apart, parts are given to the right (1) or left (2) side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.candidates import FACES
from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid
from data_pipeline.lungs.morphology import dilated
from data_pipeline.lungs.morphology import eroded as shrunk

Sides = NDArray[np.uint8]  # 0 outside, 1 right, 2 left
RIGHT, LEFT = 1, 2
BONE_HU = 200.0  # above soft tissue with contrast on block means of 3 mm
MIN_BONE_ML = 20.0  # less bone than this locates nothing
SPINE_WIDTH_MM = 40.0
MAX_EROSIONS = 4
MAX_CROSSING_SHARE = 0.05  # of the width of the volume; a lung seldom reaches further across the midline
MIN_SHARE_OF_SECOND_LUNG = 0.08  # of all lung; a smaller part is a piece of one lung, not the other lung


def body_middle(grid: CoarseGrid, outside: BoolArray) -> float:
    """Midline of the body along i, in blocks: where the spine is; half-way across the body where no bone shows.

    Spine and sternum hold most bone of a chest in every field of view, also in one that shows a single lung.
    """
    bone = (grid.hu > BONE_HU) & ~outside
    profile = bone.sum(axis=(1, 2)).astype(np.float64)
    if profile.sum() * grid.voxel_ml >= MIN_BONE_ML:
        smooth = ndimage.gaussian_filter1d(profile, SPINE_WIDTH_MM / 2 / grid.spacing_mm[0], mode="constant")
        return float(np.argmax(smooth))
    columns = np.nonzero((~outside).any(axis=(1, 2)))[0]
    return float(columns[[0, -1]].mean()) if columns.size else grid.hu.shape[0] / 2


def split_sides(lung: BoolArray, middle_i: float) -> NDArray[np.uint8]:
    """Give every lung voxel to the right (1) or the left (2) lung.

    Args:
        lung: Aerated lung without trachea. Shape (I', J', K').
        middle_i: Midline of the body, block index along i; RAS, so larger i is the patient's right.

    Returns:
        Shape (I', J', K'), uint8: 0 outside, 1 right, 2 left.
    """
    sides = np.zeros(lung.shape, dtype=np.uint8)
    boxes = ndimage.find_objects(lung.view(np.uint8))
    if boxes:
        sides[boxes[0]] = _split_inside(lung[boxes[0]], middle_i - boxes[0][0].start, lung.shape[0])
    return sides


def _split_inside(lung: BoolArray, middle_i: float, width: int) -> NDArray[np.uint8]:
    """As ``split_sides``, inside the box of both lungs; ``width`` is that of the volume."""
    seeds = _two_seeds(lung, 0.1 * width)
    if seeds is None:
        return _by_position(lung, middle_i)
    i = np.arange(lung.shape[0])[:, None, None]
    crossing = MAX_CROSSING_SHARE * width
    seeds[(seeds == LEFT) & (i > middle_i + crossing)] = 0  # a bridge in front of the heart; grown again below
    seeds[(seeds == RIGHT) & (i < middle_i - crossing)] = 0
    return _grow(seeds, lung, middle_i)


def _two_seeds(lung: BoolArray, min_apart: float) -> NDArray[np.uint8] | None:
    """Erode until the two largest parts are two lungs ``min_apart`` blocks apart; None when that never happens."""
    total = np.count_nonzero(lung)
    eroded = lung
    for _ in range(MAX_EROSIONS + 1):
        labels, count = ndimage.label(eroded, structure=FACES)
        sizes = np.bincount(labels.ravel())[1:]
        if count >= 2:
            second, first = np.argsort(sizes)[-2:] + 1
            parts = {number: labels == number for number in (int(first), int(second))}
            centres = {number: _centre_i(part) for number, part in parts.items()}
            apart = abs(centres[first] - centres[second])
            if sizes[second - 1] >= MIN_SHARE_OF_SECOND_LUNG * total and apart > min_apart:
                right, left = sorted(parts, key=lambda number: centres[number], reverse=True)
                return np.where(parts[right], np.uint8(RIGHT), np.where(parts[left], np.uint8(LEFT), np.uint8(0)))
        eroded = shrunk(eroded)
    return None


def _centre_i(part: BoolArray) -> float:
    """Centre of mass along i, blocks."""
    counts = np.count_nonzero(part, axis=(1, 2))
    return float(np.average(np.arange(len(counts)), weights=counts))


def _grow(seeds: NDArray[np.uint8], lung: BoolArray, middle_i: float) -> NDArray[np.uint8]:
    """Grow both seeds inside the lung, first on their own half, then across the midline; the rest goes by position."""
    sides = seeds.copy()
    i = np.arange(lung.shape[0])[:, None, None]
    halves = {RIGHT: i >= middle_i - 1, LEFT: i <= middle_i + 1}
    everywhere = {RIGHT: np.True_, LEFT: np.True_}
    for allowed in (halves, everywhere):
        for _ in range(2 * MAX_EROSIONS):
            before = np.count_nonzero(sides)
            for side in (RIGHT, LEFT):
                sides[dilated(sides == side, within=lung & (sides == 0) & allowed[side])] = side
            if np.count_nonzero(sides) == before:
                break
    rest = lung & (sides == 0)
    sides[rest] = _by_position(rest, middle_i)[rest]
    return sides


def _by_position(lung: BoolArray, middle_i: float) -> NDArray[np.uint8]:
    """Whole connected parts go to the side their centre is on; a part across the midline is cut there."""
    sides = np.zeros(lung.shape, dtype=np.uint8)
    labels, count = ndimage.label(lung, structure=FACES)
    for part, where in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[where] == part
        i = np.arange(where[0].start, where[0].stop)[:, None, None]
        share_right = np.count_nonzero(inside & (i > middle_i)) / np.count_nonzero(inside)
        if 0.25 < share_right < 0.75 and count == 1:
            sides[where][inside & (i > middle_i)] = RIGHT
            sides[where][inside & (i <= middle_i)] = LEFT
        else:
            sides[where][inside] = RIGHT if share_right >= 0.5 else LEFT
    return sides
