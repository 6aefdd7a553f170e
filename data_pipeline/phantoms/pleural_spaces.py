"""Fluid and gas where none belongs: effusion, pneumothorax, gas in the mediastinum."""

from __future__ import annotations

import numpy as np

from data_pipeline.phantoms.anatomy import Anatomy
from data_pipeline.phantoms.anatomy_settings import load_anatomy_settings
from data_pipeline.phantoms.disease_settings import Spaces, load_disease_settings
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.grid import Field
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.textures import smooth_noise


def with_spaces(anatomy: Anatomy, plan: DiseasePlan, habitus: Habitus, rng: np.random.Generator) -> Anatomy:
    """The chest with the fluid and gas of a plan; the lungs of the truth give way to it.

    Args:
        anatomy: Before.
        plan: Which spaces there are.
        habitus: Which side is down.
        rng: Generator of the patient's disease beside the pattern.
    """
    hu, settings = load_anatomy_settings().tissues, load_disease_settings().spaces
    for side, depth_mm in enumerate(plan.effusion_mm):
        if depth_mm > 0:
            fluid = np.maximum(_effusion(anatomy, habitus, depth_mm, settings), anatomy.lungs)
            anatomy = anatomy.with_space(
                _one_side(fluid, anatomy, is_right=side == 0), hu.pleural_fluid, is_in_lung=True
            )
    if plan.pneumothorax_mm:
        gas = np.maximum(_uppermost(anatomy, habitus, abs(plan.pneumothorax_mm)), anatomy.lungs)
        gas = _one_side(gas, anatomy, is_right=plan.pneumothorax_mm > 0)
        anatomy = anatomy.with_space(gas, hu.free_gas, is_in_lung=True)
    if plan.has_pneumomediastinum:
        anatomy = anatomy.with_space(_mediastinal_gas(anatomy, settings, rng), hu.free_gas, is_in_lung=False)
    return anatomy


def _one_side(space: Field, anatomy: Anatomy, *, is_right: bool) -> Field:
    return np.where(anatomy.right_lung == is_right, space, np.float32(50))


def _down(anatomy: Anatomy, habitus: Habitus) -> tuple[Field, float]:
    """Depth towards the table, mm, and its largest value in the lungs."""
    down = np.float32(-1 if habitus.is_prone else 1) * anatomy.grid.axis(1)
    rows = np.flatnonzero((anatomy.lungs < 0).any(axis=(0, 2)))
    return down, float(down.ravel()[rows].max())


def _effusion(anatomy: Anatomy, habitus: Habitus, depth_mm: float, settings: Spaces) -> Field:
    """Distance to fluid on the dependent pleura, thinning upwards."""
    down, lowest = _down(anatomy, habitus)
    level = np.float32(depth_mm) * np.clip(1 - anatomy.base_height / np.float32(settings.meniscus), -1, 1)
    flat = np.float32(lowest) - down - level * np.float32(1.6)
    along = -anatomy.thorax - level
    return np.minimum(flat, along) if depth_mm > settings.coat_from_mm else np.asarray(flat)


def _uppermost(anatomy: Anatomy, habitus: Habitus, depth_mm: float) -> Field:
    """Distance to gas that floats up against the rib cage."""
    down, _ = _down(anatomy, habitus)
    rise = np.clip(-down / np.float32(habitus.chest_half_depth), -1, 1)
    return np.asarray(-anatomy.thorax - np.float32(depth_mm) * (np.float32(1.6) * rise - np.float32(0.3)))


def _mediastinal_gas(anatomy: Anatomy, settings: Spaces, rng: np.random.Generator) -> Field:
    """Distance to streaks of gas in the fat around heart, vessels and trachea."""
    noise = smooth_noise(anatomy.grid, settings.gas_mm, rng)
    fat = np.maximum(np.maximum(-anatomy.organs + 1.5, -anatomy.lungs + 1.5), anatomy.thorax + 8)
    low = (np.float32(settings.gas_height) - anatomy.base_height) * 100
    return np.asarray(np.maximum(np.maximum(fat, low), (np.float32(settings.gas_noise) - noise) * np.float32(4)))
