"""Bones of the chest as signed distances and HU: spine, ribs, sternum, shoulder girdle."""

from __future__ import annotations

import numpy as np

from data_pipeline.phantoms.body_frame import Frame
from data_pipeline.phantoms.chest_wall import SCAPULA_MM, ChestWall
from data_pipeline.phantoms.grid import Field
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.shapes import circle, ellipsoid, superellipse

MARROW_HU = 205.0
CORTEX_HU = 620.0
GIRDLE_HU = 340.0
CARTILAGE_HU = 110.0
DISC_HU = 78.0
RIB_SLOPE = np.float32(2.3)  # rib spacings a rib falls from back to side, and again from side to front
GIRDLE_FROM = 0.45  # share of lung height above which there are shoulder blades


def spine_of(habitus: Habitus, frame: Frame) -> tuple[Field, Field, Field]:
    """Vertebrae with discs, canal, arches and processes: distance, HU, and distance to the vertebral bodies alone."""
    y = frame.y - frame.spine_y
    body = superellipse(frame.x, y, 18.5, 15.0)
    period = np.float32(habitus.rib_spacing * 0.92)
    phase = np.abs(np.mod(frame.z, period) / period - 0.5)
    marrow = np.where(phase > 0.40, np.float32(DISC_HU), np.float32(MARROW_HU))
    rim = np.clip(1 - np.abs(body + 1.2) / 2.2, 0, 1) * (phase <= 0.42)
    values = marrow + rim * (CORTEX_HU - 200)
    canal = circle(frame.x, y - 24, 8.5 + 0 * frame.z)
    arch = np.maximum(circle(frame.x, y - 24, 14.5 + 0 * frame.z), -canal)
    process = superellipse(frame.x, y - 48, 4.5, 18.0) + 6 * (phase > 0.36)
    wings = superellipse(frame.x, y - 30, 36.0, 6.5) + 8 * (phase > 0.3)
    posterior = np.minimum(np.minimum(arch, process), np.maximum(wings, -canal))
    values = np.where(posterior < body, np.float32(430), values).astype(np.float32)
    return np.minimum(body, posterior), values, body


def rib_cage(habitus: Habitus, frame: Frame, wall: ChestWall) -> tuple[Field, Field]:
    """Sloping ribs, costal cartilage, sternum, clavicles and shoulder blades: distance and HU."""
    spacing = np.float32(habitus.rib_spacing)
    front = np.clip((frame.centre_y - frame.y) / np.float32(habitus.chest_half_depth), -1, 1)
    sideways = np.abs(frame.x) / np.float32(habitus.chest_half_width)
    level = frame.z + spacing * (RIB_SLOPE * front + (1 - front) * np.float32(0.75) * sideways)
    vertical = (np.mod(level, spacing) - spacing / 2) * np.float32(0.62)
    depth = wall.thorax - 5.5
    rib = np.sqrt(depth * depth + vertical * vertical) - 4.2
    rib = np.maximum(rib, (frame.z - np.float32(1.0 * habitus.lung_height)) * 0.7)
    cartilage = (front > 0.62) & (np.abs(frame.x) < 62)
    shell = np.clip(1 - np.abs(rib + 0.8) / 2.0, 0, 1)
    values = np.where(cartilage, np.float32(CARTILAGE_HU), 250 + shell * (CORTEX_HU - 250)).astype(np.float32)
    sternum_y = frame.centre_y - np.float32(habitus.chest_half_depth) * _upper_depth(frame, habitus) - 8
    sternum = superellipse(frame.x, frame.y - sternum_y, 19.0, 6.0)
    sternum = np.maximum(sternum, np.abs(frame.height - 0.60) * np.float32(habitus.lung_height) - 78)
    values = np.where(sternum < rib, np.float32(230), values)
    bones = np.minimum(rib, sternum)
    part, above = frame.slab(GIRDLE_FROM, 2.0)
    girdle = _shoulder_girdle(habitus, above, wall, part)
    values[part] = np.where(girdle < bones[part], np.float32(GIRDLE_HU), values[part])
    bones[part] = np.minimum(bones[part], girdle)
    return bones, values.astype(np.float32)


def _shoulder_girdle(habitus: Habitus, frame: Frame, wall: ChestWall, part: slice) -> Field:
    """Shoulder blades on the back of the rib cage, clavicles, heads of the humeri."""
    blade = np.abs(wall.thorax[part] - np.float32(SCAPULA_MM)) - 1.9
    bones = np.maximum(blade, (np.float32(0.45) - wall.blade[part]) * 60)
    for side in (-1.0, 1.0):
        clavicle_y = frame.centre_y - frame.half_depth - 16 + np.abs(frame.x) * np.float32(0.18)
        rise = frame.z - np.float32(habitus.lung_height) * 0.96 - (np.abs(frame.x) - 60) * np.float32(0.22)
        clavicle = np.sqrt((frame.y - clavicle_y) ** 2 + rise**2) - 6.0
        clavicle = np.maximum(clavicle, np.abs(frame.x - side * 80) - 58)
        offsets = (
            frame.z - np.float32(1.04 * habitus.lung_height),
            frame.y - 12,
            frame.x - np.float32(side * (habitus.chest_half_width + 10)),
        )
        bones = np.minimum(bones, np.minimum(clavicle, ellipsoid(offsets, (22, 19, 19))))
    return np.asarray(bones)


def _upper_depth(frame: Frame, habitus: Habitus) -> Field:
    return frame.half_depth / np.float32(habitus.chest_half_depth)
