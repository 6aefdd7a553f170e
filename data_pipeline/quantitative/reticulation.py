"""Reticulation: lung whose neighbourhood is filled with thin bright lines in the axial plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, block_mean
from data_pipeline.quantitative.bins import Bins
from data_pipeline.quantitative.tissue_classes import TissueClasses

LINE_MM = 4.5  # lines are thinner than this
MIN_CONTRAST_HU = 90.0  # a line stands out at least this much from what surrounds it
NOISE_FACTOR = 3.0  # and at least this many standard deviations of the noise
NORMAL_HU = -750.0  # noise is read from lung below this
MESH_MM = 15.0  # neighbourhood in which lines are counted: about one secondary lobule
MESH_SHARE = 0.20  # share of the neighbourhood that lines fill in reticulation; vessels alone fill less
DENSE_HU = -400.0  # smoothed density of vessels and consolidation, whose edges are no lines
MIN_COUNTABLE = 0.2  # least share of the neighbourhood that is countable
SAMPLE = 200_000  # pixels that suffice for a median
MAD_TO_SD = 1.4826  # median absolute deviation to standard deviation of Gaussian noise


def reticulation(voxels: NDArray[np.int16], bins: Bins, tissue: TissueClasses) -> BoolArray:
    """Bins of reticulation.

    Args:
        voxels: HU inside the box of the lungs. Shape (I, J, K).
        bins: The same box, binned.
        tissue: Densities of the bins.

    Returns:
        Shape of the bins.
    """
    halves = (2 if bins.factors[0] > 1 else 1, 2 if bins.factors[1] > 1 else 1)
    fine_factors = (bins.factors[0] // halves[0], bins.factors[1] // halves[1], bins.factors[2])
    fine = block_mean(voxels, fine_factors)[: bins.hu.shape[0] * halves[0], : bins.hu.shape[1] * halves[1]]
    background = tissue.background_hu.repeat(halves[0], axis=0).repeat(halves[1], axis=1)
    contrast = fine - np.maximum(background, np.float32(-1000.0))
    countable = bins.inside & ~ndimage.binary_dilation(tissue.smooth_hu > DENSE_HU, structure=np.ones((3, 3, 3)))
    inside = countable.repeat(halves[0], axis=0).repeat(halves[1], axis=1)
    lines = (contrast > _line_contrast(contrast[inside & (background < NORMAL_HU)])) & inside
    halved = (bins.hu.shape[0], halves[0], bins.hu.shape[1], halves[1], bins.hu.shape[2])
    share = lines.reshape(halved).mean(axis=(1, 3), dtype=np.float32)
    window = [max(1, round(MESH_MM / spacing)) for spacing in bins.spacing_mm]
    filled = ndimage.uniform_filter(share, window)
    lung = ndimage.uniform_filter(countable.astype(np.float32), window)
    mesh: BoolArray = bins.inside & (filled > MESH_SHARE * np.maximum(lung, np.float32(MIN_COUNTABLE)))
    return mesh & ~tissue.consolidation


def _line_contrast(calm: NDArray[np.float32]) -> float:
    """Contrast above which a pixel is a line, HU, from the spread of pixels in normal lung."""
    if not calm.size:
        return MIN_CONTRAST_HU
    calm = calm[:: max(1, calm.size // SAMPLE)]
    middle = float(np.median(calm))
    noise_hu = MAD_TO_SD * float(np.median(np.abs(calm - middle)))
    return middle + max(MIN_CONTRAST_HU, NOISE_FACTOR * noise_hu)
