"""The healthy chest as signed distances and tissue values on a coarse grid. Trees, textures and disease come later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.phantoms.body_frame import Frame, build_frame
from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.shapes import FAR_MM, circle, ellipsoid, superellipse
from data_pipeline.phantoms.skeleton import rib_cage, spine_of

FAT_HU = -102.0
MUSCLE_HU = 52.0
BLOOD_HU = 42.0
LIVER_HU = 58.0
SPLEEN_HU = 50.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Fields on ``grid``; distances in mm, negative inside.

    Attributes:
        body: Skin surface.
        muscle: Boundary of subcutaneous fat and muscle.
        thorax: Inner surface of the rib cage.
        lungs: Both lungs.
        right_lung: x < midline side: True where the nearer lung is the right one. Boolean.
        organs: Soft organs inside the rib cage and below the diaphragm.
        organ_hu: HU of the nearest organ.
        bones: Bones.
        bone_hu: HU of the nearest bone.
        table: Shells of the scanner table.
        fissures: Distance to the nearest interlobar fissure, without sign.
        base_height: Height above the lung base as a share of lung height, 0 base to 1 apex.
        carina: (z, y, x) of the tracheal bifurcation, mm.
        hila: (z, y, x) of the right and the left hilum, mm.
    """

    grid: Grid
    body: Field
    muscle: Field
    thorax: Field
    lungs: Field
    right_lung: Field
    organs: Field
    organ_hu: Field
    bones: Field
    bone_hu: Field
    table: Field
    fissures: Field
    base_height: Field
    carina: tuple[float, float, float]
    hila: tuple[tuple[float, float, float], tuple[float, float, float]]


def _body(habitus: Habitus, frame: Frame) -> Field:
    body = superellipse(frame.x, frame.y - 0.4 * frame.centre_y, frame.body_half_width, frame.body_half_depth)
    if habitus.breast > 0:
        front = -float(habitus.chest_half_depth) - habitus.fat * 0.5 - habitus.muscle
        for side in (-1.0, 1.0):
            along = frame.y - front - np.abs(frame.x) * np.float32(0.25) + 10
            offsets = (frame.z - 0.40 * habitus.lung_height, along, frame.x - side * 84)
            body = np.minimum(body, ellipsoid(offsets, (62, habitus.breast + 8, 66)))
    groove = np.clip(1 - (frame.x / 24) ** 2, 0, 1) * (frame.y > 0)
    body = body + np.float32(5) * groove
    if habitus.arms_down:
        for side in (-1.0, 1.0):
            reach = habitus.chest_half_width + habitus.fat + habitus.muscle + 58
            body = np.minimum(body, circle(frame.x - side * reach, frame.y - 8, 44 + 0 * frame.z))
    return body


def _lungs(habitus: Habitus, frame: Frame, thorax: Field) -> Field:
    """Two lungs with paravertebral gutters and diaphragm recesses, before the mediastinum is taken out."""
    lungs = np.full(thorax.shape, FAR_MM, np.float32)
    for side, dome, scale in (
        (-1.0, habitus.dome_right, habitus.asymmetry),
        (1.0, habitus.dome_right - habitus.dome_drop, 1.0),
    ):
        half = frame.half_width * np.float32(0.60 * scale) + 1
        lung = superellipse(
            frame.x - side * (frame.half_width * 1.02 - half),
            frame.y - frame.centre_y,
            half,
            frame.half_depth * np.float32(1.06),
        )
        centre_x = side * habitus.chest_half_width * 0.50
        reach_x = (frame.x - np.float32(centre_x)) / np.float32(habitus.chest_half_width * 0.62)
        reach_y = (frame.y - frame.centre_y + 14) / np.float32(habitus.chest_half_depth * 1.05)
        bottom = np.float32(dome) * (1 - 0.9 * (reach_x * reach_x + reach_y * reach_y))
        lung = np.maximum(lung, (bottom - frame.z) * np.float32(0.75))
        lung = np.maximum(lung, -side * frame.x)
        lungs = np.minimum(lungs, lung)
    return np.maximum(lungs, thorax)


@dataclass
class _Organs:
    """Collects organs: the nearest one gives its HU."""

    distance: Field
    values: Field

    def add(self, organ: Field, hu: float) -> None:
        self.values = np.where(organ < self.distance, np.float32(hu), self.values)
        self.distance = np.minimum(self.distance, organ)


