"""Patches of organizing pneumonia or infection: solid, ring-shaped or perilobular, with ground glass around."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from data_pipeline.phantoms.anatomy import Anatomy
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.shapes import smooth_step
from data_pipeline.phantoms.textures import smooth_noise

# Distance of the centres of patches from the rib cage (assumed).
PERIPHERAL_MM, PERIBRONCHOVASCULAR_MM = 5.0, 38.0
PLACE_SPREAD_MM2 = 20.0  # how sharply places keep to that distance
RIPPLE_MM = ((11.0, 5.0), (6.0, 2.0))  # (length, height) of the irregularities of a patch's surface
RIPPLE_REACH_MM = 30.0  # further out than this no irregularity carries a patch
RING_MM = 8.0  # thickness of the ring of a reversed halo
FAR_MM = 1000.0


class PatchKind(Enum):
    """How a patch is filled."""

    SOLID = 0
    RING = 1
    PERILOBULAR = 2


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch.

    Attributes:
        centre_mm: (z, y, x) in the phantom's frame.
        radius_mm: Mean radius.
        stretch: (z, y, x) factors on the radius.
        kind: How it is filled.
    """

    centre_mm: tuple[float, float, float]
    radius_mm: float
    stretch: tuple[float, float, float]
    kind: PatchKind


def draw_patches(plan: DiseasePlan, anatomy: Anatomy, inside: Field, rng: np.random.Generator) -> list[Patch]:
    """Draw places, sizes and kinds; together the patches take about ``plan.consolidation`` of the lung.

    Args:
        plan: How many, how large, where.
        anatomy: Lungs and rib cage.
        inside: True in the lungs.
        rng: Generator of the patient's disease.
    """
    if plan.num_foci == 0 or plan.consolidation <= 0:
        return []
    grid = anatomy.grid
    places, costal, height = np.argwhere(inside), -anatomy.thorax[inside], anatomy.base_height[inside]
    lung_mm3 = len(places) * float(np.prod(grid.spacing_mm))
    radius = (3 * plan.consolidation * lung_mm3 / (4 * np.pi * plan.num_foci)) ** (1 / 3)
    patches = []
    for _ in range(plan.num_foci):
        draws = rng.random(7)
        preferred = PERIBRONCHOVASCULAR_MM if draws[0] < plan.peribronchovascular else PERIPHERAL_MM
        weight = (1.15 - plan.basal * height) / (PLACE_SPREAD_MM2 + (costal - preferred) ** 2) ** 2
        cumulative = np.cumsum(weight, dtype=np.float64)
        chosen = min(int(np.searchsorted(cumulative, draws[1] * cumulative[-1])), len(places) - 1)
        centre = [grid.origin_mm[axis] + grid.spacing_mm[axis] * float(places[chosen][axis]) for axis in range(3)]
        stretch = 0.75 + 0.55 * draws[2:5]
        patches.append(
            Patch(
                (centre[0], centre[1], centre[2]),
                float(radius * (0.75 + 0.7 * draws[5])),
                (float(stretch[0]), float(stretch[1]), float(stretch[2])),
                _kind(plan, float(draws[6])),
            )
        )
    return patches


def _kind(plan: DiseasePlan, draw: float) -> PatchKind:
    if draw < plan.reversed_halo:
        return PatchKind.RING
    return PatchKind.PERILOBULAR if draw < plan.reversed_halo + plan.perilobular else PatchKind.SOLID


def paint_patches(
    anatomy: Anatomy, patches: list[Patch], halo_mm: float, rng: np.random.Generator
) -> tuple[Field, Field, Field]:
    """Consolidation, ground glass inside and around, and the regions of perilobular arcs; each 0..1.

    Args:
        anatomy: Gives the grid.
        patches: What to paint.
        halo_mm: Width of the ground glass around a patch.
        rng: Generator of the patient's disease.
    """
    grid = anatomy.grid
    if not patches:
        return tuple(np.zeros(grid.shape, np.float32) for _ in range(3))  # type: ignore[return-value]  # three of them
    ripple = sum(height * smooth_noise(grid, length, rng) for length, height in RIPPLE_MM)
    distances = {kind: np.full(grid.shape, FAR_MM, np.float32) for kind in PatchKind}
    for patch in patches:
        box = _box_around(grid, patch, halo_mm)
        squared: Field = np.zeros((1, 1, 1), np.float32)
        for axis in range(3):
            along = grid.axis(axis)[tuple(box[axis] if other == axis else slice(None) for other in range(3))]
            squared = squared + ((along - np.float32(patch.centre_mm[axis])) / np.float32(patch.stretch[axis])) ** 2
        distance = np.sqrt(squared) - np.float32(patch.radius_mm) + np.asarray(ripple)[box]
        target = distances[patch.kind][box]
        np.minimum(target, distance, out=target)
    solid, hollow, lobular = (distances[kind] for kind in PatchKind)
    ring = np.abs(hollow + np.float32(RING_MM / 2)) - np.float32(RING_MM / 2)
    consolidation = smooth_step(np.float32(0.5) - np.minimum(solid, ring) / 6)
    rim = np.minimum(np.minimum(solid, hollow), lobular)
    ground_glass = smooth_step(np.float32(0.5) - (rim - np.float32(halo_mm)) / 8)
    return consolidation, ground_glass, smooth_step(np.float32(0.5) - lobular / 6)


def _box_around(grid: Grid, patch: Patch, halo_mm: float) -> tuple[slice, slice, slice]:
    """Part of the grid a patch can reach."""
    box = []
    for axis in range(3):
        reach = patch.radius_mm * patch.stretch[axis] + halo_mm + RIPPLE_REACH_MM
        step, origin = grid.spacing_mm[axis], grid.origin_mm[axis]
        low = int(np.floor((patch.centre_mm[axis] - reach - origin) / step))
        high = int(np.ceil((patch.centre_mm[axis] + reach - origin) / step)) + 1
        box.append(slice(max(low, 0), min(high, grid.shape[axis])))
    return box[0], box[1], box[2]
