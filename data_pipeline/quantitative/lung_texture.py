"""Density and line contrast of the lung at one resolution, whatever kernel and slice thickness a scan was made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, FloatVolume
from data_pipeline.quantitative.bins import Bins
from data_pipeline.quantitative.local_means import box_sums, cell_sums, radius_for, spread_to_bins

SPREAD_MM = 1.2  # standard deviation in the plane that every scan is brought to: a soft kernel, smoothed a little
MIN_SMOOTHING_MM = 0.2
SLAB_MM = 3.0  # slice thickness that thinner scans are averaged to
BACKGROUND_MM = 9.0  # neighbourhood of lines and vessels: wider than a mesh of 3-8 mm
LOBULE_MM = (15.0, 15.0, 6.0)  # neighbourhood in which lines are counted: a secondary lobule is 10-25 mm
VESSEL_HU = 150.0  # contrast of vessels thicker than about 1.5 mm; lines of reticulation stay below
LINE_LIMIT_HU = 80.0  # a bin counts at most this much, so that few strong edges do not look like many lines
USUAL_CONTRAST_HU = 40.0  # stronger contrasts do not move the background further
VESSEL_RIM_MM = 1.5  # blurred edge of a vessel and
EDGE_MM = 6.0  # of consolidation: no lines
MIN_SHOWN = 0.15  # of the lung within ``BACKGROUND_MM``; less is seen where vessels lie close together
NOISE_PERCENTILE = 5.0  # the calmest lung of a scan shows its noise
MAX_NOISE_HU = 30.0  # more is texture: in some scans no lung is calm
CALM_PERCENTILE = 25.0  # of the background: lung that disease has spared, in most patients
MAX_CALM_HU = -785.0  # denser lung is not calm


@dataclass(frozen=True, eq=False)
class LungTexture:
    """What the classes of one lung are read from. Cells are ``Bins.cell`` by ``Bins.cell`` bins.

    Attributes:
        density_hu: Density at ``SPREAD_MM`` and ``SLAB_MM``, over lung only. Shape of the bins.
        dense: Consolidated bins. Same shape.
        background_hu: Commonest density within ``BACKGROUND_MM``: the lung between vessels and lines. Cells.
        line_power: Mean square contrast of thin structures within a lobule, without vessels, noise included. Cells,
            HU squared; NaN where nothing but vessels is.
        num_bins: Bins of lung in each cell.
        is_shown: Cells around which enough lung lies between the vessels to tell haze and lines.
    """

    density_hu: FloatVolume
    dense: BoolArray
    background_hu: FloatVolume
    line_power: FloatVolume
    num_bins: FloatVolume
    is_shown: BoolArray


def density_inside(lung: Bins, blur_mm2: float) -> FloatVolume:
    """Density over lung only, smoothed to the common resolution. float32, HU, 0 away from lung."""
    in_plane = [max(SPREAD_MM**2 - blur_mm2 - step**2 / 12, MIN_SMOOTHING_MM**2) for step in lung.spacing_mm[:2]]
    along = max(SLAB_MM**2 - lung.spacing_mm[2] ** 2, 0.0) / 12
    sigma = [float(np.sqrt(value)) / step for value, step in zip([*in_plane, along], lung.spacing_mm, strict=True)]
    weight = lung.inside.astype(np.float32)
    total = ndimage.gaussian_filter(lung.hu * weight, sigma, truncate=2.5, mode="constant")
    share = ndimage.gaussian_filter(weight, sigma, truncate=2.5, mode="constant", output=weight)
    np.maximum(share, np.float32(1e-3), out=share)
    total /= share
    return np.asarray(total, dtype=np.float32)


def lung_texture(lung: Bins, density: FloatVolume, dense: BoolArray) -> LungTexture:
    """Texture of one lung.

    Args:
        lung: Its bins.
        density: From ``density_inside``.
        dense: Consolidated bins; their edges are no lines.
    """
    weight = lung.inside.astype(np.float32)
    near_i, near_j = (radius_for(BACKGROUND_MM, lung.cell * step) for step in lung.spacing_mm[:2])
    near = (near_i, near_j, 0)
    num_bins = cell_sums(weight, lung.cell)
    near_bins = box_sums(num_bins, near)
    mean = _ratio(box_sums(cell_sums(density * weight, lung.cell), near), near_bins)
    contrast = density - spread_to_bins(mean, density.shape, lung.cell)
    weight[_wider(contrast > VESSEL_HU, max(1, round(VESSEL_RIM_MM / lung.spacing_mm[0])))] = 0.0
    weight[_wider(dense, round(EDGE_MM / lung.spacing_mm[0]))] = 0.0
    num_counted = cell_sums(weight, lung.cell)
    near_counted = box_sums(num_counted, near)
    level = _ratio(box_sums(cell_sums(density * weight, lung.cell), near), near_counted)
    level = np.where(near_counted > 0, level, mean)
    np.subtract(density, spread_to_bins(level, density.shape, lung.cell), out=contrast)
    contrast *= weight
    np.clip(contrast, -LINE_LIMIT_HU, LINE_LIMIT_HU, out=contrast)
    lobule = _lobule(lung)
    power = _ratio(box_sums(cell_sums(contrast * contrast, lung.cell), lobule), box_sums(num_counted, lobule), np.nan)
    np.clip(contrast, -USUAL_CONTRAST_HU, USUAL_CONTRAST_HU, out=contrast)
    level += _ratio(box_sums(cell_sums(contrast, lung.cell), near), near_counted)
    return LungTexture(density, dense, level, power, num_bins, near_counted > MIN_SHOWN * near_bins)


def noise_power(lungs: Sequence[LungTexture]) -> float:
    """Mean square noise of a scan at the common resolution, HU squared: line power of its calmest lung, limited."""
    power = np.concatenate([lung.line_power[(lung.num_bins > 0) & np.isfinite(lung.line_power)] for lung in lungs])
    return min(float(np.percentile(power, NOISE_PERCENTILE)), MAX_NOISE_HU**2) if power.size else 0.0


def calm_density_hu(lungs: Sequence[LungTexture]) -> float:
    """Density between the vessels of the part of both lungs that disease has spared, HU."""
    known = np.concatenate([lung.background_hu[lung.num_bins > 0] for lung in lungs])
    return min(float(np.percentile(known, CALM_PERCENTILE)), MAX_CALM_HU) if known.size else MAX_CALM_HU


def line_contrast(texture: LungTexture, noise: float) -> FloatVolume:
    """Root mean square contrast of lines within a lobule, without ``noise``. Cells, HU, 0 where it is unknown."""
    power = np.nan_to_num(texture.line_power, nan=0.0)
    return np.asarray(np.sqrt(np.maximum(power - np.float32(noise), np.float32(0.0))))


def share_in_lobule(mask: BoolArray, lung: Bins, texture: LungTexture) -> FloatVolume:
    """Share of the lung of each lobule that is in a mask of bins. Cells, 0..1."""
    lobule = _lobule(lung)
    part = box_sums(cell_sums((mask & lung.inside).astype(np.float32), lung.cell), lobule)
    return _ratio(part, box_sums(texture.num_bins, lobule))


def _lobule(lung: Bins) -> tuple[int, int, int]:
    """Half the size of a lobule, in cells."""
    step_mm = (lung.cell * lung.spacing_mm[0], lung.cell * lung.spacing_mm[1], lung.spacing_mm[2])
    radius = [radius_for(width, step) for width, step in zip(LOBULE_MM, step_mm, strict=True)]
    return radius[0], radius[1], radius[2]


def _ratio(total: FloatVolume, count: FloatVolume, unknown: float = 0.0) -> FloatVolume:
    """Quotient, ``unknown`` where nothing was counted."""
    return np.divide(total, count, out=np.full_like(total, unknown), where=count > 0)


def _wider(mask: BoolArray, steps: int) -> BoolArray:
    """A mask grown by ``steps`` bins along i and j, without corners."""
    for _ in range(steps if mask.any() else 0):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask
