"""What the voxels of a volume say against it: not HU, not a chest, lungs cut off. Works on a coarse sample.

The lung estimate here only decides whether a scan is usable; the mask that measurements use is made in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.quality import AIR_LIKE_HU, MIN_VOXELS, QualityPolicy
from data_pipeline.readers.raw_volume import RawVolume
from domain.findings import Finding, QualityCode, Severity
from domain.volume import AIR_HU

SAMPLE_MM = 5.0
FEW_VALUES = 16  # a mask or label map has fewer different values than any scan
TISSUE_HU = (-200, 300)  # fat, muscle, blood, with or without contrast
BONE_HU = 600
MIN_AIR_SHARE = 0.01
MIN_TISSUE_SHARE = 0.02
MAX_BONE_SHARE = 0.1  # above 600 HU; compact bone and metal are a few per cent of a body
MAX_BELOW_AIR_SHARE = 0.6  # padding outside a round field of view is 21 % of a square
OUTSIDE_AIR_HU = -930  # mean of a connected region of air; lungs, even emphysematous ones, are denser
LUNG_UPPER_HU = -400
MIN_LUNG_AREA_CM2 = 25.0  # in the slice that shows most; bowel gas and sinuses stay below
MIN_REGION_ML = 5.0
CUT_SHARE = 0.15  # lung area in an end slice, of the largest: more means that the scan starts within the lungs
COMPARED_PIXELS = 16  # along each side of a slice, for comparing neighbours
COMPARED_UPPER_HU = 300  # bone and metal come and go from slice to slice
MIN_COMPARED_SLICES = 8
MIN_JUMP_HU = 200.0  # mean change between neighbours; whole scans change by 30 to 60, 1 mm every 10 mm by 110 to 200
JUMP_RATIO = 4.0  # and of the usual change of this scan; anatomy reaches 2.7
CUT_SIDE_CM2 = 10.0  # lung area on a side face of the box


def check_content(raw: RawVolume, policy: QualityPolicy) -> tuple[Finding, ...]:
    """All findings that voxels give."""
    return tuple(_findings(raw, policy))


def _findings(raw: RawVolume, policy: QualityPolicy) -> Iterator[Finding]:
    if raw.num_below_air:
        percent = 100 * raw.num_below_air / raw.voxels.size
        message = f"{percent:.1f} % of the voxels lay below {AIR_HU} HU (lowest {raw.lowest_hu:.0f}) and were set to it"
        yield policy.finding(
            QualityCode.PADDING_BELOW_AIR, message, percent=round(percent, 2), lowest_hu=round(raw.lowest_hu, 1)
        )
    if raw.voxels.size < MIN_VOXELS:
        return
    steps = [max(1, round(SAMPLE_MM / spacing)) for spacing in raw.affine.spacing_mm]
    sample = raw.voxels[:: steps[0], :: steps[1], :: steps[2]].copy(order="K")  # in the order of memory: much faster
    spacing_mm = [step * spacing for step, spacing in zip(steps, raw.affine.spacing_mm, strict=True)]
    if _num_values(sample) <= FEW_VALUES:
        yield policy.finding(QualityCode.NOT_A_CT_VOLUME, "hardly any different values: a mask or label map")
        return
    reason = not_hu_reason(sample, raw)
    if reason:
        yield policy.finding(QualityCode.NOT_HU, reason, lowest=round(raw.lowest_hu, 1))
        return
    jumps = list(_jump_findings(raw, policy))
    yield from jumps
    if any(finding.severity is Severity.REJECT for finding in jumps):
        return  # what is said of lungs would be wrong
    yield from _lung_findings(estimate_lungs(sample, spacing_mm, raw), policy)


def _num_values(sample: NDArray[np.int16]) -> int:
    """How many different values there are."""
    return int(np.count_nonzero(np.bincount(sample.ravel(order="K").view(np.uint16))))


def not_hu_reason(sample: NDArray[np.int16], raw: RawVolume) -> str:
    """Why the values cannot be HU; empty when they can.

    Every CT of a body shows air or lung below -500 HU and tissue between -200 and 300 HU. A missing rescale lifts both
    by 1,000, a doubled one lowers both.
    """
    share_below = raw.num_below_air / raw.voxels.size
    if raw.lowest_hu > AIR_LIKE_HU:
        return f"no value below {AIR_LIKE_HU}: no air or lung anywhere, as when the rescale is missing"
    if share_below > MAX_BELOW_AIR_SHARE:
        return f"{100 * share_below:.0f} % of the values lie below air, as when the rescale was applied twice"
    share_air = float(np.mean((sample > AIR_HU) & (sample < AIR_LIKE_HU)))
    share_tissue = float(np.mean((sample > TISSUE_HU[0]) & (sample < TISSUE_HU[1])))
    share_high = float(np.mean(sample >= BONE_HU))
    if share_tissue < MIN_TISSUE_SHARE:
        return f"only {100 * share_tissue:.1f} % of the values lie where soft tissue does: the HU scale is shifted"
    if share_air < MIN_AIR_SHARE and share_high > MAX_BONE_SHARE:
        return "many values lie where only bone does and none where lung does: the rescale is missing"
    return ""


def _jump_findings(raw: RawVolume, policy: QualityPolicy) -> Iterator[Finding]:
    """Slices that are nothing like their neighbours: blank, of another rescale or byte order, of another patient."""
    step_i, step_j = (max(1, size // COMPARED_PIXELS) for size in raw.voxels.shape[:2])
    planes = raw.voxels.transpose(2, 1, 0)[:, ::step_j, ::step_i].copy()
    if len(planes) < MIN_COMPARED_SLICES:
        return
    values = np.minimum(planes, COMPARED_UPPER_HU).astype(np.float32)
    changes = np.abs(np.diff(values, axis=0)).mean(axis=(1, 2))
    jumps = np.flatnonzero(changes > max(MIN_JUMP_HU, JUMP_RATIO * float(np.median(changes))))
    if not len(jumps):
        return
    shown = np.flatnonzero(np.ptp(planes, axis=(1, 2)))  # not blank: blank slices at an end are a habit of scanners
    is_inside = bool(np.any((jumps >= shown[0]) & (jumps < shown[-1])))
    where = ", ".join(str(int(jump) + 1) for jump in jumps[:5])
    change = float(changes[jumps].max())
    message = f"behind slice {where} the picture changes by {change:.0f} HU on average: damaged or foreign slices"
    yield policy.finding(
        QualityCode.INCONSISTENT_SLICES, message, severe=is_inside, num_jumps=len(jumps), first_slice=int(jumps[0]) + 1
    )


@dataclass(frozen=True, slots=True)
class LungEstimate:
    """Where lung-like tissue is, on the coarse grid.

    Attributes:
        area_cm2: Per slice from inferior to superior. Shape (S,).
        side_area_cm2: On the largest of the four side faces.
    """

    area_cm2: NDArray[np.float64]
    side_area_cm2: float


def estimate_lungs(sample: NDArray[np.int16], spacing_mm: list[float], raw: RawVolume) -> LungEstimate:
    """Lung-like regions: air-like, connected, denser than the air around the body."""
    axes = raw.affine.nearest_axes
    order = [next(place for place, (axis, _) in enumerate(axes) if axis == wanted) for wanted in range(3)]
    spacing = [spacing_mm[place] for place in order]
    stored = sample.transpose(2, 1, 0)  # as it lies in memory
    labels, num_regions = ndimage.label(stored < LUNG_UPPER_HU)  # not smoothed: the chest wall may be 10 mm thin
    counts = np.bincount(labels.ravel(), minlength=num_regions + 1)
    sums = np.bincount(labels.ravel(), weights=stored.ravel(), minlength=num_regions + 1)
    is_large = counts * np.prod(spacing) / 1000 >= MIN_REGION_ML
    is_lung = is_large & (sums / np.maximum(counts, 1) > OUTSIDE_AIR_HU)
    is_lung[0] = False  # everything that is not air-like
    lungs = is_lung[labels].transpose(2, 1, 0).transpose(order)  # x, y, z in patient directions
    if axes[order[2]][1] < 0:
        lungs = lungs[:, :, ::-1]
    area = lungs.sum(axis=(0, 1)) * spacing[0] * spacing[1] / 100
    sides = [lungs[0].sum() * spacing[1], lungs[-1].sum() * spacing[1]]
    sides += [lungs[:, 0].sum() * spacing[0], lungs[:, -1].sum() * spacing[0]]
    return LungEstimate(area.astype(np.float64), float(max(sides)) * spacing[2] / 100)


def _lung_findings(lungs: LungEstimate, policy: QualityPolicy) -> Iterator[Finding]:
    largest = float(lungs.area_cm2.max())
    if largest < MIN_LUNG_AREA_CM2:
        message = f"at most {largest:.0f} cm2 of lung in a slice: not a chest"
        yield policy.finding(QualityCode.NOT_CHEST, message, largest_lung_area_cm2=round(largest, 1))
        return
    base, top = float(lungs.area_cm2[0]) / largest, float(lungs.area_cm2[-1]) / largest
    cuts = [f"at the base ({100 * base:.0f} %)"] if base > CUT_SHARE else []
    cuts += [f"at the top ({100 * top:.0f} %)"] if top > CUT_SHARE else []
    cuts += ["at a side"] if lungs.side_area_cm2 > CUT_SIDE_CM2 else []
    if cuts:
        yield policy.finding(
            QualityCode.PARTIAL_LUNG_COVERAGE,
            f"the lungs are cut {' and '.join(cuts)}; per cent of the largest lung area",
            base_share=round(base, 3),
            top_share=round(top, 3),
            side_area_cm2=round(lungs.side_area_cm2, 1),
        )
