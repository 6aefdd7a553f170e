"""Is a lung mask to be believed? Facts about it, and the findings that follow. Used for every source of masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.lungs.coarse_grid import Spacing
from data_pipeline.lungs.sides import LEFT, RIGHT
from data_pipeline.threads import in_threads
from domain.findings import Finding, QualityCode, Severity

MIN_LUNGS_ML = 1000.0  # adult total lung capacity is 4-7 l; severe restriction rarely falls below 1.5 l
MAX_LUNGS_ML = 10000.0
MIN_ONE_LUNG_ML = 30.0  # below this a side counts as not found
MIN_SIDE_SHARE = 0.2  # the smaller lung is 40-50 % of both in most adults
MAX_CUT_AREA_CM2 = 12.0  # lung area on the first or last slice: a sliver of a recess is less, a cut lung is more
MAX_DENSE_SHARE = 0.2  # more lung without air than this leaves too little pleura to go by
MAX_LEAKED_ML = 60.0  # of gas and bone
MAX_HOLES_SHARE = 0.03  # vessels and bronchi left out are below 1.5 %
MAX_MISSED_SHARE = 0.085  # 0.02-0.07 in lungs found whole, 0.1-0.16 where dense lung is left out (synthetic)
MAX_CUT_FACE_CM2 = 8.0  # lung area on a side face of the volume


@dataclass(frozen=True, slots=True)
class MaskFaults:
    """Numbers from ``mask_faults``.

    Attributes:
        dense_share: Share of the mask that holds no air, 0..1.
        leaked_ml: Gas and bone inside the mask, ml.
        holes_share: What the mask encloses without holding it, share of the mask, 0..1.
        missed_share: Share of the lateral pleura well beyond which the mask ends, 0..1.
    """

    dense_share: float = 0.0
    leaked_ml: float = 0.0
    holes_share: float = 0.0
    missed_share: float = 0.0


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """Numbers the checks look at.

    Attributes:
        right_ml: Volume of the right lung, ml.
        left_ml: Volume of the left lung, ml.
        cut_area_cm2: Lung area on the first and on the last slice, the larger of both, cm2.
        cut_face_cm2: Lung area on the side faces of the volume, the largest, cm2.
        faults: What the coarse grid tells of it.
    """

    right_ml: float
    left_ml: float
    cut_area_cm2: float
    cut_face_cm2: float
    faults: MaskFaults


def measure(labels: NDArray[np.uint8], spacing_mm: Spacing, faults: MaskFaults) -> MaskFacts:
    """Facts of a mask on the native grid.

    Args:
        labels: 0 outside, 1 right, 2 left. Shape (I, J, K), RAS.
        spacing_mm: Spacing along i, j, k, mm.
        faults: What the coarse grid tells of the mask.
    """
    right_ml, left_ml = side_volumes_ml(labels, spacing_mm)
    axial_cm2 = spacing_mm[0] * spacing_mm[1] / 100.0
    cut = max(int(np.count_nonzero(labels[:, :, 0])), int(np.count_nonzero(labels[:, :, -1]))) * axial_cm2
    sagittal = max(np.count_nonzero(labels[0]), np.count_nonzero(labels[-1])) * spacing_mm[1] * spacing_mm[2] / 100.0
    coronal = max(np.count_nonzero(labels[:, 0]), np.count_nonzero(labels[:, -1])) * spacing_mm[0] * spacing_mm[2]
    return MaskFacts(
        right_ml,
        left_ml,
        float(cut),
        float(max(sagittal, coronal / 100.0)),
        faults,
    )


def side_volumes_ml(labels: NDArray[np.uint8], spacing_mm: Spacing) -> tuple[float, float]:
    """Volume of the right and of the left lung, ml."""
    voxel_ml = spacing_mm[0] * spacing_mm[1] * spacing_mm[2] / 1000.0
    right, left = np.sum(in_threads(lambda k: _side_counts(labels[:, :, k]), range(labels.shape[2])), axis=0)
    return float(right * voxel_ml), float(left * voxel_ml)


def _side_counts(labels: NDArray[np.uint8]) -> tuple[int, int]:
    """Voxels of the right and the left lung in one slice."""
    return int(np.count_nonzero(labels == RIGHT)), int(np.count_nonzero(labels == LEFT))


def judge(facts: MaskFacts) -> list[Finding]:
    """Findings about a mask that found something. Volumes outside the usual adult range, sides, cut lungs."""
    return [*_coverage(facts), *_plausibility(facts), *_faults(facts.faults)]


def _coverage(facts: MaskFacts) -> list[Finding]:
    """Is all of both lungs in the volume?"""
    found: list[Finding] = []
    cut = max(facts.cut_area_cm2, facts.cut_face_cm2)
    if facts.cut_area_cm2 > MAX_CUT_AREA_CM2 or facts.cut_face_cm2 > MAX_CUT_FACE_CM2:
        message = (
            f"lung is cut by the edge of the volume (area {cut:.0f} cm2); "
            "volumes and extents describe only the part shown"
        )
        areas = {"cut_area_cm2": round(facts.cut_area_cm2, 1), "cut_face_cm2": round(facts.cut_face_cm2, 1)}
        found.append(_finding(QualityCode.PARTIAL_LUNG_COVERAGE, message, **areas))
    if min(facts.right_ml, facts.left_ml) < MIN_ONE_LUNG_ML:
        side = "right" if facts.right_ml < facts.left_ml else "left"
        message = f"no {side} lung was found; one lung is out of the volume, removed, or holds no air"
        found.append(_finding(QualityCode.PARTIAL_LUNG_COVERAGE, message, **_volumes(facts)))
    return found


def _plausibility(facts: MaskFacts) -> list[Finding]:
    """Are the lungs as large, as equal and as full of air as lungs are?"""
    found: list[Finding] = []
    both = facts.right_ml + facts.left_ml
    if MIN_ONE_LUNG_ML <= min(facts.right_ml, facts.left_ml) < MIN_SIDE_SHARE * both:
        message = (
            f"the lungs differ much in size ({facts.right_ml:.0f} ml right, {facts.left_ml:.0f} ml left); "
            "a part of the smaller one may be missing"
        )
        found.append(_finding(QualityCode.MASK_DOUBTFUL, message, **_volumes(facts)))
    if not MIN_LUNGS_ML <= both <= MAX_LUNGS_ML:
        message = f"{both:.0f} ml of lung is outside the usual {MIN_LUNGS_ML:.0f}-{MAX_LUNGS_ML:.0f} ml of an adult"
        found.append(_finding(QualityCode.MASK_DOUBTFUL, message, lungs_ml=round(both)))
    return found


def _faults(faults: MaskFaults) -> list[Finding]:
    """What is in the mask and should not be, or should be and is not."""
    found: list[Finding] = []
    dense, holes, missed = (
        round(100 * share, 1) for share in (faults.dense_share, faults.holes_share, faults.missed_share)
    )
    if faults.dense_share > MAX_DENSE_SHARE:
        message = (
            f"{dense:.0f} % of the mask holds no air: its border with chest wall and diaphragm is uncertain, and fluid "
            "is not told from consolidation"
        )
        found.append(_finding(QualityCode.MASK_DOUBTFUL, message, dense_percent=dense))
    if faults.leaked_ml > MAX_LEAKED_ML:
        message = (
            f"the mask holds {faults.leaked_ml:.0f} ml of gas or bone that is no lung (pneumothorax, bowel, "
            "chest wall); volumes and low attenuation are too high"
        )
        found.append(_finding(QualityCode.MASK_LEAK, message, leaked_ml=round(faults.leaked_ml)))
    if faults.holes_share > MAX_HOLES_SHARE:
        message = f"the mask encloses {holes:.1f} % of its own volume without holding it; dense lung may be left out"
        found.append(_finding(QualityCode.MASK_HOLES, message, holes_percent=holes))
    if faults.missed_share > MAX_MISSED_SHARE:
        message = (
            f"on {missed:.0f} % of the lateral chest wall the mask ends well inside the ribs: dense lung, fluid or "
            "free gas lies there; where it is dense lung, extents are too low"
        )
        found.append(_finding(QualityCode.DENSE_LUNG_MISSED, message, missed_percent=missed))
    return found


def _volumes(facts: MaskFacts) -> dict[str, float]:
    return {"right_ml": round(facts.right_ml), "left_ml": round(facts.left_ml)}


def _finding(code: QualityCode, message: str, **facts: float) -> Finding:
    return Finding(code, Severity.WARN, message, facts)
