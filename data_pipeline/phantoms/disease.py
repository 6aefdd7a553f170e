"""Where the disease is and what it is made of: maps on a coarse grid, by radiologic definition of each pattern."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from data_pipeline.phantoms.anatomy import Anatomy
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.grid import Field
from data_pipeline.phantoms.patches import draw_patches, paint_patches
from data_pipeline.phantoms.shapes import smooth_step
from data_pipeline.phantoms.textures import smooth_noise

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


def _highest_share(score: Field, inside: Field, share: float, softness: float) -> Field:
    """Map that is above one half in the ``share`` of the lung where the score is highest."""
    if share <= 0:
        return np.zeros(score.shape, np.float32)
    values = np.sort(score[inside])
    threshold = values[min(int(len(values) * (1 - share)), len(values) - 1)]
    return smooth_step((score - threshold) / np.float32(2 * softness) + np.float32(0.5))


def _interstitial(plan: DiseasePlan, anatomy: Anatomy, inside: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    """Ground glass and reticulation of the interstitial component."""
    if plan.ground_glass <= 0 and plan.reticulation <= 0:
        nothing = np.zeros(anatomy.grid.shape, np.float32)
        return nothing, nothing
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


def paint_disease(plan: DiseasePlan, anatomy: Anatomy, rng: np.random.Generator) -> DiseaseMaps:
    """Lay the disease of a plan over an anatomy.

    Args:
        plan: What to paint.
        anatomy: Where.
        rng: Generator of the patient's disease.
    """
    inside = anatomy.lungs < 0
    interstitial, reticulation = _interstitial(plan, anatomy, inside, rng)
    consolidation, patches, lobular = paint_patches(anatomy, draw_patches(plan, anatomy, inside, rng), plan.halo, rng)
    honeycombing = holes = np.zeros(anatomy.grid.shape, np.float32)
    coarse = smooth_noise(anatomy.grid, 20, rng) if plan.honeycombing or plan.emphysema else honeycombing
    if plan.honeycombing:
        peripheral = np.clip(1 + anatomy.thorax / 22, 0, 1)
        basal = np.float32(1.6 * plan.basal) * (1 - anatomy.base_height)
        honeycombing = _highest_share(2.0 * peripheral + basal + 0.5 * coarse, inside, plan.honeycombing, 0.15)
    if plan.emphysema:
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
