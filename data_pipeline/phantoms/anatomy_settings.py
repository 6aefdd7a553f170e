"""The numbers of the bodies as a checked settings model; the values and their sources are in YAML."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import Field, model_validator

from data_pipeline.phantoms.sourced import Sourced, Value
from domain.config_files import resolve_config
from domain.specs import Settings
from domain.strict_yaml import load_settings


class Measure(Sourced):
    """One number of a body: normal, cut at two limits.

    Attributes:
        mean: Of men, at 50 years.
        female_mean: Of women; as men's where not given.
        sd: Standard deviation.
        low: Least value.
        high: Greatest value.
        per_year: Added for every year over 50.
    """

    mean: float
    female_mean: float | None = None
    sd: float = Field(gt=0)
    low: float
    high: float
    per_year: float = 0.0

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> Measure:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self

    def middle(self, *, is_female: bool, age_years: float) -> float:
        """Mean of a sex at an age."""
        mean = self.female_mean if is_female and self.female_mean is not None else self.mean
        return mean + self.per_year * (age_years - 50)


class HabitusSettings(Settings):
    """What is drawn for a body, in the order in which it is drawn; see ``Habitus`` for the meaning."""

    lung_height: Measure
    chest_half_width: Measure
    chest_half_depth: Measure
    fat: Measure
    muscle: Measure
    heart_radius: Measure
    aorta_radius: Measure
    trachea_radius: Measure
    dome_right: Measure
    dome_drop: Measure
    breast: Measure
    breast_apart: Measure
    node: Measure
    gas: Measure
    table_curve: Measure
    table_depth: Measure
    table_half_width: Measure
    mattress: Measure
    cloth: Measure
    atelectasis: Measure
    rib_spacing: Measure
    spine_curve: Measure
    scoliosis: Measure
    inspiration: Measure
    expiration: Measure
    base_density: Measure
    gravity: Measure
    offset_y: Measure
    offset_x: Measure


class ExpirationSettings(Sourced):
    """What a lung at zero inspiration would add: HU, share of the gravity gradient, mm of dome."""

    density_hu: float
    gravity_factor: float
    dome_mm: float


class Tissues(Sourced):
    """HU without contrast; ``fissure`` and ``atelectasis`` are what they add to the lung."""

    fat: float
    muscle: float
    skin: float
    blood: float
    myocardium: float
    vessel_wall: float
    node: float
    pericardium: float
    liver: float
    spleen: float
    diaphragm: float
    stomach_content: float
    bowel_gas: float
    marrow: float
    cortex: float
    cartilage: float
    disc: float
    girdle: float
    sternum: float
    arch: float
    rib_marrow: float
    pleural_fluid: float
    free_gas: float
    lumen: float
    lung_vessel: float
    airway_wall: float
    fissure: float
    atelectasis: float
    table: float
    mattress: float
    cloth: float


class Uptake(Sourced):
    """Share of the contrast of blood that an organ takes up."""

    myocardium: float
    liver: float
    spleen: float


class LungTexture(Sourced):
    """Deviation of normal lung about its mean: coarse and fine, HU."""

    mottle_hu: float
    grain_hu: float


class Walls(Sourced):
    """Thickness of what is thin, mm."""

    left_ventricle_mm: float
    epicardial_fat_mm: float
    pericardium_mm: float
    diaphragm_mm: float
    fissure_mm: float


class AnatomySettings(Settings):
    """Everything in ``configs/phantoms/anatomy.yaml``."""

    format_version: Literal[1] = 1
    habitus: HabitusSettings
    arms_down: Value
    expiration: ExpirationSettings
    tissues: Tissues
    uptake: Uptake
    texture: LungTexture
    walls: Walls


@lru_cache(maxsize=4)
def load_anatomy_settings(name_or_path: str = "anatomy") -> AnatomySettings:
    """The shipped numbers, or a file of one's own."""
    return load_settings(AnatomySettings, resolve_config(name_or_path, "phantoms"))
