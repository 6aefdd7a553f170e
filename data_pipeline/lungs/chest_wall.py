"""The lung's outer limits where the lung itself shows none: rib cage around, diaphragm below, apex above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid, FloatVolume

NUM_ANGLES = 180  # rays per slice, two degrees apart: 4-5 mm at the chest wall
RIB_HU = 180.0
MIN_RIB_RADIUS_SHARE = 0.6  # bone nearer to the centre than this share of the lung's outer radius is no rib
INTERCOSTAL_DEGREES = 18.0  # window that bridges the space between ribs, around and
INTERCOSTAL_MM = 36.0  # along the body: ribs are 25-30 mm apart
HEALTHY_GAP_MM = 8.0  # pleura, fat and muscle between lung and ribs where a scan itself does not tell
USUAL_GAP_PERCENTILE = 30.0
MIN_RAYS_FOR_GAP = 8  # slices that show lung on a ray before its gap is believed
NO_LUNG = 10_000.0  # height, blocks, of columns without lung
DIAPHRAGM_WINDOW_MM = 64.0  # what rises above the base in a narrower place is dense lung, not diaphragm

MIRRORED = (NUM_ANGLES // 2 - 1 - np.arange(NUM_ANGLES)) % NUM_ANGLES  # the ray at -x for the ray at x

FloatMap = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Rays:
    """Polar coordinates of every block around a centre that follows the midline from slice to slice.

    Attributes:
        angle: Bin of the ray through a block, 0..NUM_ANGLES - 1. Shape (I', J', K'), int16.
        radius_mm: Distance to the centre of its slice, mm, float32.
        ray: Index of a block's ray in a flattened map (K', NUM_ANGLES), int32.
    """

    angle: NDArray[np.int16]
    radius_mm: FloatVolume
    ray: NDArray[np.int32]

    def outermost(self, mask: BoolArray) -> FloatMap:
        """Largest radius of the mask on each ray, NaN where there is none. Shape (K', NUM_ANGLES)."""
        return self._extreme(mask, np.maximum, -np.inf)

    def innermost(self, mask: BoolArray) -> FloatMap:
        """Smallest radius of the mask on each ray, NaN where there is none. Shape (K', NUM_ANGLES)."""
        return self._extreme(mask, np.minimum, np.inf)

    def _extreme(self, mask: BoolArray, pick: np.ufunc, start: float) -> FloatMap:
        result = np.full(mask.shape[2] * NUM_ANGLES, start, dtype=np.float32)
        pick.at(result, self.ray[mask], self.radius_mm[mask])
        result[~np.isfinite(result)] = np.nan
        return result.reshape(mask.shape[2], NUM_ANGLES)

    def on_rays(self, values: NDArray[np.float32] | NDArray[np.bool_]) -> NDArray[np.float32]:
        """A map (K', NUM_ANGLES) spread back over the blocks."""
        return np.take(values.astype(np.float32).reshape(-1), self.ray)


def rays_around(lung: BoolArray, grid: CoarseGrid, middle_i: float) -> Rays:
    """Rays from the middle between the lungs, slice by slice.

    Args:
        lung: Both lungs. Shape (I', J', K').
        grid: The coarse volume.
        middle_i: Midline, block index along i.
    """
    weight = lung.sum(axis=(0, 1)).astype(np.float64)
    j = np.arange(lung.shape[1], dtype=np.float64)
    moment = (lung.sum(axis=0) * j[:, None]).sum(axis=0)
    sigma = 15.0 / grid.spacing_mm[2]
    centre_j = ndimage.gaussian_filter1d(moment, sigma) / np.maximum(ndimage.gaussian_filter1d(weight, sigma), 1e-9)
    i = np.arange(lung.shape[0], dtype=np.float64)
    x = ((i - middle_i) * grid.spacing_mm[0]).astype(np.float32)[:, None, None]
    y = ((j[:, None] - centre_j[None, :]) * grid.spacing_mm[1]).astype(np.float32)[None]
    angle = np.arctan2(np.broadcast_to(y, lung.shape), np.broadcast_to(x, lung.shape))
    bins = ((angle + np.pi) * (NUM_ANGLES / (2 * np.pi))).astype(np.int16) % NUM_ANGLES
    ray = bins + np.arange(lung.shape[2], dtype=np.int32) * np.int32(NUM_ANGLES)
    return Rays(bins, np.sqrt(x * x + y * y), ray)


def rib_radius(rays: Rays, grid: CoarseGrid, lung_outer_mm: FloatMap) -> FloatMap:
    """Radius of the rib cage's inner surface on each ray, bridged between ribs; NaN where no rib is near.

    Args:
        rays: Around the midline.
        grid: The coarse volume.
        lung_outer_mm: Outermost lung on each ray. Shape (K', NUM_ANGLES).
    """
    typical = float(np.nanpercentile(lung_outer_mm, 75)) if np.isfinite(lung_outer_mm).any() else 0.0
    reference = np.where(np.isfinite(lung_outer_mm), lung_outer_mm, np.float32(MIN_RIB_RADIUS_SHARE * typical))
    far_enough = rays.radius_mm > MIN_RIB_RADIUS_SHARE * rays.on_rays(reference.astype(np.float32))
    bone = rays.innermost((grid.hu > RIB_HU) & far_enough)
    window = (
        max(3, round(INTERCOSTAL_MM / grid.spacing_mm[2])),
        max(3, round(INTERCOSTAL_DEGREES * NUM_ANGLES / 360.0)),
    )
    high = np.where(np.isnan(bone), np.float32(1e4), bone)
    cage = ndimage.grey_opening(high, size=window, mode=("nearest", "wrap"))
    return np.where(cage < 9e3, cage, np.float32(np.nan)).astype(np.float32)


def pleura_radius(cage_mm: FloatMap, lung_outer_mm: FloatMap) -> FloatMap:
    """Where lung should end: the rib cage less the gap that the healthier lung on the same rays keeps from it.

    Beside breast bone and spine lung keeps further away than at the side; the usual gap is therefore taken ray by ray,
    over the height of the lung, as a low percentile, so that dense lung in part of the height does not widen it.
    """
    gap = np.where(cage_mm - lung_outer_mm > -2.0, cage_mm - lung_outer_mm, np.nan)
    known = np.isfinite(gap).sum(axis=0) >= MIN_RAYS_FOR_GAP
    usual = np.full(NUM_ANGLES, np.nan, dtype=np.float32)
    if known.any():
        usual[known] = np.nanpercentile(gap[:, known], USUAL_GAP_PERCENTILE, axis=0)
    typical = float(np.nanmedian(usual)) if known.any() else HEALTHY_GAP_MM / 2
    usual = np.fmin(usual, usual[MIRRORED])  # the better lung of the two tells
    known = np.isfinite(usual)
    smooth = ndimage.median_filter(np.where(known, usual, np.float32(typical)), size=7, mode="wrap")
    return np.asarray(cage_mm - smooth[None, :], dtype=np.float32)


def diaphragm_height(lung: BoolArray, grid: CoarseGrid) -> NDArray[np.float32]:
    """Lowest lung of each column, with narrow rises levelled: there the base is dense lung. Shape (I', J'), blocks.

    The dome of the diaphragm is wider than the window, consolidation on it usually is not.
    """
    height = np.full(lung.shape[:2], NO_LUNG, dtype=np.float32)
    has_lung = np.asarray(lung.any(axis=2))
    boxes = ndimage.find_objects(has_lung.view(np.uint8))
    if boxes:
        rows, columns = boxes[0]
        height[rows, columns] = _levelled_base(lung[rows, columns], has_lung[rows, columns], grid)
    return height


def _levelled_base(lung: BoolArray, has_lung: NDArray[np.bool_], grid: CoarseGrid) -> NDArray[np.float32]:
    """As ``diaphragm_height``, inside the box of both lungs."""
    lowest = np.where(has_lung, lung.argmax(axis=2), NO_LUNG).astype(np.float32)
    size = [max(3, round(DIAPHRAGM_WINDOW_MM / spacing) | 1) for spacing in grid.spacing_mm[:2]]
    cap = _cap(size, grid.spacing_mm)
    disc = np.isfinite(cap)
    shape = np.where(disc, cap, 0.0)
    eroded = ndimage.grey_erosion(lowest, footprint=disc, structure=shape, mode="constant", cval=NO_LUNG)
    eroded[~has_lung] = -NO_LUNG  # columns without lung know nothing of the diaphragm
    levelled = ndimage.grey_dilation(eroded, footprint=disc, structure=shape, mode="constant", cval=-NO_LUNG)
    return np.where(levelled < -0.9 * NO_LUNG, np.float32(NO_LUNG), levelled).astype(np.float32)


def apex_height(lung: BoolArray, grid: CoarseGrid) -> NDArray[np.float32]:
    """Highest lung of each column, with narrow dips levelled. Shape (I', J'), blocks."""
    height = np.float32(lung.shape[2] - 1) - diaphragm_height(lung[:, :, ::-1], grid)
    return height.astype(np.float32)


def _cap(size: list[int], spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Top of a ball of the dome's curvature, in blocks of height; minus infinity outside its disc."""
    dome_radius_mm = 90.0  # radius of curvature of an adult dome, 70-110 mm
    half = [(count - 1) / 2 for count in size]
    x = (np.arange(size[0]) - half[0]) * spacing_mm[0]
    y = (np.arange(size[1]) - half[1]) * spacing_mm[1]
    squared = x[:, None] ** 2 + y[None, :] ** 2
    cap = (np.sqrt(np.maximum(dome_radius_mm**2 - squared, 0.0)) - dome_radius_mm) / spacing_mm[2]
    return np.where(squared <= (DIAPHRAGM_WINDOW_MM / 2) ** 2 + 1.0, cap, -np.inf)
