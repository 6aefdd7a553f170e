"""What each bin of lung is: low and high attenuation, ground glass, consolidation, reticulation, honeycombing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, FloatVolume
from data_pipeline.lungs.morphology import dilated
from data_pipeline.quantitative.bins import Bins
from data_pipeline.quantitative.local_means import CELL, box_sums, cell_sums, radius_for, spread_to_bins
from data_pipeline.quantitative.lung_texture import LOBULE_HEIGHT_MM, LOBULE_MM, LungTexture, density_inside, lung_texture

LOW_ATTENUATION_HU = -950.0  # emphysema index
HIGH_ATTENUATION_HU = (-600.0, -250.0)
GROUND_GLASS_HU = -700.0  # between normal dependent lung and consolidation
LINES_ADD = 3.0  # times their contrast lines of a mesh raise the lung between them at this resolution, on phantoms
CONSOLIDATION_HU = -300.0  # half-way from aerated lung to soft tissue and above
VESSEL_MM = 7.0  # dense structures thinner than this in the plane are vessels
REGROWTH_STEPS = 2  # bins from the core of a consolidation back to its edge
LINE_HU = 38.0  # line contrast of reticulation; vessels and noise are taken away before
UNEVEN_SHARE = 0.02  # of its excess density: ground glass is itself uneven
RAISED_HU = 50.0  # between its lines reticulated lung is denser than the calm lung of the scan by at least this much
HONEYCOMB_HU = 40.0  # line contrast of the walls of honeycombing
CALM_PERCENTILE = 25.0  # of the background: lung that disease has spared, in most patients
MAX_CALM_HU = -785.0  # denser lung is not calm
CYST_HU = -50.0  # cysts are darker than the calm lung by this much
MIN_CYST_SHARE = 0.04  # of a lobule


@dataclass(frozen=True, eq=False)
class TissueClasses:
    """Masks over the bins. Consolidation, reticulation and honeycombing exclude each other; ground glass may lie
    between the lines of reticulation.
    """

    low_attenuation: BoolArray
    high_attenuation: BoolArray
    ground_glass: BoolArray
    consolidation: BoolArray
    reticulation: BoolArray
    honeycombing: BoolArray


def classify(bins: Bins, blur_mm2: float) -> TissueClasses:
    """Class of every bin that is lung throughout.

    Args:
        bins: The lungs.
        blur_mm2: From ``sharpness.blur_variance_mm2``.
    """
    inside, density = bins.inside, density_inside(bins, blur_mm2)
    consolidation = dense_foci(bins, density)
    texture = lung_texture(bins, density, consolidation)
    calm = calm_hu(texture)
    excess = texture.background_hu - np.float32(calm + RAISED_HU)
    honeycombs = (texture.line_hu > HONEYCOMB_HU) & (cyst_share(bins, texture, calm + CYST_HU) > MIN_CYST_SHARE)
    meshed = (excess > 0) & (texture.line_hu > LINE_HU + UNEVEN_SHARE * excess) & ~honeycombs
    between_lines = texture.background_hu - np.where(meshed, np.float32(LINES_ADD) * texture.line_hu, np.float32(0.0))
    hazy = (between_lines > GROUND_GLASS_HU) & ~honeycombs
    free = inside & ~consolidation
    return TissueClasses(
        low_attenuation=inside & (density < LOW_ATTENUATION_HU),
        high_attenuation=inside & (density >= HIGH_ATTENUATION_HU[0]) & (density <= HIGH_ATTENUATION_HU[1]),
        ground_glass=free & spread_to_bins(hazy, density.shape),
        consolidation=consolidation,
        reticulation=free & spread_to_bins(meshed, density.shape),
        honeycombing=free & spread_to_bins(honeycombs, density.shape),
    )


def calm_hu(texture: LungTexture) -> float:
    """Density between the vessels of the part of the lung that disease has spared, HU."""
    known = texture.background_hu[texture.num_bins >= CELL]
    return min(float(np.percentile(known, CALM_PERCENTILE)), MAX_CALM_HU) if known.size else MAX_CALM_HU


def dense_foci(bins: Bins, density: FloatVolume) -> BoolArray:
    """Consolidation: dense lung that is no vessel. Its core is thicker than ``VESSEL_MM`` in the plane."""
    dense = bins.inside & (density > CONSOLIDATION_HU)
    size = [max(1, round(VESSEL_MM / step)) for step in bins.spacing_mm[:2]]
    solid = (dense | ~bins.inside).view(np.uint8)  # the pleura is no edge of a focus
    core = dense & (ndimage.grey_opening(solid, size=(*size, 1)) > 0)
    return dilated(core, REGROWTH_STEPS, shape="plane", within=dense)


def cyst_share(bins: Bins, texture: LungTexture, below_hu: float) -> FloatVolume:
    """Share of each lobule that is darker than ``below_hu``. Cells, 0..1."""
    step_mm = (CELL * bins.spacing_mm[0], CELL * bins.spacing_mm[1], bins.spacing_mm[2])
    widths = (LOBULE_MM, LOBULE_MM, LOBULE_HEIGHT_MM)
    radius = [radius_for(width, step) for width, step in zip(widths, step_mm, strict=True)]
    dark = (bins.inside & (texture.density_hu < below_hu)).astype(np.float32)
    count = box_sums(texture.num_bins, (radius[0], radius[1], radius[2]))
    return box_sums(cell_sums(dark), (radius[0], radius[1], radius[2])) / np.maximum(count, np.float32(1.0))
