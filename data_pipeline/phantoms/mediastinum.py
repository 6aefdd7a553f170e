"""What lies between the lungs: chambers of the heart in their pericardium, great vessels, nodes, fat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.phantoms.anatomy_settings import HalfAxes, load_anatomy_settings
from data_pipeline.phantoms.body_frame import Box, Frame
from data_pipeline.phantoms.grid import Field
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.shapes import FAR_MM, blend, capsule, circle, ellipsoid, superellipse

BETWEEN_LUNGS_MM = (-75.0, 80.0)

# Places: (height as a share of lung height, depth as a share of chest depth, mm to the left).
RIGHT_ATRIUM, RIGHT_VENTRICLE = (0.31, -0.16, -26.0), (0.27, -0.40, 8.0)
LEFT_ATRIUM, LEFT_VENTRICLE = (0.38, 0.10, 6.0), (0.26, -0.22, 45.0)
SEPTUM = (0.29, -0.20, 22.0)
NODES = ((0.67, -0.02, -14.0), (0.56, 0.13, 3.0), (0.69, 0.04, 21.0), (0.74, -0.12, -4.0))


@dataclass
class Organs:
    """Collects organs: the nearest one gives its HU."""

    distance: Field
    values: Field

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Organs:
        """No organ anywhere."""
        return cls(np.full(shape, FAR_MM, np.float32), np.full(shape, 40, np.float32))

    def add(self, organ: Field, hu: float, part: Box | None = None) -> None:
        """One more organ, on some slices or on all; inside others the later one wins where it is nearer its middle."""
        part = part or (slice(None), slice(None), slice(None))
        distance, values = self.distance[part], self.values[part]
        np.copyto(values, np.float32(hu), where=organ < distance)
        np.minimum(distance, organ, out=distance)

    def carve(self, cavity: Field, hu: float, part: Box) -> None:
        """Change the HU inside a cavity of an organ that is there already."""
        np.copyto(self.values[part], np.float32(hu), where=cavity < 0)


def build_mediastinum(habitus: Habitus, frame: Frame, organs: Organs, blood_hu: float) -> Field:
    """Add heart and vessels to the organs.

    Args:
        habitus: The body.
        frame: Its curves on the grid.
        organs: Gets the new ones.
        blood_hu: HU of blood, raised by contrast.

    Returns:
        Distance to all that keeps the lungs apart, fat included.
    """
    apart = _fat(habitus, frame)
    part, heart, here = _heart(habitus, frame, organs, blood_hu)
    apart[part] = np.minimum(apart[part], blend(heart - load_anatomy_settings().walls.heart_to_lung_mm, here, 8.0))
    _vessels(habitus, frame, organs, apart, blood_hu)
    for height, depth, x in NODES:
        part, there = frame.part((height - 0.06, height + 0.06), x=(-50, 60))
        centre = _from(there, habitus, (height, depth, x))
        organs.add(
            ellipsoid(centre, (habitus.node, habitus.node * 0.8, habitus.node * 1.2)),
            load_anatomy_settings().tissues.node,
            part,
        )
    return apart


def _from(frame: Frame, habitus: Habitus, place: tuple[float, float, float]) -> tuple[Field, Field, Field]:
    """Offsets (z, y, x) from a place given as shares of lung height and chest depth, and mm to the left."""
    height, depth, x = place
    return (
        frame.z - np.float32(height * habitus.lung_height),
        frame.y - frame.centre_y - np.float32(depth * habitus.chest_half_depth),
        frame.x - np.float32(x),
    )


def _fat(habitus: Habitus, frame: Frame) -> Field:
    """Fat around vessels and oesophagus; thin behind the breast bone where the lungs nearly meet."""
    y = frame.y - frame.centre_y
    before = np.clip(-y / frame.half_depth - np.float32(0.5), 0, 1)
    junction = np.abs(frame.x - 3 * (y < 0)) - 1.2 - np.float32(16 + 0.3 * habitus.fat) * before * before
    apart = np.array(np.broadcast_to(junction, frame.z.shape[:1] + y.shape[1:2] + frame.x.shape[2:]), np.float32)
    part, here = frame.part(x=(-80, 80))
    y = here.y - here.centre_y
    upper = np.clip((here.height - 0.5) / 0.5, 0, 1)
    width = np.float32(25 + 0.35 * habitus.fat)
    core = superellipse(here.x, y - 0.06 * here.half_depth, width - 6 * upper, here.half_depth * np.float32(0.56))
    core = np.maximum(core, (np.float32(0.36) - here.height) * np.float32(habitus.lung_height))
    behind = superellipse(here.x - 8, here.y - here.spine_y + 20, 20.0, 16.0)  # oesophagus and aorta
    apart[part] = blend(np.minimum(core, behind), apart[part], 6.0)
    for side, height in ((-1.0, 0.53), (1.0, 0.56)):
        part, there = frame.part((height - 0.2, height + 0.2), x=(-90, 90))
        hilum = ellipsoid(_from(there, habitus, (height, 0.07, side * 24.0)), (19, 13, 25))
        apart[part] = blend(apart[part], hilum, 8.0)
    return apart


def _heart(habitus: Habitus, frame: Frame, organs: Organs, blood_hu: float) -> tuple[Box, Field, Field]:
    """Four chambers, muscle of the left ventricle, pericardium over a layer of fat."""
    part, there = frame.part((-1.0, 0.62), y=(-170, 110), x=(-120, 150))
    settings = load_anatomy_settings()
    walls, sizes, radius = settings.walls, settings.heart, habitus.heart_radius

    def chamber(place: tuple[float, float, float], size: HalfAxes) -> Field:
        return ellipsoid(_from(there, habitus, place), (radius * size[0], radius * size[1], radius * size[2]))

    chambers = [
        chamber(RIGHT_ATRIUM, sizes.right_atrium),
        chamber(RIGHT_VENTRICLE, sizes.right_ventricle),
        chamber(LEFT_ATRIUM, sizes.left_atrium),
    ]
    left, middle = chamber(LEFT_VENTRICLE, sizes.left_ventricle), chamber(SEPTUM, sizes.septum)
    heart = np.minimum(left, middle)  # the septum lies between the chambers
    for cavity in chambers:
        heart = blend(heart, cavity, 18.0)
    half = walls.pericardium_mm / 2
    sac = np.abs(heart - np.float32(walls.epicardial_fat_mm + half)) - np.float32(half)
    organs.add(sac, settings.tissues.pericardium, part)
    muscle_hu = settings.tissues.myocardium + settings.uptake.myocardium * (blood_hu - settings.tissues.blood)
    organs.add(heart, muscle_hu, part)
    organs.carve(np.minimum(np.minimum(chambers[0], chambers[1]), chambers[2]) + 2, blood_hu, part)
    organs.carve(left, muscle_hu, part)
    organs.carve(left + walls.left_ventricle_mm, blood_hu, part)
    pads = np.full((1, 1, 1), FAR_MM, np.float32)
    for side in (-1.0, 1.0):
        pad = ellipsoid(_from(there, habitus, (0.17, -0.52, 8 + side * 46.0)), (26, 20, 22))
        pads = np.minimum(pads, pad + 18 - np.float32(0.9 * habitus.fat))
    return part, heart, pads


def _vessels(habitus: Habitus, frame: Frame, organs: Organs, apart: Field, blood_hu: float) -> None:
    """Aorta with its arch, pulmonary arteries, caval veins, arteries of the arch; oesophagus."""
    settings = load_anatomy_settings()
    sizes, organ_sizes = settings.vessels, settings.organs
    radius, height = habitus.aorta_radius, habitus.lung_height
    arch = 0.71
    ascending_at, descending_depth = (-13.0, -0.20), 0.34
    part, there = frame.part((-1.0, arch), x=BETWEEN_LUNGS_MM)
    descending = circle(there.x - 24, there.y - there.spine_y + 13, radius * sizes.descending_share + 0 * there.z)
    organs.add(descending, blood_hu, part)
    apart[part] = np.minimum(apart[part], descending - 3)
    part, there = frame.part((0.40, arch), x=BETWEEN_LUNGS_MM)
    _, y, x = _from(there, habitus, (0.0, ascending_at[1], ascending_at[0]))
    organs.add(circle(x, y, radius * sizes.ascending_share + 0 * there.z), blood_hu, part)
    part, there = frame.part((arch - 0.12, arch + 0.14), x=BETWEEN_LUNGS_MM)
    top = (arch + 0.02, 0.12, 12.0)
    depth = habitus.chest_half_depth
    for begin, end in (
        ((arch - 0.02, ascending_at[1], ascending_at[0]), top),
        ((arch - 0.02, descending_depth, 24.0), top),
    ):
        step = ((end[0] - begin[0]) * height, (end[1] - begin[1]) * depth, end[2] - begin[2])
        tube = capsule(_from(there, habitus, begin), step, radius)
        organs.add(tube, blood_hu, part)
        apart[part] = np.minimum(apart[part], tube - 3)
    part, there = frame.part((0.42, 0.68), x=BETWEEN_LUNGS_MM)
    for begin, end, size in (
        ((0.46, -0.36, 12.0), (0.57, -0.02, 20.0), sizes.pulmonary_trunk_mm),
        ((0.56, -0.02, 18.0), (0.55, 0.06, -34.0), sizes.right_pulmonary_mm),
        ((0.57, -0.02, 20.0), (0.58, 0.14, 38.0), sizes.left_pulmonary_mm),
        ((0.44, 0.10, -34.0), (0.42, 0.10, 40.0), sizes.pulmonary_vein_mm),  # lower veins into the left atrium
    ):
        step = ((end[0] - begin[0]) * height, (end[1] - begin[1]) * depth, end[2] - begin[2])
        organs.add(capsule(_from(there, habitus, begin), step, size), blood_hu, part)
    part, there = frame.part((0.36, 0.86), x=BETWEEN_LUNGS_MM)
    _, y, x = _from(there, habitus, (0.0, -0.10, -31.0))
    cava = circle(x, y, sizes.superior_cava_mm + 0 * there.z)
    organs.add(cava, blood_hu, part)
    apart[part] = np.minimum(apart[part], cava - 2)
    part, there = frame.part((arch + 0.05, 2.0), x=BETWEEN_LUNGS_MM)
    for x_at, depth_at, size in (
        (-14, -0.12, sizes.brachiocephalic_artery_mm),
        (5, 0.02, sizes.carotid_mm),
        (19, 0.10, sizes.subclavian_mm),
        (-27, -0.22, sizes.right_brachiocephalic_vein_mm),
        (22, -0.26, sizes.left_brachiocephalic_vein_mm),
    ):
        _, y, x = _from(there, habitus, (0.0, depth_at, float(x_at)))
        organs.add(circle(x, y, size + 0 * there.z), blood_hu, part)
    part, there = frame.part(x=BETWEEN_LUNGS_MM)
    behind_y = there.y - there.spine_y
    oesophagus = superellipse(there.x - 5, behind_y + 25, *organ_sizes.oesophagus_mm)
    organs.add(oesophagus, settings.tissues.vessel_wall, part)
    organs.add(circle(there.x + 7, behind_y + 17, sizes.azygos_mm), blood_hu, part)
