"""What each bin of lung is: low attenuation, ground glass, consolidation, reticulation. Thresholds in HU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, FloatVolume
from data_pipeline.quantitative.bins import Bins

LOW_ATTENUATION_HU = -950.0  # emphysema index
GROUND_GLASS_HU = (-700.0, -300.0)
RIM_MM = 4.0  # ground glass thinner than this is the blurred edge of consolidation or a vessel
HIGH_ATTENUATION_HU = (-600.0, -250.0)
SMOOTHING_MM = 1.5  # standard deviation; brings sharp and soft kernels, thin and thick slices nearer to each other
VESSEL_MM = 7.0  # bright structures thinner than this are vessels or lines, not ground glass or consolidation
OUTSIDE = np.float32(1e5)


@dataclass(frozen=True, eq=False)
class TissueClasses:
    """Masks over the bins; ground glass and consolidation exclude each other, reticulation may overlap ground glass.

    Attributes:
        smooth_hu: Smoothed density.
        background_hu: Smoothed density without thin bright structures; what the two dense classes are read from.
    """

    low_attenuation: BoolArray
    high_attenuation: BoolArray
    ground_glass: BoolArray
    consolidation: BoolArray
    smooth_hu: FloatVolume
    background_hu: FloatVolume


def classify(bins: Bins) -> TissueClasses:
    """Class of every bin that is lung throughout."""
    inside = bins.inside
    smooth = smooth_inside(bins)
    background = background_density(smooth, bins)
    return TissueClasses(
        low_attenuation=inside & (smooth < LOW_ATTENUATION_HU),
        high_attenuation=inside & (smooth >= HIGH_ATTENUATION_HU[0]) & (smooth <= HIGH_ATTENUATION_HU[1]),
        ground_glass=_without_rims(
            inside & (background > GROUND_GLASS_HU[0]) & (background <= GROUND_GLASS_HU[1]), bins
        ),
        consolidation=inside & (background > GROUND_GLASS_HU[1]),
        smooth_hu=smooth,
        background_hu=background,
    )


def _without_rims(mask: BoolArray, bins: Bins) -> BoolArray:
    size = [max(1, round(RIM_MM / spacing)) for spacing in bins.spacing_mm]
    opened: BoolArray = ndimage.binary_opening(mask, structure=np.ones(size, dtype=bool))
    return opened


def smooth_inside(bins: Bins) -> FloatVolume:
    """Gaussian mean over lung only, so that the chest wall does not brighten the pleura. float32, HU."""
    sigma = [SMOOTHING_MM / spacing for spacing in bins.spacing_mm]
    weight = bins.inside.astype(np.float32)
    total = ndimage.gaussian_filter(np.where(bins.inside, bins.hu, np.float32(0.0)), sigma, truncate=2.5)
    share = ndimage.gaussian_filter(weight, sigma, truncate=2.5)
    return np.asarray(total / np.maximum(share, np.float32(1e-3)), dtype=np.float32)


def background_density(smooth: FloatVolume, bins: Bins) -> FloatVolume:
    """Grey opening inside the lung: what is thinner than ``VESSEL_MM`` in any direction is levelled. float32, HU."""
    size = [max(1, round(VESSEL_MM / spacing)) for spacing in bins.spacing_mm]
    low = ndimage.minimum_filter(np.where(bins.inside, smooth, OUTSIDE), size)
    opened = ndimage.maximum_filter(np.where(bins.inside, low, -OUTSIDE), size)
    return np.minimum(np.asarray(opened, dtype=np.float32), smooth)
