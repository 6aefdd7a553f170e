"""The table of quantitative CT of one scan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, Spacing
from data_pipeline.lungs.quality import side_volumes_ml
from data_pipeline.quantitative.bins import Bins, bin_lungs, box_of
from data_pipeline.quantitative.sharpness import blur_variance_mm2
from data_pipeline.quantitative.tissue_classes import CLASSES, ClassBits, classify, has_class
from data_pipeline.quantitative.zones import LEVELS, NUM_SHELLS, PERIPHERAL_SHELLS, Zones, find_zones

MIN_EXTENT_ML = 2.0  # shares of less disease than this are noise and are left unknown
DISTRIBUTED = ("ggo", "consolidation", "reticulation", "honeycombing")  # classes whose place in the lung is measured
INTERSTITIAL = ("ggo", "reticulation", "honeycombing")  # what spares the subpleural lung in NSIP
DENSITY_LIMITS_HU = (-1100, 300)

Table = dict[str, float]


@dataclass(frozen=True, eq=False)
class TissueMap:
    """Which classes each bin of lung carries: the picture behind the table.

    Attributes:
        bits: Bit c is set where a bin has class c of ``CLASSES``; 0 outside the lungs. Shape (I', J', K'), uint8.
        first_voxel: Native voxel at which the first bin begins.
        factors: Native voxels per bin along i, j, k.
    """

    bits: ClassBits
    first_voxel: tuple[int, int, int]
    factors: tuple[int, int, int]


def quantify(voxels: NDArray[np.int16], labels: NDArray[np.uint8], spacing_mm: Spacing) -> tuple[Table, TissueMap]:
    """Measure the lungs of one scan.

    Args:
        voxels: HU, RAS order. Shape (I, J, K).
        labels: 0 outside, 1 right lung, 2 left lung. Same shape.
        spacing_mm: Spacing along i, j, k, mm.

    Returns:
        Name -> value; the unit is in the name; NaN where a quantity is not defined (a share of no disease); empty
        without lungs. And the classes the table counts.
    """
    box = box_of(labels)
    bins = bin_lungs(voxels[box], labels[box], spacing_mm)
    first = (box[0].start, box[1].start, box[2].start)
    if not bins.inside.any():
        return {}, TissueMap(np.zeros(bins.sides.shape, dtype=np.uint8), first, bins.factors)
    bits = classify(bins, blur_variance_mm2(voxels, labels, spacing_mm))
    counts = BinCounts(count_bins(bins, bits, find_zones(bins)))
    table = _volumes(labels[box], spacing_mm) | _density(bins)
    for name in CLASSES:
        table[f"{name}_percent"] = _percent(counts.with_class(name).sum(), counts.all.sum())
        table |= _per_zone(name, counts)
    for name in DISTRIBUTED:
        table |= _distribution(name, counts, bins.voxel_ml)
    table["fibrosis_percent"] = table["reticulation_percent"] + table["honeycombing_percent"]
    table["consolidation_patchiness"] = patchiness(has_class(bits, "consolidation"), bins)
    table["subpleural_sparing_index"] = sparing_index(counts, bins.voxel_ml)
    return table, TissueMap(bits, first, bins.factors)


class BinCounts:
    """How many bins lie where and carry which classes: all shares of the table come from this one count.

    Attributes:
        all: Bins of lung per zone. Shape (2 sides, 3 levels, NUM_SHELLS).
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        """``counts``: shape (2, 3, NUM_SHELLS, 2 ** classes); bit c of the last index is class c of ``CLASSES``."""
        self._counts = counts
        self.all: NDArray[np.int64] = counts.sum(axis=-1)

    def with_class(self, *names: str) -> NDArray[np.int64]:
        """Bins that carry at least one of the classes, per zone. Shape (2, 3, NUM_SHELLS)."""
        wanted = sum(1 << CLASSES.index(name) for name in names)
        return np.asarray(self._counts[..., (np.arange(self._counts.shape[-1]) & wanted) > 0].sum(axis=-1))


def count_bins(bins: Bins, bits: ClassBits, zones: Zones) -> NDArray[np.int64]:
    """Count the bins of lung by zone and classes; the shape is that which ``BinCounts`` takes."""
    shape = (2, len(LEVELS), NUM_SHELLS, 1 << len(CLASSES))
    inside = bins.inside
    zone = (bins.sides[inside].astype(np.int16) - 1) * len(LEVELS) + zones.level[inside]
    code = (zone * NUM_SHELLS + zones.shell[inside]) * np.int16(shape[-1]) + bits[inside]
    return np.bincount(code, minlength=math.prod(shape)).reshape(shape)


def _percent(part: float, whole: float) -> float:
    """Share of ``whole`` that is ``part``, percent; NaN for an empty whole."""
    return 100.0 * float(part) / float(whole) if whole else math.nan


def _volumes(labels: NDArray[np.uint8], spacing_mm: Spacing) -> Table:
    right, left = side_volumes_ml(labels, spacing_mm)
    return {"lung_volume_ml": right + left, "lung_volume_right_ml": right, "lung_volume_left_ml": left}


def _density(bins: Bins) -> Table:
    """Mean and percentiles to the nearest HU below, from one histogram."""
    hu = bins.hu[bins.inside]
    lowest, highest = DENSITY_LIMITS_HU
    counts = np.bincount(np.clip(hu - lowest, 0, highest - lowest).astype(np.int32))
    reached = np.searchsorted(np.cumsum(counts), np.array([0.1, 0.5, 0.9]) * hu.size)
    table = {"mean_lung_density_hu": float(hu.mean(dtype=np.float64))}
    return table | {f"density_p{p}_hu": float(at + lowest) for p, at in zip((10, 50, 90), reached, strict=True)}


def _per_zone(name: str, counts: BinCounts) -> Table:
    """Extent in each of 2 sides x 3 levels x 2 shells, percent of that zone."""
    table: Table = {}
    part, whole = counts.with_class(name), counts.all
    for side_index, side in enumerate(("right", "left")):
        for level_index, level in enumerate(LEVELS):
            zone = (side_index, level_index)
            for shell, shells in (
                ("peripheral", slice(PERIPHERAL_SHELLS)),
                ("central", slice(PERIPHERAL_SHELLS, None)),
            ):
                value = _percent(part[zone][shells].sum(), whole[zone][shells].sum())
                table[f"{name}_{side}_{level}_{shell}_percent"] = value
    return table


def _distribution(name: str, counts: BinCounts, voxel_ml: float) -> Table:
    """Where a finding is: share in the lower third, share in the outer shell, symmetry of the sides; all 0..1."""
    part, whole = counts.with_class(name), counts.all
    keys = (f"{name}_basal_share", f"{name}_peripheral_share", f"{name}_symmetry")
    total = int(part.sum())
    if total * voxel_ml < MIN_EXTENT_ML:
        return dict.fromkeys(keys, math.nan)
    right, left = (_percent(part[side].sum(), whole[side].sum()) for side in (0, 1))
    symmetry = 1.0 - abs(right - left) / (right + left) if not math.isnan(right + left) else math.nan
    basal, peripheral = part[:, 0].sum() / total, part[:, :, :PERIPHERAL_SHELLS].sum() / total
    return dict(zip(keys, (float(basal), float(peripheral), symmetry), strict=True))


def patchiness(consolidation: BoolArray, bins: Bins) -> float:
    """One minus the share of the largest connected focus: 0 for one focus, towards 1 for many; NaN without any."""
    if np.count_nonzero(consolidation) * bins.voxel_ml < MIN_EXTENT_ML:
        return math.nan
    labels, _ = ndimage.label(consolidation)
    sizes = np.bincount(labels[consolidation])[1:]
    return float(1.0 - sizes.max() / sizes.sum())


def sparing_index(counts: BinCounts, voxel_ml: float) -> float:
    """One minus extent in the outermost 5 mm over extent in the next 10 mm, of ground glass and reticulation.

    1 is complete subpleural sparing, 0 none, below 0 subpleural accentuation (cut at -1); NaN without disease there.
    """
    part, whole = counts.with_class(*INTERSTITIAL).sum(axis=(0, 1)), counts.all.sum(axis=(0, 1))
    if part[1] * voxel_ml < MIN_EXTENT_ML:
        return math.nan
    return max(-1.0, 1.0 - _percent(part[0], whole[0]) / _percent(part[1], whole[1]))
