"""Patches of organizing pneumonia or infection: solid, ring-shaped or perilobular, with ground glass around."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.anatomy import Anatomy
from data_pipeline.phantoms.disease_settings import DiseaseSettings, PatchSettings
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.randomness import STABLE_DECIMALS
from data_pipeline.phantoms.shapes import smooth_step
from data_pipeline.phantoms.textures import smooth_noise
from data_pipeline.phantoms.trees import Tubes

WEIGHT_DECIMALS = 12  # of the weights of places: their last bits differ between processors

RIPPLE_REACH_MM = 30.0  # further out than this no irregularity carries a patch
FAR_MM = 1000.0


class PatchKind(Enum):
    """How a patch is filled."""

    SOLID = 0
    RING = 1
    PERILOBULAR = 2
    HAZY = 3


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


@dataclass(frozen=True, eq=False)
class Surface:
    """What the surface of a patch is like.

    Attributes:
        halo_mm: Width of the ground glass around it.
        settings: Irregularities.
        cell: Number of the lobule at each point of the grid.
    """

    halo_mm: float
    settings: PatchSettings
    cell: Field


class _Places:
    """Where patches may lie: under the pleura, or along the bronchi."""

    def __init__(self, plan: DiseasePlan, anatomy: Anatomy, airways: Tubes, settings: PatchSettings) -> None:
        self._anatomy, self._settings, self._basal = anatomy, settings, plan.basal
        self._inside = np.argwhere(anatomy.lungs < 0)
        self.lung_mm3 = len(self._inside) * float(np.prod(anatomy.grid.spacing_mm))
        at = tuple(self._inside.T)
        self._costal, self._height = -anatomy.thorax[at], anatomy.base_height[at]
        self._bronchi = airways.between(0.0, settings.largest_bronchus_mm)
        top = anatomy.grid.origin_mm[0] + anatomy.grid.spacing_mm[0] * anatomy.grid.shape[0]
        self._bronchus_height = np.clip(self._bronchi.start[:, 0] / max(top, 1.0), 0, 1)

    def peripheral(self, draw: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A middle near the rib cage, and no direction."""
        spread = self._settings.place_spread_mm2
        weight = (1.15 - self._basal * self._height) / (
            spread + (self._costal - self._settings.peripheral_mm) ** 2
        ) ** 2
        chosen = _weighted(weight, draw)
        grid = self._anatomy.grid
        centre = np.array(grid.origin_mm) + np.array(grid.spacing_mm) * self._inside[chosen]
        return centre, np.zeros(3)

    def bronchial(self, draw: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A middle beside a bronchus, and the direction of the bronchus."""
        along = self._bronchi.end - self._bronchi.start
        length = np.sqrt((along**2).sum(axis=1))
        chosen = _weighted(length * (1.15 - self._basal * self._bronchus_height), draw)
        aside = rng.standard_normal(3) * self._settings.bronchial_spread_mm
        middle = (self._bronchi.start[chosen] + self._bronchi.end[chosen]) / 2
        return middle + aside, along[chosen] / max(float(length[chosen]), 1e-6)

    def near(self, centre: NDArray[np.float64], distance_mm: float, draw: float) -> NDArray[np.float64]:
        """A place in the lungs about so far from another, at its depth under the rib cage where there is one."""
        grid = self._anatomy.grid
        positions = np.array(grid.origin_mm) + np.array(grid.spacing_mm) * self._inside
        away = np.sqrt(((positions - centre) ** 2).sum(axis=1))
        depth = self._costal[int(np.argmin(away))]
        weight = 1 / (25 + (away - distance_mm) ** 2) ** 2 / (60 + (self._costal - depth) ** 2)
        return np.asarray(positions[_weighted(weight, draw)])


def _weighted(weight: Field, draw: float) -> int:
    cumulative = np.cumsum(np.round(weight.astype(np.float64), WEIGHT_DECIMALS))
    return min(int(np.searchsorted(cumulative, draw * cumulative[-1])), len(cumulative) - 1)


def draw_patches(
    plan: DiseasePlan, anatomy: Anatomy, airways: Tubes, settings: PatchSettings, rng: np.random.Generator
) -> list[Patch]:
    """Draw places, sizes and kinds; together the patches take about ``plan.consolidation`` of the lung.

    Args:
        plan: How many, how large, where.
        anatomy: Lungs and rib cage.
        airways: Bronchi that some patches follow.
        settings: Distances.
        rng: Generator of the patient's patches.
    """
    if plan.num_foci == 0 or plan.consolidation <= 0:
        return []
    places = _Places(plan, anatomy, airways, settings)
    radius = (3 * plan.consolidation * places.lung_mm3 / (4 * np.pi * plan.num_foci)) ** (1 / 3)
    small, large = settings.radius
    short, long = settings.stretch
    patches = []
    for _ in range(plan.num_foci):
        draws = rng.random(7)
        if draws[0] < plan.peribronchovascular:
            centre, along = places.bronchial(float(draws[1]), rng)
        else:
            centre, along = places.peripheral(float(draws[1]))
        stretch = (short + (long - short) * draws[2:5]) * (1 + (settings.bronchial_stretch - 1) * np.abs(along))
        own = radius * (small + (large - small) * draws[5]) / max(float(np.prod(stretch)), 0.1) ** (1 / 3)
        kind = _kind(plan, float(draws[6]))
        patches.append(Patch(_point(centre), round(own, STABLE_DECIMALS), _point(stretch), kind))
    return patches


def move_patches(
    patches: list[Patch],
    factor: float,
    anatomy: Anatomy,
    plan: DiseasePlan,
    airways: Tubes,
    settings: DiseaseSettings,
    rng: np.random.Generator,
) -> list[Patch]:
    """The patches months later: some stay and change in size, the others are found elsewhere.

    Args:
        patches: Of the first scan.
        factor: Factor on their volume.
        anatomy: Lungs.
        plan: Disease at the second scan.
        airways: Bronchi.
        settings: How many stay, how far the others move.
        rng: Generator of the second scan.
    """
    if not patches or factor <= 0:
        return []
    places, moved = _Places(plan, anatomy, airways, settings.patches), []
    for patch in patches:
        draws = rng.random(3)
        centre = np.array(patch.centre_mm)
        if draws[0] >= settings.follow_up.patch_stays.value:
            centre = places.near(centre, settings.follow_up.patch_moves_mm.value * (0.6 + 0.8 * draws[1]), draws[2])
        size = patch.radius_mm * float(np.cbrt(factor * (0.7 + 0.6 * draws[1])))
        moved.append(replace(patch, centre_mm=_point(centre), radius_mm=round(size, STABLE_DECIMALS)))
    return moved


def _point(values: NDArray[np.float64]) -> tuple[float, float, float]:
    z, y, x = (float(np.round(value, STABLE_DECIMALS)) for value in values)
    return z, y, x


def _kind(plan: DiseasePlan, draw: float) -> PatchKind:
    if draw < plan.reversed_halo:
        return PatchKind.RING
    left = max(1 - plan.reversed_halo - plan.perilobular, 0.0)
    if draw < 1 - left:
        return PatchKind.PERILOBULAR
    return PatchKind.HAZY if draw > 1 - left * plan.hazy else PatchKind.SOLID


def paint_patches(
    anatomy: Anatomy, patches: list[Patch], surface: Surface, rng: np.random.Generator
) -> tuple[Field, Field, Field]:
    """Consolidation, ground glass inside and around, and the regions of perilobular arcs; each 0..1.

    Args:
        anatomy: Gives the grid.
        patches: What to paint.
        surface: Irregularities and halo.
        rng: Generator of the patient's disease.
    """
    grid = anatomy.grid
    if not patches:
        return tuple(np.zeros((1, 1, 1), np.float32) for _ in range(3))  # type: ignore[return-value]  # three of them
    settings, halo_mm = surface.settings, surface.halo_mm
    ripple = np.float32(settings.lobular_mm) * (surface.cell - np.float32(0.5))
    for length, height in settings.ripple:
        ripple += np.float32(height) * smooth_noise(grid, length, rng)
    distances = {kind: np.full(grid.shape, FAR_MM, np.float32) for kind in PatchKind}
    for patch in patches:
        box = _box_around(grid, patch, halo_mm)
        squared: Field = np.zeros((1, 1, 1), np.float32)
        for axis in range(3):
            along = grid.axis(axis)[tuple(box[axis] if other == axis else slice(None) for other in range(3))]
            squared = squared + ((along - np.float32(patch.centre_mm[axis])) / np.float32(patch.stretch[axis])) ** 2
        distance = np.sqrt(squared) - np.float32(patch.radius_mm) + ripple[box]
        target = distances[patch.kind][box]
        np.minimum(target, distance, out=target)
    solid, hollow, lobular, hazy = (distances[kind] for kind in PatchKind)
    half_ring = np.float32(settings.ring_mm / 2)
    ring = np.abs(hollow + half_ring) - half_ring
    consolidation = smooth_step(np.float32(0.5) - np.minimum(solid, ring) / 6)
    rim = np.minimum(np.minimum(solid, hollow), np.minimum(lobular, hazy))
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
