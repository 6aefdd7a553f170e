"""The wall of the chest as signed distances: inner surface, muscles, skin, breasts, arms, the table below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.phantoms.anatomy_settings import load_anatomy_settings
from data_pipeline.phantoms.body_frame import Frame
from data_pipeline.phantoms.grid import Field
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.shapes import blend, bump, circle, coverage, ellipsoid, superellipse

AIR_HU = np.float32(-1000)
TABLE_SHELL_MM = 2.0
SCAPULA_MM = 27.0  # shoulder blade above the inner surface of the rib cage
ROUND = np.float32(0.15)  # nearly an ellipse
SKIN_FOLD_MM = 14.0  # how widely skin rounds a seam


@dataclass(frozen=True, eq=False)
class ChestWall:
    """Distances in mm, negative inside.

    Attributes:
        thorax: Inner surface of the rib cage.
        muscle: Outer surface of the muscles; fat planes between them are outside.
        body: Skin.
        blade: Strength 0..1 of the region of the shoulder blades.
    """

    thorax: Field
    muscle: Field
    body: Field
    blade: Field


def thorax_of(habitus: Habitus, frame: Frame) -> Field:
    """Inner surface of the rib cage: two deep halves beside the spine, joined behind the breast bone."""
    widths = load_anatomy_settings().lung_widths
    y = frame.y - frame.centre_y
    lean = np.clip(y / frame.half_depth, -1.2, 1.2)
    thorax = superellipse(frame.x, y + 0.20 * frame.half_depth, frame.half_width * 0.66, frame.half_depth * 0.74)
    for side in (-1.0, 1.0):
        centre = np.float32(side) * frame.half_width * (np.float32(0.43) + np.float32(0.08) * lean)
        width = widths.right if side < 0 else widths.left
        lobe = superellipse(frame.x - centre, y, frame.half_width * width, frame.half_depth, ROUND)
        thorax = blend(thorax, lobe, 9.0)
    return np.asarray(np.maximum(thorax, (frame.z - np.float32(habitus.lung_height)) * np.float32(0.8)))


def build_wall(habitus: Habitus, frame: Frame) -> ChestWall:
    """Muscles and skin around the rib cage.

    Args:
        habitus: The body.
        frame: Its curves on the grid.
    """
    thorax = thorax_of(habitus, frame)
    sideways = np.abs(frame.x) / frame.half_width
    deep = (frame.y - frame.centre_y) / np.float32(habitus.chest_half_depth)
    blade = bump(sideways, 0.95, 0.62) * bump(deep, 0.70, 0.80) * bump(frame.height, 0.76, 0.36)
    muscle = _muscles(habitus, frame, thorax, blade, deep, sideways)
    return ChestWall(thorax, muscle, _skin(habitus, frame, thorax, muscle, deep, sideways), blade)


def _muscles(habitus: Habitus, frame: Frame, thorax: Field, blade: Field, deep: Field, sideways: Field) -> Field:
    """Intercostal layer; broad muscles on it behind a fat plane; erector spinae; what surrounds the shoulder blade."""
    thick, layer_mm = habitus.muscle, load_anatomy_settings().walls.rib_layer_mm
    broad = thick * np.float32(0.85) * bump(deep, 0.45, 0.75) * bump(sideways, 0.95, 0.75)  # latissimus, serratus
    apart = np.abs(frame.x) / np.float32(habitus.chest_half_width)
    pectoral = thick * bump(deep, -0.95, 0.8) * bump(apart, 0.6, 0.62) * bump(frame.height, 0.74, 0.32)
    trapezius = thick * np.float32(0.6) * bump(deep, 1.15, 0.50) * bump(frame.height, 0.75, 0.75)
    lift = np.maximum(np.maximum(broad, pectoral), trapezius) + np.float32(30) * blade
    coat = thorax - layer_mm - lift
    plane = np.abs(thorax - layer_mm - 1.4) - np.float32(0.9)
    coat = np.maximum(coat, -plane - 3 * (lift < 4))
    for side in (-1.0, 1.0):
        behind = float(frame.spine_y.min())
        part, there = frame.part(y=(behind, behind + 160), x=(-75, 75))
        column = superellipse(there.x - side * 29, there.y - there.spine_y - 40, 25.0, 10.0 + 0.6 * thick)
        coat[part] = np.minimum(coat[part], column)
        reach = 0.86 * habitus.chest_half_width
        around = 90 + habitus.muscle
        part, above = frame.part((0.6, 2.0), x=(side * reach - around, side * reach + around))
        offsets = (above.z - 1.06 * habitus.lung_height, above.y - 10, above.x - np.float32(side * reach))
        coat[part] = blend(coat[part], ellipsoid(offsets, (92, 32 + thick, 56 + thick)), 10.0)
    return np.asarray(coat, np.float32)


def _skin(habitus: Habitus, frame: Frame, thorax: Field, muscle: Field, deep: Field, sideways: Field) -> Field:
    """Fat of uneven thickness over the muscles; breasts, arms; flattened where the body lies."""
    layer_mm = load_anatomy_settings().walls.rib_layer_mm
    low = np.clip((0.45 - frame.height) / 0.45, 0, 1)
    fat = np.float32(habitus.fat) * (
        np.float32(0.75)
        + 0.45 * bump(sideways, 0.85, 0.6) * bump(deep, 0.3, 0.9)
        + 0.5 * low
        - 0.25 * bump(deep, -1, 0.5)
    )
    body = blend(muscle - fat, thorax - layer_mm - 4 - fat, SKIN_FOLD_MM)
    wide = np.float32(habitus.chest_half_width) * (np.float32(0.85) + 0.35 * np.clip((frame.height - 0.6) / 0.4, 0, 1))
    torso = superellipse(
        frame.x,
        frame.y - frame.centre_y - 4,
        np.maximum(frame.half_width, wide) + (layer_mm - 4 + 0.8 * habitus.fat),
        np.maximum(frame.half_depth * 0.93, 0.70 * habitus.chest_half_depth) + 0.8 * habitus.fat,
    )
    body = blend(body, torso, SKIN_FOLD_MM)
    if habitus.breast > 0:
        for side in (-1.0, 1.0):
            middle = side * habitus.breast_apart
            part, there = frame.part((0.08, 0.72), y=(-300, 20), x=(middle - 95, middle + 95))
            front = -float(habitus.chest_half_depth) * 0.92 - habitus.fat * 0.5
            along = there.y - front - np.abs(there.x) * np.float32(0.32) + 12
            offsets = (there.z - 0.40 * habitus.lung_height, along, there.x - np.float32(middle))
            body[part] = blend(body[part], ellipsoid(offsets, (58, habitus.breast + 6, 60)), SKIN_FOLD_MM)
    groove = bump(frame.x, 0.0, 16.0) * (frame.y > 0)
    body = body + np.float32(5) * groove
    if habitus.arms_down:
        for side in (-1.0, 1.0):
            reach = habitus.chest_half_width + habitus.fat + habitus.muscle + 58
            body = np.minimum(body, circle(frame.x - side * reach, frame.y - 8, 44 + 0 * frame.z))
    flat = np.float32(-1 if habitus.is_prone else 1) * frame.y - np.float32(lying_y(habitus))
    return np.asarray(-blend(-body, -flat, 10.0), np.float32)


def lying_y(habitus: Habitus) -> float:
    """Depth of the plane the body is pressed against, mm from the frame's middle towards the table."""
    middle = 0.0 if habitus.is_prone else 0.5 * habitus.spine_curve
    layer_mm = load_anatomy_settings().walls.rib_layer_mm
    return middle + habitus.chest_half_depth + layer_mm + 0.75 * habitus.muscle + 0.45 * habitus.fat


def table_under(habitus: Habitus, y: Field, x: Field, pixel_mm: float) -> Field:
    """HU of air, table and mattress: the same in every slice.

    Args:
        habitus: The table the patient lies on.
        y: Rows, mm.
        x: Columns, mm, broadcastable with the rows.
        pixel_mm: Width over which edges are averaged.
    """
    hu = load_anatomy_settings().tissues
    side = np.float32(-1 if habitus.is_prone else 1)
    depth = side * y - np.float32(lying_y(habitus) + habitus.mattress) + x * x * np.float32(habitus.table_curve)
    half, wide = np.float32(habitus.table_depth / 2), np.float32(habitus.table_half_width)
    edge = np.abs(x) - wide
    shell = np.maximum(np.abs(np.abs(depth - half) - half) - np.float32(TABLE_SHELL_MM / 2), edge)
    soft = np.maximum(np.abs(depth + habitus.mattress / 2) - np.float32(habitus.mattress / 2), edge)
    plane = AIR_HU + coverage(soft, pixel_mm) * (np.float32(hu.mattress) - AIR_HU)
    return np.asarray(plane + coverage(shell, pixel_mm) * (np.float32(hu.table) - plane), np.float32)
