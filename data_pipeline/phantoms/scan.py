"""One patient's scan from start to finish: draw, build, render, acquire. Files are written elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.acquisition import AcquisitionPlan
from data_pipeline.phantoms.anatomy import build_anatomy
from data_pipeline.phantoms.disease import paint_disease
from data_pipeline.phantoms.disease_settings import load_disease_settings
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.grid import Grid
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.lobules import Lobules
from data_pipeline.phantoms.lung_trees import diseased_airways, grow_trees
from data_pipeline.phantoms.patches import draw_patches, move_patches
from data_pipeline.phantoms.physics import acquire, pick_labels, written_grid
from data_pipeline.phantoms.pleural_spaces import with_spaces
from data_pipeline.phantoms.randomness import Stream, stream
from data_pipeline.phantoms.render import Contents, Renderer

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


@dataclass(frozen=True, slots=True)
class Later:
    """What makes a scan a second one.

    Attributes:
        first: The disease at the first scan.
        patch_volume: Factor on the volume of its patches.
        stream_index: Index of the streams of what is new.
    """

    first: DiseasePlan
    patch_volume: float
    stream_index: int


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


def make_scan(
    seed: int,
    patient_index: int,
    habitus: Habitus,
    disease: DiseasePlan,
    plan: AcquisitionPlan,
    *,
    later: Later | None = None,
) -> Scan:
    """Build and scan one patient.

    Args:
        seed: Seed of the cohort.
        patient_index: 0-based.
        habitus: The body.
        disease: The disease.
        plan: The acquisition.
        later: For a second scan: the same body, lobules and places of disease, patches moved, other noise.
    """
    settings = load_disease_settings()
    grid = object_grid(habitus, plan)
    anatomy = build_anatomy(habitus, grid.coarsened(COARSE_MM), blood_hu=plan.blood_hu)
    trees = grow_trees(anatomy, habitus, plan.num_tips, settings.airways, stream(seed, patient_index, Stream.TREES))
    anatomy = with_spaces(anatomy, disease, habitus, stream(seed, patient_index, Stream.SPACES))
    texture = stream(seed, patient_index, Stream.TEXTURE)
    lobules = Lobules.draw(anatomy.grid, settings.lobules.warp_mm, texture)
    first = later.first if later else disease
    patches = draw_patches(first, anatomy, trees.airways, settings.patches, stream(seed, patient_index, Stream.PATCHES))
    if later:
        moves = stream(seed, later.stream_index, Stream.PATCHES)
        patches = move_patches(patches, later.patch_volume, anatomy, disease, trees.airways, settings, moves)
    maps = paint_disease(
        disease,
        anatomy,
        patches=patches,
        lobules=lobules,
        settings=settings,
        rng=stream(seed, patient_index, Stream.MAPS),
    )
    beads = stream(seed, patient_index, Stream.BEADS)
    airways = diseased_airways(trees, maps, anatomy.grid, disease.traction, settings.airways, beads)
    contents = Contents(habitus, anatomy, disease, maps, lobules, trees.vessels, airways, settings)
    phantom = Renderer(grid, contents, texture).render()
    noise = stream(seed, later.stream_index if later else patient_index, Stream.NOISE)
    hu = acquire(phantom.hu, grid, habitus, plan, phantom.body, noise)
    lungs, labels = pick_labels(phantom.lungs, plan), pick_labels(phantom.disease, plan)
    return Scan(hu, written_grid(grid, plan), lungs, labels, maps.extents)
