"""Where the disease is: maps on a coarse grid, by radiologic definition of each pattern."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_pipeline.phantoms.anatomy import Anatomy
from data_pipeline.phantoms.disease_settings import DiseaseSettings
from data_pipeline.phantoms.disease_types import DiseasePlan, EmphysemaKind
from data_pipeline.phantoms.grid import Field
from data_pipeline.phantoms.lobules import Lobules
from data_pipeline.phantoms.patches import Patch, Surface, paint_patches
from data_pipeline.phantoms.shapes import smooth_step
from data_pipeline.phantoms.textures import smooth_noise

FINDINGS = (
    "ground_glass",
    "reticulation",
    "consolidation",
    "perilobular",
    "honeycombing",
    "emphysema",
    "air_trapping",
)


@dataclass(frozen=True, eq=False)
class DiseaseMaps:
    """Strength 0..1 of each finding on the anatomy's grid, and the extents measured on them, percent of lung."""

    ground_glass: Field
    reticulation: Field
    consolidation: Field
    perilobular: Field
    honeycombing: Field
    emphysema: Field
    air_trapping: Field
    extents: dict[str, float]

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
        return np.zeros((1,) * score.ndim, np.float32)
    values = score[inside]
    rank = min(int(len(values) * (1 - share)), len(values) - 1)
    threshold = np.partition(values, rank)[rank]
    return smooth_step((score - threshold) / np.float32(2 * softness) + np.float32(0.5))


class _Painter:
    """What all maps of one scan need."""

    def __init__(
        self, plan: DiseasePlan, anatomy: Anatomy, lobules: Lobules, settings: DiseaseSettings, rng: np.random.Generator
    ) -> None:
        self.plan, self.anatomy, self.rng = plan, anatomy, rng
        self.rules, self.places = settings.rules, settings.places
        self.inside = anatomy.lungs < 0
        self.depth = -anatomy.thorax  # under the rib cage, mm
        self.cell, self.centre = lobules.on_grid(settings.lobules.lobule_mm)

    def noise(self, length_mm: float) -> Field:
        return smooth_noise(self.anatomy.grid, length_mm, self.rng)

    def interstitial(self) -> tuple[Field, Field]:
        """Ground glass and reticulation of the interstitial component."""
        plan, anatomy, places = self.plan, self.anatomy, self.places
        if plan.ground_glass <= 0 and plan.reticulation <= 0:
            nothing = np.zeros((1, 1, 1), np.float32)
            return nothing, nothing
        peripheral = np.clip(1 - self.depth / np.float32(places.interstitial_reach_mm), 0, 1)
        basal = np.float32(places.interstitial_basal * plan.basal) * (1 - anatomy.base_height)
        score = basal + np.float32(places.interstitial_peripheral) * peripheral
        score = score + np.float32(0.45) * self.noise(34) + np.float32(0.22) * self.noise(13)
        score = score + np.float32(plan.geographic) * (self.cell - np.float32(0.5))
        tilt = np.float32((1 - plan.symmetry) * self.rng.choice([-places.side, places.side]))
        score = score + tilt * (anatomy.right_lung - np.float32(0.5))
        softness = 0.32 - 0.4 * plan.geographic
        ground_glass = _highest_share(score, self.inside, plan.ground_glass, softness)
        score = score + np.float32(places.reticulation_peripheral) * peripheral
        reticulation = _highest_share(score, self.inside, plan.reticulation, 0.25)
        if plan.has_sparing:
            free, full = (np.float32(limit) for limit in self.rules.sparing_mm)
            spared = np.clip((self.depth - free) / (full - free), 0, 1)
            ground_glass, reticulation = ground_glass * spared, reticulation * spared
        return ground_glass, reticulation

    def honeycombing(self) -> Field:
        """Under the pleura, at the bases, in layers."""
        if self.plan.honeycombing <= 0:
            return np.zeros((1, 1, 1), np.float32)
        places = self.places
        peripheral = np.clip(1 - self.depth / np.float32(places.honeycombing_reach_mm), 0, 1)
        basal = np.float32(places.honeycombing_basal * self.plan.basal) * (1 - self.anatomy.base_height)
        score = np.float32(places.honeycombing_peripheral) * peripheral + basal + 0.5 * self.noise(20)
        return _highest_share(score, self.inside, self.plan.honeycombing, 0.15)

    def emphysema(self) -> Field:
        """Holes: in the middle of lobules, of whole lobules, or in a row under the pleura."""
        plan, places, height = self.plan, self.places, self.anatomy.base_height
        if plan.emphysema <= 0:
            return np.zeros((1, 1, 1), np.float32)
        score = 0.5 * self.noise(24) + np.float32(places.emphysema_apical) * height
        if plan.emphysema_kind is EmphysemaKind.PANLOBULAR:
            score = 0.5 * self.noise(30) - np.float32(places.panlobular_basal) * height + np.float32(0.9) * self.cell
        elif plan.emphysema_kind is EmphysemaKind.PARASEPTAL:
            peripheral = np.clip(1 - self.depth / np.float32(places.paraseptal_reach_mm), 0, 1)
            score = score + np.float32(places.paraseptal_peripheral) * peripheral - np.float32(1.2) * self.centre
        else:
            score = score - np.float32(3.0) * self.centre
        return _highest_share(score, self.inside, plan.emphysema, 0.12)

    def air_trapping(self) -> Field:
        """Lobules that stay black between normal ones."""
        if self.plan.air_trapping <= 0:
            return np.zeros((1, 1, 1), np.float32)
        basal = np.float32(self.places.air_trapping_basal) * (1 - self.anatomy.base_height)
        score = self.cell + np.float32(0.35) * self.noise(40) + basal
        return _highest_share(score, self.inside, self.plan.air_trapping, 0.08)


