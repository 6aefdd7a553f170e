"""What one body is like, drawn before anything is built. Lengths of people, not of voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
        asymmetry: Relative width of the right lung over the left.
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
    asymmetry: float
    inspiration: float
    arms_down: bool
    is_prone: bool
    base_density: float
    gravity: float
    offset: tuple[float, float]


def _limited(rng: np.random.Generator, mean: float, deviation: float, low: float, high: float) -> float:
    return float(np.round(np.clip(rng.normal(mean, deviation), low, high), 5))


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
        volume_loss: Share of lung height lost to fibrosis, 0..0.3.
        is_prone: Lying face down.
        is_expiratory: Scanned near the end of expiration.

    Source:
        Adult chest dimensions: assumed, checked against the lung volumes and body sizes of the real scans in the docs.
    """
    small = 0.91 if is_female else 1.0
    inspiration = _limited(rng, 0.80, 0.03, 0.72, 0.86) if is_expiratory else _limited(rng, 0.98, 0.025, 0.9, 1.03)
    height = _limited(rng, 252 * small, 18, 190, 300) * inspiration * (1 - volume_loss)
    return Habitus(
        is_female=is_female,
        lung_height=round(height, 3),
        chest_half_width=_limited(rng, 137 * small, 7, 112, 158),
        chest_half_depth=_limited(rng, 95 * small, 8, 72, 120) * (0.5 + 0.5 * inspiration),
        fat=_limited(rng, 19 if is_female else 15, 7, 4, 42),
        muscle=_limited(rng, 11 if is_female else 15, 3, 6, 24),
        heart_radius=_limited(rng, 50 * small, 4, 40, 62) / (0.6 + 0.4 * inspiration),
        aorta_radius=_limited(rng, 12.0 * small + 0.04 * (age_years - 50), 1.2, 8.5, 19),
        trachea_radius=_limited(rng, 9.0 * small, 0.9, 6.5, 11.5),
        dome_right=_limited(rng, 62, 8, 42, 84) + 40 * (1 - inspiration),
        dome_drop=_limited(rng, 11, 5, -2, 24),
        breast=_limited(rng, 30, 11, 8, 60) if is_female else 0.0,
        breast_apart=_limited(rng, 82, 8, 66, 104),
        node=_limited(rng, 3.6, 0.9, 2.0, 6.0),
        gas=_limited(rng, 9, 8, 0, 24),
        table_curve=_limited(rng, 0.0006, 0.0004, 0.0, 0.0013),
        table_depth=_limited(rng, 30, 9, 12, 48),
        table_half_width=_limited(rng, 210, 15, 180, 240),
        mattress=_limited(rng, 12, 6, 3, 26),
        cloth=_limited(rng, 3, 4, 0, 12),
        atelectasis=_limited(rng, -1, 5, 0, 10),
        rib_spacing=_limited(rng, 27 * small, 1.5, 22, 32),
        spine_curve=_limited(rng, 8 + 0.15 * (age_years - 50), 5, 0, 28),
        scoliosis=_limited(rng, 0, 4, -12, 12),
        asymmetry=_limited(rng, 1.04, 0.025, 0.96, 1.12),
        inspiration=inspiration,
        arms_down=bool(rng.random() < 0.08),
        is_prone=is_prone,
        base_density=_limited(rng, -892, 14, -925, -850) + 260 * (1 - min(inspiration, 1.0)),
        gravity=_limited(rng, 48, 14, 15, 100) * (1 + 1.5 * (1 - min(inspiration, 1.0))),
        offset=(_limited(rng, 8, 10, -20, 35), _limited(rng, 0, 7, -18, 18)),
    )
