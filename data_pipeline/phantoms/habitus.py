"""What one body is like, drawn before anything is built. Lengths of people, not of voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.phantoms.anatomy_settings import load_anatomy_settings


@dataclass(frozen=True, slots=True)
class Habitus:
    """Body of one phantom; all lengths in mm.

    Attributes:
        is_female: Sex, as the clinical truth has it.
        lung_height: Lowest recess to apex at this inspiration.
        chest_half_width: Inner half width of the rib cage at its widest.
        chest_half_depth: Inner half depth of the rib cage.
        fat: Subcutaneous fat.
        muscle: Chest-wall muscle between fat and ribs.
        heart_radius: Mean half axis of the heart.
        aorta_radius: Radius of the thoracic aorta.
        trachea_radius: Radius of the trachea.
        dome_right: Height of the right diaphragm dome above the lowest recess; the left one is ``dome_drop`` lower.
        dome_drop: Right dome above left dome.
        breast: Half depth of the breasts, 0 for none.
        breast_apart: Their middles from the midline.
        node: Half axis of the nodes of the mediastinum.
        gas: Half height of the gas in the stomach, 0 for none.
        table_curve: Rise of the table per square of the distance from its middle, 1/mm.
        table_depth: Thickness of the table.
        table_half_width: Half its width.
        mattress: Thickness of what the patient lies on.
        cloth: Distance of a cloth over the body; 0 for none.
        atelectasis: Depth of dependent opacity under the pleura; 0 for none.
        rib_spacing: Vertical distance of the ribs.
        spine_curve: Depth by which the thoracic spine bows backwards.
        scoliosis: Sideways bow of the spine.
        inspiration: 1 full inspiration, 0.75 near the end of expiration.
        arms_down: Arms beside the chest.
        is_prone: Lying face down: dependent density moves to the front, the table is in front.
        base_density: HU of normal parenchyma without vessels.
        gravity: HU added from the uppermost to the lowest lung.
        offset: Body centre from the scanner's centre, (y, x).
    """

    is_female: bool
    lung_height: float
    chest_half_width: float
    chest_half_depth: float
    fat: float
    muscle: float
    heart_radius: float
    aorta_radius: float
    trachea_radius: float
    dome_right: float
    dome_drop: float
    breast: float
    breast_apart: float
    node: float
    gas: float
    table_curve: float
    table_depth: float
    table_half_width: float
    mattress: float
    cloth: float
    atelectasis: float
    rib_spacing: float
    spine_curve: float
    scoliosis: float
    inspiration: float
    arms_down: bool
    is_prone: bool
    base_density: float
    gravity: float
    offset: tuple[float, float]


DECIMALS = 5
SETTING_ONLY = ("inspiration", "expiration", "offset_y", "offset_x")  # drawn, but not fields of their own


def draw_habitus(
    rng: np.random.Generator,
    *,
    is_female: bool,
    age_years: float,
    volume_loss: float = 0.0,
    is_prone: bool = False,
    is_expiratory: bool = False,
) -> Habitus:
    """Draw a body.

    Args:
        rng: Generator of the patient's anatomy.
        is_female: Sex.
        age_years: Widens the aorta and bows the spine.
        volume_loss: Share of lung height lost to fibrosis.
        is_prone: Lying face down.
        is_expiratory: Scanned near the end of expiration.

    Source:
        ``configs/phantoms/anatomy.yaml``.
    """
    settings = load_anatomy_settings()
    drawn: dict[str, float] = {}
    for name in type(settings.habitus).model_fields:
        row = getattr(settings.habitus, name)
        value = row.middle(is_female=is_female, age_years=age_years) + row.sd * rng.standard_normal()
        drawn[name] = float(np.round(np.clip(value, row.low, row.high), DECIMALS))
    inspiration = drawn["expiration" if is_expiratory else "inspiration"]
    held, lost = min(inspiration, 1.0), settings.expiration
    drawn["lung_height"] = round(drawn["lung_height"] * inspiration * (1 - volume_loss), 3)
    drawn["chest_half_depth"] *= (1 - lost.depth_share) + lost.depth_share * inspiration
    drawn["heart_radius"] /= (1 - lost.heart_share) + lost.heart_share * inspiration
    drawn["dome_right"] += lost.dome_mm * (1 - inspiration)
    drawn["base_density"] += lost.density_hu * (1 - held)
    drawn["gravity"] *= 1 + lost.gravity_factor * (1 - held)
    if not is_female:
        drawn["breast"] = 0.0
    return Habitus(
        is_female=is_female,
        is_prone=is_prone,
        inspiration=inspiration,
        arms_down=bool(rng.random() < settings.arms_down.value),
        offset=(drawn["offset_y"], drawn["offset_x"]),
        **{name: value for name, value in drawn.items() if name not in SETTING_ONLY},
    )