def paint_disease(
    plan: DiseasePlan,
    anatomy: Anatomy,
    *,
    patches: list[Patch],
    lobules: Lobules,
    settings: DiseaseSettings,
    rng: np.random.Generator,
) -> DiseaseMaps:
    """Lay the disease of a plan over an anatomy.

    Args:
        plan: What to paint.
        anatomy: Where.
        patches: Where consolidation is.
        lobules: Cells that borders follow.
        settings: Sizes.
        rng: Generator of the patient's maps.
    """
    painter = _Painter(plan, anatomy, lobules, settings, rng)
    interstitial, reticulation = painter.interstitial()
    surface = Surface(plan.halo, settings.patches, painter.cell)
    consolidation, around, lobular = paint_patches(anatomy, patches, surface, rng)
    named = {
        "ground_glass": np.maximum(interstitial, around * np.float32(settings.densities.halo_strength)),
        "reticulation": reticulation,
        "consolidation": consolidation,
        "perilobular": lobular,
        "honeycombing": painter.honeycombing(),
        "emphysema": painter.emphysema(),
        "air_trapping": painter.air_trapping(),
    }
    whole = {name: np.broadcast_to(field, anatomy.grid.shape) for name, field in named.items()}
    return DiseaseMaps(extents=_extents(whole, painter.inside), **whole)


def _extents(maps: dict[str, Field], inside: Field) -> dict[str, float]:
    """Share of the lung in which each finding is present, measured on the maps; consolidation outranks the rest."""
    total = float(inside.sum())
    solid = (maps["consolidation"] >= 0.5) | (maps["perilobular"] >= 0.5)
    named = {
        "consolidation": solid,
        "ground_glass": (maps["ground_glass"] >= 0.5) & ~solid,
        "reticulation": maps["reticulation"] >= 0.5,
        "honeycombing": maps["honeycombing"] >= 0.5,
        "emphysema": maps["emphysema"] >= 0.5,
        "air_trapping": maps["air_trapping"] >= 0.5,
    }
    return {name: round(100 * float((where & inside).sum()) / total, 3) for name, where in named.items()}
