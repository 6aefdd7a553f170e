"""The diaphragm and what shows below it: liver, spleen, stomach with content and gas, fat between them."""

from __future__ import annotations

import numpy as np

from data_pipeline.phantoms.anatomy_settings import load_anatomy_settings
from data_pipeline.phantoms.body_frame import Frame
from data_pipeline.phantoms.grid import Field
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.mediastinum import Organs
from data_pipeline.phantoms.shapes import ellipsoid

BELOW = 0.55  # share of lung height above which nothing of the abdomen is


def diaphragm_of(habitus: Habitus, frame: Frame) -> Field:
    """Height of the domes over each point, mm; right and left dome meet under the heart. Shape (1, Y, X) or more."""
    domes = []
    for side, dome in ((-1.0, habitus.dome_right), (1.0, habitus.dome_right - habitus.dome_drop)):
        reach_x = (frame.x - np.float32(side * habitus.chest_half_width * 0.48)) / np.float32(
            habitus.chest_half_width * 0.62
        )
        reach_y = (frame.y - frame.centre_y + 14) / np.float32(habitus.chest_half_depth * 1.05)
        domes.append(np.float32(dome) * (1 - 0.9 * (reach_x * reach_x + reach_y * reach_y)))
    return np.where(frame.x < 0, domes[0], domes[1])


def build_abdomen(habitus: Habitus, frame: Frame, organs: Organs, thorax: Field, contrast_hu: float) -> None:
    """Add the abdomen to the organs.

    Args:
        habitus: The body.
        frame: Its curves on the grid.
        organs: Gets the new ones.
        thorax: Inner surface of the rib cage.
        contrast_hu: HU that contrast adds to blood, 0 for none.
    """
    settings = load_anatomy_settings()
    hu, muscle_mm, sizes = settings.tissues, settings.walls.diaphragm_mm, settings.organs
    part, there = frame.part((-1.0, BELOW))
    inner = thorax[part] + 3
    below = (there.z - diaphragm_of(habitus, there)) * np.float32(0.75)
    y = there.y - there.centre_y
    low = there.z - np.float32(habitus.dome_right - habitus.dome_drop)
    cavity = np.maximum(inner, below + muscle_mm)
    organs.add(np.maximum(thorax[part], np.abs(below + muscle_mm / 2) - muscle_mm / 2), hu.diaphragm, part)
    liver = np.maximum(cavity + 1, there.x - 22 - 0.7 * (np.float32(habitus.dome_right) - there.z))
    organs.add(liver, hu.liver + settings.uptake.liver * contrast_hu, part)
    spleen = ellipsoid((low + 42, y - 44, there.x - 0.66 * np.float32(habitus.chest_half_width)), sizes.spleen_mm)
    organs.add(np.maximum(spleen, cavity), hu.spleen + settings.uptake.spleen * contrast_hu, part)
    stomach = ellipsoid((low + 46, y + 16, there.x - 0.42 * np.float32(habitus.chest_half_width)), sizes.stomach_mm)
    stomach = np.maximum(stomach, cavity + 2)
    organs.add(stomach, hu.diaphragm, part)
    organs.carve(stomach + sizes.stomach_wall_mm, hu.stomach_content, part)
    if habitus.gas > 0:
        up = np.float32(1 if habitus.is_prone else -1)
        level = 46 - np.float32(2 * habitus.gas)  # a bubble floats above the fluid
        organs.carve(np.maximum(stomach + 4, level - up * (y + 16)), hu.bowel_gas, part)
