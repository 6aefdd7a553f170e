"""Lung that holds no air, up to the pleura: added where ribs and healthy lung say that lung should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.candidates import FACES
from data_pipeline.lungs.chest_wall import (
    MIRRORED,
    NUM_ANGLES,
    FloatMap,
    Rays,
    apex_height,
    diaphragm_height,
    pleura_radius,
    rays_around,
    rib_radius,
)
from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid, FloatVolume
from data_pipeline.lungs.morphology import closed, dilated, opened
from data_pipeline.lungs.organ_contrast import less_dense_than_organs, organ_hu, smooth_density
from data_pipeline.lungs.ray_limits import ray_limits, top_of, without_bumps
from data_pipeline.lungs.sides import LEFT, RIGHT, Sides
from data_pipeline.threads import in_threads

MAX_DENSE_HU = 130.0  # consolidation and fluid stay below; ribs and calcium do not
FAT_HU = (-160.0, -55.0)
CLOSING_MM = 10.0
MEDIASTINUM_MM = 28.0  # nothing is added this near to the midline: spine, aorta, oesophagus, heart
GREAT_VESSELS_MM = 50.0  # nearer to the midline a rise of the mediastinal surface is aorta or heart
MAX_FROM_LATERAL_DEGREES = 65.0


@dataclass(frozen=True, eq=False)
class _Chest:
    """What both lungs share: coordinates, the expected pleura, and tissue that may be dense lung."""

    grid: CoarseGrid
    middle_i: float
    rays: Rays
    pleura: FloatMap
    tissue: BoolArray
    blocked: BoolArray
    smooth_hu: FloatVolume
    organ_hu: float


def fill_to_pleura(sides: Sides, grid: CoarseGrid, middle_i: float, blocked: BoolArray) -> Sides:
    """Add lung that holds no air: what lies between a lung's inner surface and the pleura, above the diaphragm.

    On every ray from the midline the lung begins once, at the mediastinum, and ends at the pleura. Rays whose lung ends
    well inside the rib cage, and rays without lung between rays with lung, are filled up to where healthy lung of the
    same scan ends. Below the base of the lung only tissue is added that is less dense than solid organs.

    Args:
        sides: 0 outside, 1 right, 2 left. Shape (I', J', K').
        grid: The coarse volume.
        middle_i: Midline, block index along i.
        blocked: Blocks that are never lung: airways, bowel, outside.

    Returns:
        As ``sides``, with dense lung added.
    """
    lung = sides > 0
    rays = rays_around(lung, grid, middle_i)
    outermost = rays.outermost(lung)
    pleura = pleura_radius(rib_radius(rays, grid, outermost), outermost)
    smooth = smooth_density(grid)
    tissue = _soft_tissue(lung, smooth, grid, middle_i) & ~blocked
    chest = _Chest(grid, middle_i, rays, pleura, tissue, blocked, smooth, organ_hu(grid))
    right, left = sides == RIGHT, sides == LEFT
    result = sides.copy()

    def dense_part(lung: tuple[int, BoolArray, BoolArray]) -> BoolArray:
        side, part, other = lung
        return _dense_part(chest, side, part, rays.innermost(other)[:, MIRRORED]) if part.any() else part

    both = ((RIGHT, right, left), (LEFT, left, right))
    for (side, _, _), added in zip(both, in_threads(dense_part, both), strict=True):
        result[added & (result == 0)] = side
    return result


def _soft_tissue(lung: BoolArray, smooth: FloatVolume, grid: CoarseGrid, middle_i: float) -> BoolArray:
    """Tissue that is neither fat nor bone, between the base and the top of the lungs."""
    height = np.arange(lung.shape[2])
    top = mirrored_maximum(apex_height(lung, grid), middle_i)
    between = (height > diaphragm_height(lung, grid)[:, :, None]) & (height < top[:, :, None])
    fat = (smooth > FAT_HU[0]) & (smooth < FAT_HU[1])
    fat &= ~dilated(lung, shape="box")  # beside lung this density is the blurred edge of lung
    fat = opened(fat)
    tissue: BoolArray = between & ~lung & (smooth < MAX_DENSE_HU) & ~fat
    return tissue


def _dense_part(chest: _Chest, side: int, part: BoolArray, other_inner: FloatMap) -> BoolArray:
    """What to add to one lung; ``other_inner`` is the inner surface of the other lung, mirrored."""
    rays, grid = chest.rays, chest.grid
    shown_inner = rays.innermost(part)
    inner = without_bumps(shown_inner, other_inner, grid)
    inner = np.maximum(inner, np.minimum(shown_inner, np.float32(GREAT_VESSELS_MM)))
    inner, outer = ray_limits(inner, rays.outermost(part), chest.pleura, top_of(other_inner, grid), grid)
    lateral = _lateral_rays(side)
    offset_mm = (np.arange(part.shape[0]) - chest.middle_i) * grid.spacing_mm[0] * (1 if side == RIGHT else -1)
    beside = (offset_mm > MEDIASTINUM_MM)[:, None, None] & lateral[rays.angle]
    added = chest.tissue & beside & (rays.radius_mm > rays.on_rays(inner)) & (rays.radius_mm <= rays.on_rays(outer))
    added &= dilated(opened(added), shape="box")  # not the one-block rim beside fat
    added = _touching(added, part)
    steps = grid.voxels_for_mm(CLOSING_MM)
    ragged = closed(part | added, steps) & ~closed(part, steps)  # rays end raggedly inside a dense mass
    added |= ragged & chest.tissue & beside & ~part
    inside_cage = rays.radius_mm <= rays.on_rays(np.nan_to_num(chest.pleura, nan=-np.inf))
    return added | less_dense_than_organs(
        chest.smooth_hu, chest.organ_hu, part | added, beside & ~chest.blocked & inside_cage
    )


def mirrored_maximum(height: NDArray[np.float32], middle_i: float) -> NDArray[np.float32]:
    """Both apices reach about as high: the larger of each column's height and that of its mirror image."""
    source = np.round(2 * middle_i - np.arange(height.shape[0])).astype(np.intp)
    inside = (source >= 0) & (source < height.shape[0])
    mirrored = np.where(inside[:, None], height[np.clip(source, 0, height.shape[0] - 1)], np.float32(-np.inf))
    return np.maximum(height, mirrored - np.float32(1.0)).astype(np.float32)


def _lateral_rays(side: int) -> NDArray[np.bool_]:
    """Rays that meet the costal surface of one lung, not breast bone or spine. Shape (NUM_ANGLES,)."""
    angle = (np.arange(NUM_ANGLES) + 0.5) * (360.0 / NUM_ANGLES) - 180.0  # 0 is the patient's right, 90 the front
    from_lateral = np.abs(angle) if side == RIGHT else 180.0 - np.abs(angle)
    lateral: NDArray[np.bool_] = from_lateral < MAX_FROM_LATERAL_DEGREES
    return lateral


def _touching(added: BoolArray, lung: BoolArray) -> BoolArray:
    """Parts of ``added`` that touch the lung."""
    labels, count = ndimage.label(added, structure=FACES)
    if count == 0:
        return added
    near = dilated(lung)
    keep = np.zeros(count + 1, dtype=bool)
    keep[np.unique(labels[near])] = True
    keep[0] = False
    touching: BoolArray = keep[labels]
    return touching
