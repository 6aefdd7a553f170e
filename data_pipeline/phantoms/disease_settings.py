"""The numbers of the diseases as a checked settings model; the values and their sources are in YAML."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import Field, model_validator

from data_pipeline.phantoms.sourced import Range, Sourced, Value
from domain.config_files import resolve_config
from domain.specs import Settings
from domain.strict_yaml import load_settings

DifficultyName = Literal["easy", "realistic", "hard"]
CourseName = Literal["improved", "stable", "worse"]


class Difficulty(Sourced):
    """How far scans stray from the textbook.

    Attributes:
        name: Of the preset.
        border: Moves the component shares: -1 to the textbook, 0 as drawn, +1 to the border between two patterns.
        least_extent: Smallest affected share of lung painted, 0..1.
        extent_factor: Factor on the extents.
        contrast: Factor on the density of ground glass.
        noise: Factor on image noise.
        basal_spread: Deviation of the craniocaudal preference between patients.
        mimic: Probability that a finding typical of another pattern is present in minor form.
        lookalike: Factor on the frequency of forms whose densities look like another pattern's.
    """

    name: DifficultyName
    border: float = Field(ge=-1, le=1)
    least_extent: float
    extent_factor: float
    contrast: float
    noise: float
    basal_spread: float
    mimic: float
    lookalike: float


class Frequencies(Settings):
    """How often a sign goes with its pattern."""

    sparing: Value
    traction: Value
    dense_nsip: Value
    ground_glass_op: Value
    perilobular: Value
    reversed_halo: Value
    halo: Value
    peribronchovascular: Value


class Painted(Settings):
    """Ranges of what is drawn for one patient."""

    ground_glass_hu: Range
    dense_hu: Range
    traction_gain: Range
    geographic: Range
    consolidation_factor: Range
    op_foci: Range
    perilobular_share: Range
    reversed_halo_share: Range
    halo_mm: Range
    op_symmetry: Range
    nsip_symmetry: Range
    mesh_mm: Range
    cyst_mm: Range
    uip_honeycombing: Range
    damage_consolidation: Range
    infection: Range
    emphysema: Range
    mimic_honeycombing: Range
    mimic_emphysema: Range
    air_trapping: Range
    effusion_mm: Range
    pneumothorax_mm: Range


class Rules(Sourced):
    """How the pieces are put together; see the comment in the YAML. ``sparing_mm``: free up to, affected from."""

    most_extent: float
    basal: float
    basal_limits: tuple[float, float]
    op_basal: float
    fibrotic_limits: tuple[float, float]
    calm_traction: float
    border_reach: float
    textbook_reach: float
    least_organizing: float
    full_foci_extent: float
    least_foci: float
    fewest_foci: int
    halo_sign_mm: float
    bronchial_share: float
    other_bronchial_share: float
    hazy_share: float
    uneven_symmetry: float
    sparing_mm: tuple[float, float]


class Places(Sourced):
    """Where findings lie; see the comment in the YAML."""

    interstitial_basal: float
    interstitial_peripheral: float
    interstitial_reach_mm: float
    reticulation_peripheral: float
    side: float
    honeycombing_basal: float
    honeycombing_peripheral: float
    honeycombing_reach_mm: float
    emphysema_apical: float
    panlobular_basal: float
    paraseptal_peripheral: float
    paraseptal_reach_mm: float
    air_trapping_basal: float


class VolumeLoss(Sourced):
    """Share of lung height lost to fibrosis: the fibrotic extent over a number, and at most so much."""

    fibrosis_over_loss: float = Field(gt=0)
    most: float


class Uip(Sourced):
    """Usual interstitial pneumonia; ground glass and reticulation as shares of the patient's extent."""

    ground_glass: float
    reticulation: float
    traction: tuple[float, float]
    symmetry: float


class DiffuseDamage(Sourced):
    """Diffuse alveolar damage; ``ground_glass`` is the least extent."""

    ground_glass: float
    reticulation: float
    foci: int
    halo_mm: float
    peribronchovascular: float
    density_factor: float
    geographic: float
    traction: float
    basal: tuple[float, float]
    symmetry: float


class Infection(Sourced):
    """Consolidation with ground glass around."""

    foci: int
    halo_mm: tuple[float, float]
    peribronchovascular: float
    basal: float


class OtherKinds(Settings):
    """What the kinds of ``other`` look like."""

    uip: Uip
    diffuse_damage: DiffuseDamage
    infection: Infection


class Beside(Settings):
    """Probabilities of findings beside the pattern, and their sides."""

    atelectasis: Value
    air_trapping: Value
    effusion: Value
    pneumomediastinum_mda5: Value
    pneumomediastinum_other: Value
    pneumothorax: Value
    pneumothorax_left: Value
    effusion_left_over_right: Value


class Spaces(Sourced):
    """Fluid and gas where none belongs; see the comment in the YAML."""

    meniscus: float
    coat_from_mm: float
    gas_mm: float
    gas_noise: float
    gas_height: float


class LobuleSettings(Sourced):
    """Sizes of lobules and of what is drawn along them, mm; ``warp_mm`` is how far cells are bent."""

    lobule_mm: float
    septum_mm: float
    mesh_wall_mm: float
    cyst_wall_mm: float
    arc_mm: float
    warp_mm: float


class Variety(Sourced):
    """What differs between lobules or cells; see the comment in the YAML."""

    ground_glass: tuple[float, float]
    ground_glass_grain: float
    filled: tuple[float, float]
    fine_mesh_share: float
    wide_mesh: float
    wide_mesh_wall: float
    small_cyst_share: float
    small_cyst: float
    cyst_walls: tuple[float, float]
    solid_cell_share: float
    free_arc_share: float
    septa_left: float