def _mediastinum(habitus: Habitus, frame: Frame, blood_hu: float) -> tuple[_Organs, Field]:
    """Heart, great vessels, oesophagus; and the distance to all that keeps the lungs apart."""
    height, z = np.float32(habitus.lung_height), frame.z
    y = frame.y - frame.centre_y
    organs = _Organs(
        np.full(np.broadcast_shapes(z.shape, y.shape, frame.x.shape), FAR_MM, np.float32),
        np.full((1, 1, 1), 40, np.float32),
    )
    heart_z = np.float32(0.29 * habitus.lung_height)
    across = frame.x - 20 + (z - heart_z) * np.float32(0.35)
    radius = habitus.heart_radius
    heart = ellipsoid(
        (z - heart_z, y + 0.34 * habitus.chest_half_depth, across), (radius * 1.1, radius * 0.98, radius * 1.2)
    )
    organs.add(heart, blood_hu)
    tip = np.float32(habitus.aorta_radius)
    arch_z = 0.76 * height
    descending_y = np.float32(habitus.chest_half_depth * 0.50)
    descending = np.maximum(circle(frame.x - 24, y - descending_y, tip * 0.92 + 0 * z), z - arch_z)
    ascending = circle(frame.x + 14, y + np.float32(habitus.chest_half_depth * 0.22), tip * 1.25 + 0 * z)
    ascending = np.maximum(ascending, np.maximum(z - arch_z, heart_z - z))
    along = np.clip((frame.x + 14) / 36, 0, 1)
    arch_y = y - (along * (descending_y + habitus.chest_half_depth * 0.22) - habitus.chest_half_depth * 0.22)
    arch = np.sqrt((z - arch_z) ** 2 + (arch_y * 0.75) ** 2) - tip
    arch = np.maximum(arch, np.abs(frame.x - 4) - 20 - tip)
    cava = np.maximum(circle(frame.x + 30, y + 8, 9.0 + 0 * z), heart_z - z)
    trunk_z = 0.55 * height
    trunk = ellipsoid((z - trunk_z, y + 8, frame.x - 8), (13, 14, 42))
    oesophagus = superellipse(frame.x - 6, y - np.float32(habitus.chest_half_depth * 0.36), 8.0, 5.5)
    for organ in (descending, ascending, arch, cava, trunk):
        organs.add(organ, blood_hu)
    organs.add(oesophagus, 35.0)
    upper = np.clip((frame.height - 0.5) / 0.5, 0, 1)
    core = superellipse(frame.x, y, 33 - 12 * upper, frame.half_depth * np.float32(0.58))
    core = np.maximum(core, (np.float32(0.40) - frame.height) * height)
    junction = np.abs(frame.x - 3 * (y < 0)) - 1.0
    hilum = ellipsoid((z - 0.53 * height, y - 4, frame.x), (25, 17, 47))
    apart = np.minimum(np.minimum(core, junction), np.minimum(heart - 3, hilum))
    apart = np.minimum(apart, np.minimum(descending - 2, arch - 2))
    return organs, apart


def _abdomen(frame: Frame, organs: _Organs, thorax: Field, habitus: Habitus) -> None:
    """Liver, spleen and stomach under the diaphragm; what is not lung below there is theirs."""
    y = frame.y - frame.centre_y
    top = np.float32(habitus.dome_right)
    low = frame.z - top
    inner = thorax + 3
    liver = np.maximum(np.maximum(inner, frame.x - 28 - 0.5 * (top - frame.z)), low)
    spleen = ellipsoid((low + 52, y - 48, frame.x - 88), (48, 34, 30))
    stomach = ellipsoid((low + 42, y + 22, frame.x - 62), (42, 44, 44))
    organs.add(np.maximum(spleen, inner), SPLEEN_HU)
    organs.add(np.maximum(stomach, inner), 25.0)
    organs.add(liver, LIVER_HU)


def _table(habitus: Habitus, frame: Frame) -> Field:
    """Two curved shells, 30 mm apart, under the back (or under the breast bone of a prone patient)."""
    side = -1.0 if habitus.is_prone else 1.0
    low = np.float32(np.round(float(frame.body_half_depth.max()) + 4, 3))
    sag = frame.x * frame.x * np.float32(0.0007)
    depth = np.float32(side) * frame.y - low + sag
    shell = np.abs(np.abs(depth - 16) - 15) - 1.0
    return np.asarray(np.maximum(shell, np.abs(frame.x) - 205) + 0 * frame.z)


