"""What is wrong with a lung mask, on the coarse grid: leaks, holes, dense lung left out. For every source of masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from data_pipeline.lungs.candidates import FACES
from data_pipeline.lungs.chest_wall import NUM_ANGLES, pleura_radius, rays_around, rib_radius
from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid
from data_pipeline.lungs.holes import close_holes
from data_pipeline.lungs.morphology import dilated, opened
from data_pipeline.lungs.sides import BONE_HU, LEFT, RIGHT, Sides

FREE_GAS_HU = -965.0  # block means: lung, emphysema included, stays above; gas beside the lung does not
GAS_RIM_HU = -955.0  # beside a pool of gas
RIM_STEPS = 5
EMPHYSEMA_HU = -950.0
MAX_DARK_SHARE = 0.15  # where more of the lung is as dark, gas is not told from emphysema
MIN_FREE_GAS_ML = 60.0  # smaller pockets are bullae and bronchi
SHORTFALL_MM = 15.0  # lung that ends further than this inside the expected pleura is missing there
SKIP = 2
BASE_SHARE = 0.35  # of the height: lower down the diaphragm and not the pleura ends the lung
LATERAL_DEGREES = 55.0  # rays nearer to breast bone or spine end at the mediastinum


def free_gas(lung: BoolArray, grid: CoarseGrid) -> BoolArray:
    """Gas that is no lung inside a mask: pneumothorax, bowel, a bulla of more than ``MIN_FREE_GAS_ML``.

    Its blurred rim towards the chest wall, too thin to be lung, goes with it.
    """
    gas = opened(lung & (grid.hu < FREE_GAS_HU), outside=True)
    if np.count_nonzero(gas) * grid.voxel_ml < MIN_FREE_GAS_ML:
        return np.zeros_like(lung)
    labels, _ = ndimage.label(gas, structure=FACES)
    is_large = np.bincount(labels.ravel()) * grid.voxel_ml >= MIN_FREE_GAS_ML
    is_large[0] = False
    pool: BoolArray = is_large[labels]
    dark = lung & (grid.hu < EMPHYSEMA_HU) & ~pool
    if not pool.any() or np.count_nonzero(dark) > MAX_DARK_SHARE * np.count_nonzero(lung):
        return np.zeros_like(lung)
    pool = dilated(pool, RIM_STEPS, within=lung & (grid.hu < GAS_RIM_HU))
    rest = lung & ~pool
    thin = rest & ~dilated(opened(rest, outside=True))
    return pool | (thin & dilated(pool, 2, shape="box"))


def leaked_ml(sides: Sides, grid: CoarseGrid) -> float:
    """Gas and bone inside a mask, ml."""
    mask = sides > 0
    wrong = np.count_nonzero(free_gas(mask, grid)) + np.count_nonzero(opened(mask & (grid.hu > BONE_HU)))
    return float(wrong * grid.voxel_ml)


def holes_share(sides: Sides, grid: CoarseGrid) -> float:
    """Share of a mask that is enclosed by it and not part of it, 0..1."""
    size = int(np.count_nonzero(sides))
    filled = close_holes(sides, grid, np.zeros(sides.shape, dtype=np.bool_))
    return (int(np.count_nonzero(filled)) - size) / size if size else 0.0


def missed_share(sides: Sides, grid: CoarseGrid, middle_i: float) -> float:
    """Share of the lateral rays on which lung ends well inside the expected pleura, or is missing, 0..1.

    Only in slices in which most rays of that side show lung, above the diaphragm. Every second slice tells enough.
    """
    spacing = (*grid.spacing_mm[:2], SKIP * grid.spacing_mm[2])
    grid, sides = replace(grid, hu=grid.hu[:, :, ::SKIP], spacing_mm=spacing), sides[:, :, ::SKIP]
    lung = sides > 0
    if not lung.any():
        return 1.0
    rays = rays_around(lung, grid, middle_i)
    outermost = rays.outermost(lung)
    pleura = pleura_radius(rib_radius(rays, grid, outermost), outermost)
    angle = (np.arange(NUM_ANGLES) + 0.5) * (360.0 / NUM_ANGLES) - 180.0
    expected = missing = 0
    for side, from_lateral in ((RIGHT, np.abs(angle)), (LEFT, 180.0 - np.abs(angle))):
        lateral = from_lateral < LATERAL_DEGREES
        outer = rays.outermost(sides == side)[:, lateral]
        shown = np.isfinite(outer).mean(axis=1) > 0.5
        shown &= np.cumsum(shown) > BASE_SHARE * np.count_nonzero(shown)
        depth = (pleura[:, lateral] - np.nan_to_num(outer, nan=0.0))[shown]
        expected += int(np.isfinite(depth).sum())
        missing += int((depth > SHORTFALL_MM).sum())
    return missing / expected if expected else 0.0
