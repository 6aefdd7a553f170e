"""What each bin of lung is: low attenuation, ground glass, consolidation, reticulation. Thresholds in HU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray
from data_pipeline.quantitative.bins import Bins

LOW_ATTENUATION_HU = -950.0  # emphysema index
GROUND_GLASS_HU = (-750.0, -300.0)
HIGH_ATTENUATION_HU = (-600.0, -250.0)
SOLID_HU = -300.0
VESSEL_MM = 7.0  # solid things thinner than this are vessels or lines, not consolidation
PATCH_MM = 5.0  # ground glass thinner than this is the blurred rim of a vessel
LINE_MM = 4.0  # lines are thinner than this
LINE_CONTRAST_HU = 110.0  # a line stands out this much from what surrounds it
MESH_MM = 16.0  # neighbourhood in which lines are counted, about one secondary lobule
MESH_SHARE = 0.22  # share of the neighbourhood that lines fill in reticulation; vessels alone fill less


@dataclass(frozen=True, eq=False)
class TissueClasses:
    """Masks over the bins; ground glass and consolidation exclude each other, reticulation may overlap ground glass."""

    low_attenuation: BoolArray
    high_attenuation: BoolArray
    ground_glass: BoolArray
    consolidation: BoolArray
    reticulation: BoolArray


def classify(bins: Bins) -> TissueClasses:
    """Class of every bin that is lung throughout."""
    inside, hu = bins.inside, bins.hu
    solid = inside & (hu > SOLID_HU)
    consolidation = open_in_mm(solid, VESSEL_MM, bins)
    dense = inside & (hu > GROUND_GLASS_HU[0])
    patch = open_in_mm(dense, PATCH_MM, bins)
    reticulation = _reticulation(bins, consolidation)
    return TissueClasses(
        low_attenuation=inside & (hu < LOW_ATTENUATION_HU),
        high_attenuation=inside & (hu >= HIGH_ATTENUATION_HU[0]) & (hu <= HIGH_ATTENUATION_HU[1]),
        ground_glass=patch & (hu <= GROUND_GLASS_HU[1]) & ~consolidation,
        consolidation=consolidation,
        reticulation=reticulation,
    )


def open_in_mm(mask: BoolArray, width_mm: float, bins: Bins) -> BoolArray:
    """Keep what a cube of ``width_mm`` fits into; along an axis of thick slices one slice is enough."""
    size = [max(1, round(width_mm / spacing)) for spacing in bins.spacing_mm]
    opened: BoolArray = ndimage.binary_opening(mask, structure=np.ones(size, dtype=bool))
    return opened


def _reticulation(bins: Bins, consolidation: BoolArray) -> BoolArray:
    """Bins whose neighbourhood is filled with thin lines in the axial plane."""
    size = [max(3, round(LINE_MM / spacing) | 1) for spacing in bins.spacing_mm[:2]]
    background = np.where(bins.inside, bins.hu, np.float32(-850.0))
    opened = ndimage.grey_opening(background, size=(*size, 1))
    lines = bins.inside & (background - opened > LINE_CONTRAST_HU) & ~consolidation
    window = [max(1, round(MESH_MM / spacing)) for spacing in bins.spacing_mm]
    filled = ndimage.uniform_filter(lines.astype(np.float32), window)
    lung = ndimage.uniform_filter(bins.inside.astype(np.float32), window)
    mesh: BoolArray = bins.inside & (filled > MESH_SHARE * np.maximum(lung, 0.1)) & ~consolidation
    return mesh
