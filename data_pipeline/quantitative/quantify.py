"""The table of quantitative CT of one scan."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, Spacing
from data_pipeline.quantitative.bins import Bins, bin_lungs, box_of
from data_pipeline.quantitative.reticulation import reticulation
from data_pipeline.quantitative.tissue_classes import classify
from data_pipeline.quantitative.zones import (
    BEYOND_SUBPLEURAL_MM,
    LEVELS,
    PERIPHERAL_MM,
    SUBPLEURAL_MM,
    Zones,
    find_zones,
)

MIN_EXTENT_ML = 2.0  # shares of less disease than this are noise and are left unknown

Table = dict[str, float]


def quantify(voxels: NDArray[np.int16], labels: NDArray[np.uint8], spacing_mm: Spacing) -> Table:
    """Measure the lungs of one scan.

    Args:
        voxels: HU, RAS order. Shape (I, J, K).
        labels: 0 outside, 1 right lung, 2 left lung. Same shape.
        spacing_mm: Spacing along i, j, k, mm.

    Returns:
        Name -> value; the unit is in the name; NaN where a quantity is not defined (a share of no disease).
    """
    box = box_of(labels)
    voxels, labels = voxels[box], labels[box]
    bins = bin_lungs(voxels, labels, spacing_mm)
    if not bins.inside.any():
        return {}
    tissue, zones = classify(bins), find_zones(bins)
    mesh = reticulation(voxels, bins, tissue)
    masks = {
        "ggo": tissue.ground_glass,
        "consolidation": tissue.consolidation,
        "reticulation": mesh,
        "high_attenuation": tissue.high_attenuation,
        "low_attenuation": tissue.low_attenuation,
    }
    table = _volumes(labels, spacing_mm) | _density(bins)
    for name, mask in masks.items():
        table[f"{name}_percent"] = _percent(mask, bins.inside)
        table |= _per_zone(name, mask, bins, zones)
    for name in ("ggo", "consolidation", "reticulation"):
        table |= _distribution(name, masks[name], bins, zones)
    table["consolidation_patchiness"] = patchiness(tissue.consolidation, bins)
    table["subpleural_sparing_index"] = sparing_index(tissue.ground_glass | mesh, bins, zones)
    return table


def _percent(part: BoolArray, whole: BoolArray) -> float:
    """Share of ``whole`` that is ``part``, percent; NaN for an empty whole."""
    total = int(np.count_nonzero(whole))
    return 100.0 * int(np.count_nonzero(part & whole)) / total if total else math.nan


def _volumes(labels: NDArray[np.uint8], spacing_mm: Spacing) -> Table:
    voxel_ml = spacing_mm[0] * spacing_mm[1] * spacing_mm[2] / 1000.0
    right, left = (float(np.count_nonzero(labels == side)) * voxel_ml for side in (1, 2))
    return {"lung_volume_ml": right + left, "lung_volume_right_ml": right, "lung_volume_left_ml": left}


def _density(bins: Bins) -> Table:
    hu = bins.hu[bins.inside]
    p10, p50, p90 = np.percentile(hu, (10, 50, 90))
    return {
        "mean_lung_density_hu": float(hu.mean(dtype=np.float64)),
        "density_p10_hu": float(p10),
        "density_p50_hu": float(p50),
        "density_p90_hu": float(p90),
    }


def _per_zone(name: str, mask: BoolArray, bins: Bins, zones: Zones) -> Table:
    """Extent in each of 2 sides x 3 levels x 2 shells, percent of that zone."""
    shell = (zones.depth_mm > PERIPHERAL_MM).astype(np.int8)  # 0 peripheral, 1 central
    code = (bins.sides.astype(np.int16) - 1) * 6 + zones.level * 2 + shell
    whole = np.bincount(code[bins.inside], minlength=12)
    part = np.bincount(code[mask], minlength=12)
    table: Table = {}
    for side_index, side in enumerate(("right", "left")):
        for level_index, level in enumerate(LEVELS):
            for shell_index, shell_name in enumerate(("peripheral", "central")):
                at = side_index * 6 + level_index * 2 + shell_index
                value = 100.0 * part[at] / whole[at] if whole[at] else math.nan
                table[f"{name}_{side}_{level}_{shell_name}_percent"] = float(value)
    return table


def _distribution(name: str, mask: BoolArray, bins: Bins, zones: Zones) -> Table:
    """Where a finding is: share in the lower third, share in the outer shell, symmetry of the sides; all 0..1."""
    total = int(np.count_nonzero(mask))
    keys = (f"{name}_basal_share", f"{name}_peripheral_share", f"{name}_symmetry")
    if total * bins.voxel_ml < MIN_EXTENT_ML:
        return dict.fromkeys(keys, math.nan)
    basal = float(np.count_nonzero(mask & (zones.level == 0))) / total
    peripheral = float(np.count_nonzero(mask & (zones.depth_mm <= PERIPHERAL_MM))) / total
    right, left = (_percent(mask, bins.sides == side) for side in (1, 2))
    symmetry = 1.0 - abs(right - left) / (right + left) if not math.isnan(right + left) else math.nan
    return dict(zip(keys, (basal, peripheral, symmetry), strict=True))


def patchiness(consolidation: BoolArray, bins: Bins) -> float:
    """One minus the share of the largest connected focus: 0 for one focus, towards 1 for many; NaN without any."""
    if np.count_nonzero(consolidation) * bins.voxel_ml < MIN_EXTENT_ML:
        return math.nan
    labels, _ = ndimage.label(consolidation)
    sizes = np.bincount(labels.ravel())[1:]
    return float(1.0 - sizes.max() / sizes.sum())


def sparing_index(disease: BoolArray, bins: Bins, zones: Zones) -> float:
    """One minus extent in the outermost 5 mm over extent in the next 10 mm, of ground glass and reticulation.

    1 is complete subpleural sparing, 0 none, below 0 subpleural accentuation (cut at -1); NaN without disease there.
    """
    outer = bins.inside & (zones.depth_mm <= SUBPLEURAL_MM)
    next_shell = bins.inside & (zones.depth_mm > SUBPLEURAL_MM) & (zones.depth_mm <= BEYOND_SUBPLEURAL_MM)
    if np.count_nonzero(disease & next_shell) * bins.voxel_ml < MIN_EXTENT_ML:
        return math.nan
    return max(-1.0, 1.0 - _percent(disease, outer) / _percent(disease, next_shell))