def build_anatomy(habitus: Habitus, grid: Grid, *, blood_hu: float = BLOOD_HU) -> Anatomy:
    """Build the healthy chest.

    Args:
        habitus: The body.
        grid: Grid of the fields; 2-4 mm steps suffice, edges are placed by distance.
        blood_hu: HU of blood, raised by contrast.
    """
    frame = build_frame(habitus, grid)
    thorax = superellipse(frame.x, frame.y - frame.centre_y, frame.half_width, frame.half_depth)
    thorax = np.maximum(thorax, (frame.z - np.float32(habitus.lung_height)) * np.float32(0.8))
    body = _body(habitus, frame)
    spine, spine_hu, vertebrae = spine_of(habitus, frame)
    cage, cage_hu = rib_cage(habitus, frame, thorax)
    organs, apart = _mediastinum(habitus, frame, blood_hu)
    lungs = np.maximum(_lungs(habitus, frame, thorax), -np.minimum(apart, vertebrae - 4))
    _abdomen(frame, organs, thorax, habitus)
    cage = np.maximum(cage, body + 6)
    height = np.float32(habitus.lung_height)
    return Anatomy(
        grid=grid,
        body=body,
        muscle=_muscle(habitus, frame, body, thorax),
        thorax=thorax,
        lungs=lungs,
        right_lung=(frame.x < 0) & np.ones(lungs.shape, bool),
        organs=organs.distance,
        organ_hu=organs.values.astype(np.float32),
        bones=np.minimum(cage, spine),
        bone_hu=np.where(spine < cage, spine_hu, cage_hu).astype(np.float32),
        table=_table(habitus, frame).astype(np.float32),
        fissures=_fissures(habitus, frame),
        base_height=np.broadcast_to(np.clip(frame.height, 0, 1), lungs.shape),
        carina=(float(0.63 * height), float(habitus.chest_half_depth * 0.12), 0.0),
        hila=(
            (float(0.53 * height), float(habitus.chest_half_depth * 0.10), -38.0),
            (float(0.56 * height), float(habitus.chest_half_depth * 0.10), 38.0),
        ),
    )


def _muscle(habitus: Habitus, frame: Frame, body: Field, thorax: Field) -> Field:
    """A coat around the rib cage: thick beside the spine and over the upper front, all of the shoulder girdle."""
    depth = np.float32(habitus.chest_half_depth)
    behind = np.clip((frame.y - frame.centre_y) / depth, 0, 1.3)
    before = np.clip((frame.centre_y - frame.y) / depth, 0, 1.3)
    upper = np.clip((frame.height - 0.35) / 0.4, 0, 1)
    coat = 11 + np.float32(habitus.muscle) * (0.25 + 0.9 * behind + 0.75 * before * upper)
    muscle = thorax - coat
    for side in (-1.0, 1.0):
        column = superellipse(frame.x - side * 34, frame.y - frame.centre_y - depth * 0.98 - 14, 27.0, 17.0)
        muscle = np.minimum(muscle, column)
    shoulder = np.clip((frame.height - 0.78) / 0.2, 0, 1)
    girdle = body + np.float32(habitus.fat) + (1 - shoulder) * 60
    muscle = np.minimum(muscle, girdle)
    return np.asarray(np.maximum(np.maximum(muscle, body + np.float32(max(0.35 * habitus.fat, 3.0))), 1 - thorax))


def _fissures(habitus: Habitus, frame: Frame) -> Field:
    """Oblique fissure of each lung, horizontal fissure of the right one; distance in mm."""
    height, depth = np.float32(habitus.lung_height), np.float32(habitus.chest_half_depth)
    y = (frame.y - frame.centre_y) / depth
    sideways = np.abs(frame.x) / np.float32(habitus.chest_half_width)
    oblique = frame.z - height * (np.float32(0.42) + 0.34 * y - 0.10 * sideways + 0.06 * y * y)
    horizontal = np.abs(frame.z - height * (np.float32(0.50) - 0.10 * sideways * sideways + 0.05 * y))
    horizontal = np.where((frame.x < 0) & (oblique > 0), horizontal, FAR_MM)
    return np.minimum(np.abs(oblique) * np.float32(0.7), horizontal).astype(np.float32)
