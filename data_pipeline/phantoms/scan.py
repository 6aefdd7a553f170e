"""One patient's scan from start to finish: draw, build, render, acquire. Files are written elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.acquisition import AcquisitionPlan
from data_pipeline.phantoms.anatomy import BLOOD_HU, build_anatomy
from data_pipeline.phantoms.disease import paint_disease
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.grid import Grid
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.physics import acquire, pick_labels, written_grid
from data_pipeline.phantoms.randomness import Stream, stream
from data_pipeline.phantoms.render import Renderer, grow_trees

COARSE_MM = 2.6  # step of anatomy and disease maps; edges are placed by distance, so it need not be finer
MARGIN_BELOW_MM = 22.0
MARGIN_ABOVE_MM = 18.0


@dataclass(frozen=True, eq=False)
class Scan:
    """A finished scan.

    Attributes:
        hu: int16, shape (Z, Y, X), in the phantom's frame.
        grid: Its voxels.
        lungs: 0 outside, 1 right, 2 left; uint8, same shape.
        disease: Labels of ``render.Phantom``; uint8, same shape.
        extents: Finding -> percent of lung, measured on the truth maps.
    """

    hu: NDArray[np.int16]
    grid: Grid
    lungs: NDArray[np.uint8]
    disease: NDArray[np.uint8]
    extents: dict[str, float]


def object_grid(habitus: Habitus, plan: AcquisitionPlan) -> Grid:
    """The voxels at which the object is sampled, from below the lungs to above them."""
    length = habitus.lung_height + MARGIN_BELOW_MM + MARGIN_ABOVE_MM
    count = int(np.ceil(length / plan.step_mm))
    pixel = plan.field_of_view_mm / plan.matrix
    half = pixel * (plan.matrix - 1) / 2
    return Grid(
        (count, plan.matrix, plan.matrix),
        (plan.step_mm, pixel, pixel),
        (-MARGIN_BELOW_MM, -half - habitus.offset[0], -half - habitus.offset[1]),
    )


def make_scan(seed: int, patient_index: int, habitus: Habitus, disease: DiseasePlan, plan: AcquisitionPlan) -> Scan:
    """Build and scan one patient.

    Args:
        seed: Seed of the cohort.
        patient_index: 0-based.
        habitus: The body.
        disease: The disease.
        plan: The acquisition.
    """
    grid = object_grid(habitus, plan)
    anatomy = build_anatomy(habitus, grid.coarsened(COARSE_MM), blood_hu=plan.blood_hu or BLOOD_HU)
    maps = paint_disease(disease, anatomy, stream(seed, patient_index, Stream.DISEASE))
    trees = grow_trees(anatomy, habitus, plan.num_tips, stream(seed, patient_index, Stream.TREES))
    renderer = Renderer(
        grid=grid,
        habitus=habitus,
        anatomy=anatomy,
        plan=disease,
        maps=maps,
        trees=trees,
        rng=stream(seed, patient_index, Stream.TEXTURE),
    )
    phantom = renderer.render()
    hu = acquire(phantom.hu, grid, habitus, plan, stream(seed, patient_index, Stream.NOISE))
    lungs, labels = pick_labels(phantom.lungs, plan), pick_labels(phantom.disease, plan)
    return Scan(hu, written_grid(grid, plan), lungs, labels, maps.extents)