class Densities(Sourced):
    """HU of findings: of what they consist of, or (mesh, septum, fibrosis, air trapping) what they add.

    ``solid_grain_hu`` is the fine unevenness of consolidation, ``halo_strength`` the share of the patient's ground
    glass that lies around patches.
    """

    mesh_hu: float
    septum_hu: float
    fibrosis_hu: float
    cyst_hu: float
    cyst_wall_hu: float
    solid_cell_hu: float
    solid_hu: float
    solid_grain_hu: float
    halo_strength: float
    emphysema_hu: float
    air_trapping_hu: float


class PatchSettings(Sourced):
    """Places and surfaces of patches.

    Attributes:
        peripheral_mm: Preferred distance of a peripheral patch's middle from the rib cage.
        place_spread_mm2: How sharply places keep to that distance.
        bronchial_spread_mm: Deviation of a peribronchovascular patch's middle from its bronchus.
        bronchial_stretch: How much longer than wide such a patch is.
        largest_bronchus_mm: Radius up to which patches follow a bronchus; none follows the trachea.
        radius: Factor on the mean radius of the patches, from least to greatest.
        stretch: The same along each axis.
        ring_mm: Thickness of the ring of a reversed halo.
        ripple: (length, height) of irregularities of the surface, mm.
        lobular_mm: How far the surface jumps between lobules.
    """

    peripheral_mm: float
    place_spread_mm2: float
    bronchial_spread_mm: float
    bronchial_stretch: float
    largest_bronchus_mm: float
    radius: tuple[float, float]
    stretch: tuple[float, float]
    ring_mm: float
    ripple: tuple[tuple[float, float], ...]
    lobular_mm: float


class AirwaySettings(Sourced):
    """Radii of vessels and airways, mm.

    Attributes:
        artery_mm: Stem of the arteries of a lung.
        vein_mm: Stem of the veins of a lung.
        murray_exponent: Radius of a parent to this power is the sum of those of its children.
        tip_depth_mm: End branches stay this far from the pleura.
        lumen_share: Lumen of an airway over the artery beside it.
        main_bronchus_share: Main bronchi over the trachea.
        smallest_mm: Arteries thinner than this have no airway drawn beside them.
        visible_mm: Lumen from which on a healthy airway shows.
        pulled_mm: Least lumen of an airway that traction makes visible.
        bronchogram_mm: Least lumen of an air bronchogram.
        wall_mm: Thickness of the thinnest wall.
        wall_share: Further thickness per lumen.
        bead_mm: Length of the beads of varicose bronchiectasis.
        bead_share: How much their radius varies.
        bend_mm: How far their ends lie aside.
    """

    artery_mm: float
    vein_mm: float
    murray_exponent: float
    tip_depth_mm: float
    lumen_share: float
    main_bronchus_share: float
    smallest_mm: float
    visible_mm: float
    pulled_mm: float
    bronchogram_mm: float
    wall_mm: float
    wall_share: float
    bead_mm: float
    bead_share: float
    bend_mm: float


class Course(Sourced):
    """What becomes of the disease until the second scan; factors on extents.

    Attributes:
        name: Of the course.
        share: At the average risk.
        direction: How the tilt acts on it.
        ground_glass: Factor.
        consolidation: Factor.
        fibrosis: Factor on reticulation.
        honeycombing: Factor.
    """

    name: CourseName
    share: float = Field(ge=0, le=1)
    direction: float
    ground_glass: float
    consolidation: float
    fibrosis: float
    honeycombing: float


class MostExtents(Sourced):
    """Greatest extents of a second scan, shares of lung."""

    ground_glass: float
    consolidation: float
    reticulation: float
    honeycombing: float


class RiskScale(Sourced):
    """Mean and deviation of the log odds of an event until ``horizon_days``."""

    horizon_days: float
    mean: float
    deviation: float


class FollowUpSettings(Settings):
    """When the second scan is, and what it shows.

    Attributes:
        days: After the first scan.
        courses: What may happen.
        most: Caps of the extents.
        risk: Scale of the risk.
        tilt: Log odds of worse over improved per deviation of the risk.
        soon_days: An event this soon after the second scan is near.
        soon_adds: What it adds, in deviations of the risk.
        patch_stays: Share of the patches that stay in place.
        patch_moves_mm: How far the others are found.
    """

    days: Range
    courses: tuple[Course, ...]
    most: MostExtents
    risk: RiskScale
    tilt: Value
    soon_days: Value
    soon_adds: Value
    patch_stays: Value
    patch_moves_mm: Value

    @model_validator(mode="after")
    def _shares_add_up(self) -> FollowUpSettings:
        total = sum(course.share for course in self.courses)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"follow_up: shares of the courses add up to {total}, expected 1")
        return self

    def course(self, name: str) -> Course:
        """The course of a name."""
        return next(course for course in self.courses if course.name == name)


class DiseaseSettings(Settings):
    """Everything in ``configs/phantoms/disease.yaml``."""

    format_version: Literal[1] = 1
    difficulties: tuple[Difficulty, ...]
    frequencies: Frequencies
    painted: Painted
    rules: Rules
    places: Places
    volume_loss: VolumeLoss
    other: OtherKinds
    beside: Beside
    spaces: Spaces
    lobules: LobuleSettings
    variety: Variety
    densities: Densities
    patches: PatchSettings
    airways: AirwaySettings
    follow_up: FollowUpSettings

    def difficulty(self, name: str) -> Difficulty:
        """The difficulty of a name."""
        return next(row for row in self.difficulties if row.name == name)


@lru_cache(maxsize=4)
def load_disease_settings(name_or_path: str = "disease") -> DiseaseSettings:
    """The shipped numbers, or a file of one's own."""
    return load_settings(DiseaseSettings, resolve_config(name_or_path, "phantoms"))
