"""Where the disease is and what it is made of: maps on a coarse grid, by radiologic definition of each pattern."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np

from data_pipeline.phantoms.anatomy import Anatomy
from data_pipeline.phantoms.grid import Field
from data_pipeline.phantoms.textures import smooth_noise
from domain.patterns import Pattern


class OtherKind(StrEnum):
    """What an ``other`` pattern is."""

    UIP = "uip"
    DIFFUSE_DAMAGE = "diffuse_damage"
    INFECTION = "infection"
    EMPHYSEMA = "emphysema"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class DiseasePlan:
    """The disease of one scan. Extents are shares of lung volume, 0..1.

    Attributes:
        pattern: True pattern.
        other_kind: Kind of ``other``; None for the rest.
        ground_glass: Extent of the basal or diffuse ground glass (NSIP component, diffuse damage).
        reticulation: Extent of reticulation inside and around it.
        consolidation: Extent of organizing or infectious consolidation.
        num_foci: Number of patches that make up the consolidation.
        has_sparing: Immediate subpleural sparing.
        traction: Widening factor of airways inside fibrosis, 1 for none.
        perilobular: Share of the patches that are perilobular arcs.
        reversed_halo: Share of the patches that are rings.
        halo: Width of the ground glass around patches, mm.
        peribronchovascular: Share of the patches that lie along the bronchi; the others are peripheral.
        basal: Craniocaudal preference, 0 none to 1 strong.
        honeycombing: Extent of honeycombing.
        emphysema: Extent of emphysema.
        ground_glass_hu: Density added by ground glass.
        symmetry: 1 the same on both sides, 0 one side only.
    """

    pattern: Pattern
    other_kind: OtherKind | None = None
    ground_glass: float = 0.0
    reticulation: float = 0.0
    consolidation: float = 0.0
    num_foci: int = 0
    has_sparing: bool = False
    traction: float = 1.0
    perilobular: float = 0.0
    reversed_halo: float = 0.0
    halo: float = 4.0
    peribronchovascular: float = 0.3
    basal: float = 0.7
    honeycombing: float = 0.0
    emphysema: float = 0.0
    ground_glass_hu: float = 240.0
    symmetry: float = 0.9

    @property
    def volume_loss(self) -> float:
        """Share of lung height lost to fibrosis, 0..0.25 (assumed: a third of the fibrotic extent)."""
        return min(0.25, (self.reticulation + self.honeycombing) / 3)


# Distance of the centres of patches from the rib cage (assumed).
PERIPHERAL_MM, PERIBRONCHOVASCULAR_MM = 5.0, 38.0
FINDINGS = ("ground_glass", "reticulation", "consolidation", "perilobular", "honeycombing", "emphysema")


@dataclass(frozen=True, eq=False)
class DiseaseMaps:
    """Strength 0..1 of each finding on the anatomy's grid, and the extents measured on them, percent of lung."""

    ground_glass: Field
    reticulation: Field
    consolidation: Field
    perilobular: Field
    honeycombing: Field
    emphysema: Field
    extents: dict[str, float] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether a finding is anywhere in the scan."""
        return self.present[name]

    @cached_property
    def present(self) -> dict[str, bool]:
        """Finding -> whether it is anywhere in the scan."""
        return {name: bool(getattr(self, name).any()) for name in FINDINGS}


def _smooth_step(value: Field) -> Field:
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))


def _highest_share(score: Field, inside: Field, share: float, softness: float) -> Field:
    """Map that is above one half in the ``share`` of the lung where the score is highest."""
    if share <= 0:
        return np.zeros(score.shape, np.float32)
    values = np.sort(score[inside])
    threshold = values[min(int(len(values) * (1 - share)), len(values) - 1)]
    return _smooth_step((score - threshold) / np.float32(2 * softness) + np.float32(0.5))


def _interstitial(plan: DiseasePlan, anatomy: Anatomy, inside: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    """Ground glass and reticulation of the interstitial component."""
    depth = -anatomy.thorax
    peripheral = np.clip(1 - depth / 32, 0, 1)
    score = np.float32(2.2 * plan.basal) * (1 - anatomy.base_height) + np.float32(0.7) * peripheral
    score = (
        score
        + np.float32(0.45) * smooth_noise(anatomy.grid, 34, rng)
        + np.float32(0.22) * smooth_noise(anatomy.grid, 13, rng)
    )
    score = score + np.float32((1 - plan.symmetry) * rng.choice([-1.2, 1.2])) * (anatomy.right_lung - np.float32(0.5))
    ground_glass = _highest_share(score, inside, plan.ground_glass, 0.30)
    reticulation = _highest_share(score + np.float32(0.25) * peripheral, inside, plan.reticulation, 0.25)
    if plan.has_sparing:
        spared = np.clip((depth - 5) / 4, 0, 1)
        ground_glass, reticulation = ground_glass * spared, reticulation * spared
    return ground_glass, reticulation


def _foci(plan: DiseasePlan, anatomy: Anatomy, inside: Field, rng: np.random.Generator) -> tuple[Field, Field, Field]:
    """Patches: consolidation, their ground glass, and perilobular arcs."""
    grid = anatomy.grid
    zero = np.zeros(grid.shape, np.float32)
    if plan.num_foci == 0 or plan.consolidation <= 0:
        return zero, zero.copy(), zero.copy()
    places = np.argwhere(inside)
    costal = -anatomy.thorax[inside]
    preference = np.where(rng.random(plan.num_foci) < plan.peribronchovascular, PERIBRONCHOVASCULAR_MM, PERIPHERAL_MM)
    height = anatomy.base_height[inside]
    z, y, x = grid.coordinates()
    ripple = 5.0 * smooth_noise(grid, 11, rng) + 2.0 * smooth_noise(grid, 6, rng)
    voxels = float(inside.sum())
    radius = (3 * plan.consolidation * voxels * float(np.prod(grid.spacing_mm)) / (4 * np.pi * plan.num_foci)) ** (
        1 / 3
    )
    solid = np.full(grid.shape, 1e3, np.float32)
    hollow, lobular = solid.copy(), solid.copy()
    for focus in range(plan.num_foci):
        weight = (1.15 - plan.basal * height) / (20 + (costal - preference[focus]) ** 2) ** 2
        cumulative = np.cumsum(weight)
        chosen = int(np.searchsorted(cumulative, rng.random() * cumulative[-1]))
        centre = places[min(chosen, len(places) - 1)]
        at = [grid.origin_mm[axis] + grid.spacing_mm[axis] * centre[axis] for axis in range(3)]
        size = radius * rng.uniform(0.75, 1.45)
        stretch = rng.uniform(0.75, 1.3, size=3)
        squared = ((z - at[0]) / stretch[0]) ** 2 + ((y - at[1]) / stretch[1]) ** 2 + ((x - at[2]) / stretch[2]) ** 2
        distance = (np.sqrt(squared) - np.float32(size) + ripple).astype(np.float32)
        kind = rng.random()
        target = (
            hollow if kind < plan.reversed_halo else lobular if kind < plan.reversed_halo + plan.perilobular else solid
        )
        np.minimum(target, distance, out=target)
    ring = np.abs(hollow + 4) - 4
    consolidation = _smooth_step(0.5 - np.minimum(solid, ring) / 6)
    rim = np.minimum(np.minimum(solid, hollow), lobular)
    ground_glass = _smooth_step(0.5 - (rim - np.float32(plan.halo)) / 8)
    return consolidation, ground_glass, _smooth_step(0.5 - lobular / 6)


def paint_disease(plan: DiseasePlan, anatomy: Anatomy, rng: np.random.Generator) -> DiseaseMaps:
    """Lay the disease of a plan over an anatomy.

    Args:
        plan: What to paint.
        anatomy: Where.
        rng: Generator of the patient's disease.
    """
    inside = anatomy.lungs < 0
    interstitial, reticulation = _interstitial(plan, anatomy, inside, rng)
    consolidation, patches, lobular = _foci(plan, anatomy, inside, rng)
    peripheral = np.clip(1 + anatomy.thorax / 22, 0, 1)
    coarse = smooth_noise(anatomy.grid, 20, rng)
    basal = np.float32(1.6 * plan.basal) * (1 - anatomy.base_height)
    honeycombing = _highest_share(2.0 * peripheral + basal + 0.5 * coarse, inside, plan.honeycombing, 0.15)
    holes = _highest_share(coarse + 1.5 * anatomy.base_height, inside, plan.emphysema, 0.3)
    ground_glass = np.maximum(interstitial, patches * np.float32(0.9))
    maps = DiseaseMaps(ground_glass, reticulation, consolidation, lobular, honeycombing, holes)
    maps.extents.update(_extents(maps, inside))
    return maps


def _extents(maps: DiseaseMaps, inside: Field) -> dict[str, float]:
    """Share of the lung in which each finding is present, measured on the maps; consolidation outranks the rest."""
    total = float(inside.sum())
    solid = (maps.consolidation >= 0.5) | (maps.perilobular >= 0.5)
    named = {
        "consolidation": solid,
        "ground_glass": (maps.ground_glass >= 0.5) & ~solid,
        "reticulation": maps.reticulation >= 0.5,
        "honeycombing": maps.honeycombing >= 0.5,
        "emphysema": maps.emphysema >= 0.5,
    }
    return {name: round(100 * float((where & inside).sum()) / total, 3) for name, where in named.items()}
