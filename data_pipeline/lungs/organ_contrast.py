"""Dense lung told from liver, heart and muscle by its density: some air is left in most of it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid, FloatVolume
from data_pipeline.lungs.morphology import dilated, opened

ORGAN_RANGE_HU = (-20.0, 120.0)  # the commonest density in this range is that of muscle, blood and liver
CONTRAST_HU = 24.0  # consolidation and fluid lie this far below it, or are not told apart
LOWEST_HU = -60.0  # below is fat
SMOOTHING_MM = 3.0  # block noise falls to a few HU
THICKNESS_BLOCKS = 2  # thinner layers are the blurred edge between lung, fat and organ
REACH_BLOCKS = 10  # about 30 mm from lung that is known


def organ_hu(grid: CoarseGrid) -> float:
    """Commonest soft-tissue density of the scan, HU."""
    counts, edges = np.histogram(grid.hu, bins=np.arange(ORGAN_RANGE_HU[0], ORGAN_RANGE_HU[1] + 1.0, 4.0))
    smooth = ndimage.uniform_filter1d(counts.astype(np.float64), 3)
    return float(edges[int(smooth.argmax())] + 2.0)


def smooth_density(grid: CoarseGrid) -> FloatVolume:
    """Density without the noise of single blocks, HU."""
    sigma = [SMOOTHING_MM / spacing for spacing in grid.spacing_mm]
    return np.asarray(ndimage.gaussian_filter(grid.hu, sigma, truncate=2.5))


def less_dense_than_organs(smooth: FloatVolume, organ: float, lung: BoolArray, allowed: BoolArray) -> BoolArray:
    """Tissue next to the lung that is clearly less dense than solid organs and denser than fat.

    Args:
        smooth: From ``smooth_density``. Shape (I', J', K').
        organ: From ``organ_hu``.
        lung: Lung known so far. Same shape.
        allowed: Where lung may be: inside the rib cage, beside the mediastinum.

    Returns:
        Blocks to add, connected to the lung.
    """
    softer = (smooth < organ - CONTRAST_HU) & (smooth > LOWEST_HU) & allowed & ~lung
    softer = opened(softer, THICKNESS_BLOCKS)
    return dilated(lung, REACH_BLOCKS, within=softer) & ~lung
