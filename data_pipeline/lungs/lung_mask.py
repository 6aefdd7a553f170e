"""Lungs of an HU volume in RAS order, without weights. The steps are in the files beside this one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.lungs.airways import trachea
from data_pipeline.lungs.candidates import aerated_parts, outside_body, without_gas
from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid, Spacing, coarse_grid
from data_pipeline.lungs.holes import close_holes
from data_pipeline.lungs.pleural_fill import fill_to_pleura
from data_pipeline.lungs.quality import MaskFacts, judge, measure
from data_pipeline.lungs.refine import refine
from data_pipeline.lungs.sides import body_middle, split_sides
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
    lung, blocked, middle = _aerated_lung(grid)
    sides = close_holes(split_sides(lung, middle), grid, blocked)
    sides = fill_to_pleura(sides, grid, middle, blocked)
    labels = refine(voxels, sides, grid)
    dense = float(np.mean(grid.hu[sides > 0] > DENSE_HU))
    facts = measure(labels, spacing_mm, dense)
    if facts.right_ml + facts.left_ml < MIN_FOUND_ML:
        raise _no_lungs(facts.right_ml + facts.left_ml)
    return LungMask(labels, facts, tuple(judge(facts)))


def _aerated_lung(grid: CoarseGrid) -> tuple[BoolArray, BoolArray, float]:
    """Aerated lung without trachea, what is never lung, and the midline of the body along i.

    A thin chest wall does not survive the opening that removes the table; then a weaker opening is tried.
    """
    found_ml = 0.0
    for opening_steps in OPENING_STEPS:
        outside = outside_body(grid, opening_steps)
        aerated = aerated_parts(grid, outside)
        middle = body_middle(grid, outside)
        windpipe = trachea(grid, aerated, middle)
        lung = without_gas(aerated & ~windpipe, grid)
        found_ml = np.count_nonzero(lung) * grid.voxel_ml
        if found_ml >= MIN_FOUND_ML:
            return lung, outside | windpipe | (aerated & ~lung), middle
    raise _no_lungs(found_ml)


def _no_lungs(found_ml: float) -> StudyError:
    return StudyError(
        Stage.GRAPH,
        QualityCode.MASK_FAILED,
        f"no lungs were found in the volume ({found_ml:.0f} ml of air-holding tissue inside the body, at least "
        f"{MIN_FOUND_ML:.0f} ml expected); nothing can be measured. Check that the series shows a chest in HU",
    )
