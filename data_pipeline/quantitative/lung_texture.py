"""Density and line contrast of the lung at one resolution, whatever kernel and slice thickness a scan was made with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, FloatVolume
from data_pipeline.quantitative.bins import Bins
from data_pipeline.quantitative.local_means import CELL, box_sums, cell_sums, radius_for, spread_to_bins
from data_pipeline.threads import in_threads

SPREAD_MM = 1.2  # standard deviation in the plane that every scan is brought to: that of a soft kernel, smoothed a little
MIN_SMOOTHING_MM = 0.2
SLAB_MM = 3.0  # slice thickness that thinner scans are averaged to
BACKGROUND_MM = 9.0  # neighbourhood of lines and vessels: wider than a mesh of 3-8 mm
LOBULE_MM = 15.0  # neighbourhood in which lines are counted: a secondary lobule is 10-25 mm
LOBULE_HEIGHT_MM = 6.0
VESSEL_HU = 150.0  # contrast of vessels thicker than about 1.5 mm; lines of reticulation stay below
LINE_LIMIT_HU = 80.0  # a bin counts at most this much, so that few strong edges do not look like many lines
USUAL_CONTRAST_HU = 40.0  # stronger contrasts do not move the background further
EDGE_STEPS = 4  # bins around consolidation that belong to its edge, about 6 mm
NOISE_PERCENTILE = 5.0  # the calmest lung of a scan shows its noise
MAX_NOISE_HU = 30.0  # more is texture: in some scans no lung is calm


@dataclass(frozen=True, eq=False)
class LungTexture:
    """What the classes are read from.

    Attributes:
        density_hu: Density at ``SPREAD_MM`` and ``SLAB_MM``, over lung only. Shape of the bins.
        background_hu: Commonest density within ``BACKGROUND_MM``: the lung between vessels and lines. Cells.
        line_hu: Root mean square contrast of thin structures within a lobule, vessels and noise taken away. Cells.
        num_bins: Bins of lung in each cell.
    """

    density_hu: FloatVolume
    background_hu: FloatVolume
    line_hu: FloatVolume
    num_bins: FloatVolume


def lung_texture(bins: Bins, density: FloatVolume, dense: BoolArray) -> LungTexture:
    """Texture of the lungs of one scan.

    Args:
        bins: The lungs.
        density: From ``density_inside``.
        dense: Consolidated bins; their edges are no lines.
    """
    weight = bins.inside.astype(np.float32)
    near = (*(radius_for(BACKGROUND_MM, CELL * step) for step in bins.spacing_mm[:2]), 0)
    num_bins = cell_sums(weight)
    mean = _ratio(box_sums(cell_sums(density * weight), near), box_sums(num_bins, near))
    contrast = density - spread_to_bins(mean, density.shape)
    counted = weight * ~_wider(contrast > VESSEL_HU) * ~_wider(dense, EDGE_STEPS)
    level = _ratio(box_sums(cell_sums(density * counted), near), box_sums(cell_sums(counted), near))
    level = np.where(level == 0, mean, level)
    contrast = density - spread_to_bins(level, density.shape)
    contrast *= counted
    usual = np.clip(contrast, -USUAL_CONTRAST_HU, USUAL_CONTRAST_HU)
    background = level + _ratio(box_sums(cell_sums(usual), near), box_sums(cell_sums(counted), near))
    return LungTexture(density, background, line_contrast(contrast, counted, bins), num_bins)


def density_inside(bins: Bins, blur_mm2: float) -> FloatVolume:
    """Density over lung only, smoothed to the common resolution. float32, HU, 0 away from lung."""
    in_plane = [max(SPREAD_MM**2 - blur_mm2 - step**2 / 12, MIN_SMOOTHING_MM**2) for step in bins.spacing_mm[:2]]
    along = max(SLAB_MM**2 - bins.spacing_mm[2] ** 2, 0.0) / 12
    sigma = [float(np.sqrt(value)) / step for value, step in zip([*in_plane, along], bins.spacing_mm, strict=True)]
    weight = bins.inside.astype(np.float32)
    total, share = in_threads(
        lambda values: ndimage.gaussian_filter(values, sigma, truncate=2.5, mode="constant"), [bins.hu * weight, weight]
    )
    total /= np.maximum(share, np.float32(1e-3))
    return np.asarray(total)


def line_contrast(contrast: FloatVolume, counted: FloatVolume, bins: Bins) -> FloatVolume:
    """Root mean square contrast within a lobule, above that of the calmest lung of the scan. Cells, HU."""
    step_mm = (CELL * bins.spacing_mm[0], CELL * bins.spacing_mm[1], bins.spacing_mm[2])
    widths = (LOBULE_MM, LOBULE_MM, LOBULE_HEIGHT_MM)
    lobule = tuple(radius_for(width, step) for width, step in zip(widths, step_mm, strict=True))
    squared = np.minimum(contrast * contrast, np.float32(LINE_LIMIT_HU**2))
    num_counted = box_sums(cell_sums(counted), (lobule[0], lobule[1], lobule[2]))
    power = _ratio(box_sums(cell_sums(squared), (lobule[0], lobule[1], lobule[2])), num_counted)
    known = power[num_counted > 0]
    noise = min(float(np.percentile(known, NOISE_PERCENTILE)), MAX_NOISE_HU**2) if known.size else 0.0
    return np.sqrt(np.maximum(power - np.float32(noise), 0))


def _ratio(total: FloatVolume, count: FloatVolume) -> FloatVolume:
    """total / count, 0 where nothing was counted."""
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def _wider(mask: BoolArray, steps: int = 1) -> BoolArray:
    """A mask grown by ``steps`` bins along i and j."""
    for _ in range(steps):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask
