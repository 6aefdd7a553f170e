"""Lungs of an HU volume in RAS order, without weights. The steps are in the files beside this one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from data_pipeline.lungs.airways import trachea
from data_pipeline.lungs.candidates import aerated_parts, outside_body, without_gas
from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid, Spacing, coarse_grid
from data_pipeline.lungs.holes import close_holes
from data_pipeline.lungs.mask_faults import free_gas, holes_share, leaked_ml, missed_share
from data_pipeline.lungs.pleural_fill import fill_to_pleura
from data_pipeline.lungs.quality import MaskFacts, MaskFaults, judge, measure
from data_pipeline.lungs.refine import refine
from data_pipeline.lungs.sides import Sides, body_middle, split_sides
from data_pipeline.threads import in_threads
from domain.errors import StudyError
from domain.findings import Finding, QualityCode, Stage

MIN_FOUND_ML = 50.0  # less lung than this is no lung
DENSE_HU = -300.0  # block means above this hold little air
OPENING_STEPS = (1, 0)  # tried in this order


@dataclass(frozen=True, eq=False)
class LungMask:
    """Lungs on the native grid.

    Attributes:
        labels: 0 outside, 1 right, 2 left. Shape (I, J, K), uint8.
        facts: Numbers about the mask.
        findings: What the checks say of it.
    """

    labels: NDArray[np.uint8]
    facts: MaskFacts
    findings: tuple[Finding, ...]


def find_lungs(voxels: NDArray[np.int16], spacing_mm: Spacing) -> LungMask:
    """Both lungs, with consolidated parts, without trachea.

    Args:
        voxels: HU. Shape (I, J, K), i to the right, j to the front, k to the head (RAS).
        spacing_mm: Spacing along i, j, k, mm.

    Returns:
        Labels, facts and findings.

    Raises:
        StudyError: ``mask_failed``: nothing in the volume looks like lung.
    """
    grid = coarse_grid(voxels, spacing_mm)
    aerated = _aerated_lung(grid)
    sides = close_holes(split_sides(aerated.lung, aerated.middle_i), grid, aerated.blocked)
    sides = fill_to_pleura(sides, grid, aerated.middle_i, aerated.blocked)
    labels = refine(voxels, sides, grid, aerated.gas)
    return judged(labels, spacing_mm, sides, grid, aerated.middle_i)


def judged(labels: Sides, spacing_mm: Spacing, sides: Sides, grid: CoarseGrid, middle_i: float) -> LungMask:
    """A mask of any source with its facts and findings.

    Args:
        labels: The mask on the native grid. Shape (I, J, K).
        spacing_mm: Spacing along i, j, k, mm.
        sides: The mask on the coarse grid. Shape (I', J', K').
        grid: The coarse volume.
        middle_i: Midline, block index along i.

    Raises:
        StudyError: ``mask_failed``: the mask holds no lung.
    """
    dense = float(np.mean(grid.hu[sides > 0] > DENSE_HU)) if sides.any() else 0.0
    checks = (partial(leaked_ml, sides, grid), partial(holes_share, sides, grid))
    missed, leaked, holes = in_threads(lambda check: check(), [partial(missed_share, sides, grid, middle_i), *checks])
    faults = MaskFaults(dense_share=dense, leaked_ml=leaked, holes_share=holes, missed_share=missed)
    facts = measure(labels, spacing_mm, faults)
    if facts.right_ml + facts.left_ml < MIN_FOUND_ML:
        raise _no_lungs(facts.right_ml + facts.left_ml)
    return LungMask(labels, facts, tuple(judge(facts)))


@dataclass(frozen=True, eq=False)
class _Aerated:
    """Lung that holds air, and what is known beside it, on the coarse grid.

    Attributes:
        lung: Aerated lung without trachea.
        gas: Other air inside the body that lies where lung might: pneumothorax, large bullae.
        blocked: What is never lung: outside, airways, bowel, gas.
        middle_i: Midline of the body, block index along i.
    """

    lung: BoolArray
    gas: BoolArray
    blocked: BoolArray
    middle_i: float


def _aerated_lung(grid: CoarseGrid) -> _Aerated:
    """Find air that is lung.

    A thin chest wall does not survive the opening that removes the table; then a weaker opening is tried.
    """
    found_ml = 0.0
    for opening_steps in OPENING_STEPS:
        outside = outside_body(grid, opening_steps)
        aerated = aerated_parts(grid, outside)
        middle = body_middle(grid, outside)
        windpipe = trachea(grid, aerated, middle)
        lung = without_gas(aerated & ~windpipe, grid)
        gas = free_gas(lung, grid)
        lung &= ~gas
        found_ml = np.count_nonzero(lung) * grid.voxel_ml
        if found_ml >= MIN_FOUND_ML:
            return _Aerated(lung, gas, outside | windpipe | (aerated & ~lung), middle)
    raise _no_lungs(found_ml)


def _no_lungs(found_ml: float) -> StudyError:
    return StudyError(
        Stage.GRAPH,
        QualityCode.MASK_FAILED,
        f"no lungs were found in the volume ({found_ml:.0f} ml of air-holding tissue inside the body, at least "
        f"{MIN_FOUND_ML:.0f} ml expected); nothing can be measured. Check that the series shows a chest in HU",
    )
