"""Bones of the chest as signed distances and HU: spine, ribs, sternum, shoulder girdle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.phantoms.anatomy_settings import load_anatomy_settings
from data_pipeline.phantoms.body_frame import Box, Frame
from data_pipeline.phantoms.chest_wall import SCAPULA_MM, ChestWall
from data_pipeline.phantoms.grid import Field
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.shapes import circle, ellipsoid, superellipse

BESIDE_SPINE_MM = 64.0  # spine and breast bone lie within, whatever the scoliosis
GIRDLE_FROM = 0.45  # share of lung height above which there are shoulder blades


@dataclass(frozen=True, eq=False)
class Spine:
    """Vertebrae in a box of the grid: distance, HU, and distance to the vertebral bodies alone."""

    box: Box
    distance: Field
    values: Field
    bodies: Field


def spine_of(habitus: Habitus, frame: Frame) -> Spine:
    """Vertebrae with discs, canal, arches and processes."""
    hu, sizes = load_anatomy_settings().tissues, load_anatomy_settings().bones
    nearest, furthest = float(frame.spine_y.min()), float(frame.spine_y.max())
    box, frame = frame.part(y=(nearest - 28, furthest + 78), x=(-BESIDE_SPINE_MM, BESIDE_SPINE_MM))
    y = frame.y - frame.spine_y
    body = superellipse(frame.x, y, *sizes.vertebra_mm)
    period = np.float32(habitus.rib_spacing * sizes.vertebra_share)
    phase = np.abs(np.mod(frame.z, period) / period - 0.5)
    marrow = np.where(phase > 0.40, np.float32(hu.disc), np.float32(hu.marrow))
    rim = np.clip(1 - np.abs(body + 1.2) / 2.2, 0, 1) * (phase <= 0.42)
    values = marrow + rim * np.float32(hu.cortex - hu.marrow)
    around = circle(frame.x, y - 24, 0.0)
    arch = np.abs(around - sizes.arch_mm) - sizes.arch_half_mm  # bone around the canal
    process = superellipse(frame.x, y - 48, *sizes.process_mm) + 6 * (phase > 0.36)
    wings = superellipse(frame.x, y - 30, *sizes.wings_mm) + 8 * (phase > 0.3)
    posterior = np.minimum(np.minimum(arch, process), np.maximum(wings, sizes.canal_mm - around))
    values = np.where(posterior < body, np.float32(hu.arch), values).astype(np.float32)
    return Spine(box, np.minimum(body, posterior), values, body)


def rib_cage(habitus: Habitus, frame: Frame, wall: ChestWall) -> tuple[Field, Field]:
    """Sloping ribs, costal cartilage, sternum, clavicles and shoulder blades: distance and HU."""
    hu, sizes = load_anatomy_settings().tissues, load_anatomy_settings().bones
    spacing = np.float32(habitus.rib_spacing)
    front = np.clip((frame.centre_y - frame.y) / np.float32(habitus.chest_half_depth), -1, 1)
    sideways = np.abs(frame.x) / np.float32(habitus.chest_half_width)
    level = frame.z + spacing * (np.float32(sizes.rib_slope) * front + (1 - front) * np.float32(0.75) * sideways)
    vertical = (np.mod(level, spacing) - spacing / 2) * np.float32(0.62)
    depth = wall.thorax - 5.5
    rib = np.sqrt(depth * depth + vertical * vertical) - sizes.rib_mm
    rib = np.maximum(rib, (frame.z - np.float32(1.0 * habitus.lung_height)) * 0.7)
    cartilage = (front > 0.62) & (np.abs(frame.x) < 62)
    shell = np.clip(1 - np.abs(rib + 0.8) / 2.0, 0, 1)
    values = np.where(cartilage, np.float32(hu.cartilage), hu.rib_marrow + shell * (hu.cortex - hu.rib_marrow)).astype(
        np.float32
    )
    box, here = frame.part(x=(-BESIDE_SPINE_MM, BESIDE_SPINE_MM))
    sternum = superellipse(here.x, here.y - (here.centre_y - here.half_depth - 8), *sizes.sternum_mm)
    sternum = np.maximum(sternum, np.abs(here.height - 0.60) * np.float32(habitus.lung_height) - 78)
    add_bone(rib, values, sternum, hu.sternum, box)
    box, _ = frame.part((GIRDLE_FROM, 2.0))
    blade = np.abs(wall.thorax[box] - np.float32(SCAPULA_MM)) - sizes.blade_half_mm
    add_bone(rib, values, np.maximum(blade, (np.float32(0.45) - wall.blade[box]) * 60), hu.girdle, box)
    for side in (-1.0, 1.0):
        _shoulder(habitus, frame, rib, values, side)
    return rib, values


def add_bone(bones: Field, values: Field, bone: Field, hu: Field | float, box: Box) -> None:
    """One more bone in a box of the grid; the nearest one gives its HU. Changes the first two."""
    np.copyto(values[box], np.asarray(hu, np.float32), where=bone < bones[box])
    np.minimum(bones[box], bone, out=bones[box])


def _shoulder(habitus: Habitus, frame: Frame, bones: Field, values: Field, side: float) -> None:
    """Clavicle and head of the humerus of one side."""
    hu, sizes = load_anatomy_settings().tissues, load_anatomy_settings().bones
    box, here = frame.part((0.75, 2.0))
    clavicle_y = here.centre_y - here.half_depth - 16 + np.abs(here.x) * np.float32(0.18)
    rise = here.z - np.float32(habitus.lung_height) * 0.96 - (np.abs(here.x) - 60) * np.float32(0.22)
    clavicle = np.sqrt((here.y - clavicle_y) ** 2 + rise**2) - sizes.clavicle_mm
    add_bone(bones, values, np.maximum(clavicle, np.abs(here.x - side * 80) - 58), hu.girdle, box)
    offsets = (
        here.z - np.float32(1.04 * habitus.lung_height),
        here.y - 12,
        here.x - np.float32(side * (habitus.chest_half_width + 10)),
    )
    add_bone(bones, values, ellipsoid(offsets, sizes.humerus_mm), hu.girdle, box)
