"""The numbers of the bodies as a checked settings model; the values and their sources are in YAML."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import Field, model_validator

from data_pipeline.phantoms.sourced import Sourced, Value
from domain.config_files import resolve_config
from domain.specs import Settings
from domain.strict_yaml import load_settings

HalfAxes = tuple[float, float, float]  # (z, y, x)


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
    """What a lung at zero inspiration would change.

    Attributes:
        density_hu: Added to its density.
        gravity_factor: Share of the gravity gradient added.
        dome_mm: How much higher the dome stands.
        depth_share: Share of the depth of the chest that goes with inspiration.
        heart_share: The same of what divides the heart's radius: it widens as the lungs empty.
    """

    density_hu: float
    gravity_factor: float
    dome_mm: float
    depth_share: float
    heart_share: float


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


class Texture(Sourced):
    """Deviation of tissues about their mean: lung, coarse and fine; others, coarse; of bone as a share."""

    mottle_hu: float
    grain_hu: float
    fat_hu: float
    muscle_hu: float
    organ_hu: float
    bone_share: float


class Walls(Sourced):
    """Thickness of what is thin, mm; ``rib_layer_mm`` are ribs with the muscles between them."""

    left_ventricle_mm: float
    epicardial_fat_mm: float
    pericardium_mm: float
    heart_to_lung_mm: float
    diaphragm_mm: float
    fissure_mm: float
    pleura_mm: float
    rib_layer_mm: float
    skin_mm: float


class LungWidths(Sourced):
    """Widths of the deep halves of the rib cage, shares of its half width."""

    right: float
    left: float


class Heart(Sourced):
    """Half axes of the chambers, shares of the heart's radius."""

    right_atrium: HalfAxes
    right_ventricle: HalfAxes
    left_atrium: HalfAxes
    left_ventricle: HalfAxes
    septum: HalfAxes


class Vessels(Sourced):
    """Radii of the great vessels."""

    ascending_share: float
    descending_share: float
    pulmonary_trunk_mm: float
    right_pulmonary_mm: float
    left_pulmonary_mm: float
    pulmonary_vein_mm: float
    superior_cava_mm: float
    brachiocephalic_artery_mm: float
    carotid_mm: float
    subclavian_mm: float
    right_brachiocephalic_vein_mm: float
    left_brachiocephalic_vein_mm: float
    azygos_mm: float


class OrganSizes(Sourced):
    """Half axes of other organs."""

    spleen_mm: HalfAxes
    stomach_mm: HalfAxes
    stomach_wall_mm: float
    oesophagus_mm: tuple[float, float]


class Bones(Sourced):
    """Sizes of bones; see the comment and the source in the YAML."""

    vertebra_mm: tuple[float, float]
    vertebra_share: float
    arch_mm: float
    arch_half_mm: float
    canal_mm: float
    process_mm: tuple[float, float]
    wings_mm: tuple[float, float]
    rib_mm: float
    rib_slope: float
    sternum_mm: tuple[float, float]
    blade_half_mm: float
    clavicle_mm: float
    humerus_mm: HalfAxes


class AnatomySettings(Settings):
    """Everything in ``configs/phantoms/anatomy.yaml``."""

    format_version: Literal[1] = 1
    habitus: HabitusSettings
    arms_down: Value
    expiration: ExpirationSettings
    tissues: Tissues
    uptake: Uptake
    texture: Texture
    walls: Walls
    spine_before_back: Value
    lung_widths: LungWidths
    heart: Heart
    vessels: Vessels
    organs: OrganSizes
    bones: Bones


@lru_cache(maxsize=4)
def load_anatomy_settings(name_or_path: str = "anatomy") -> AnatomySettings:
    """The shipped numbers, or a file of one's own."""
    return load_settings(AnatomySettings, resolve_config(name_or_path, "phantoms"))
