"""The healthy chest as signed distances and tissue values on a coarse grid. Trees, textures and disease come later."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_pipeline.phantoms.abdomen import build_abdomen, diaphragm_of
from data_pipeline.phantoms.anatomy_settings import load_anatomy_settings
from data_pipeline.phantoms.body_frame import Frame, build_frame
from data_pipeline.phantoms.chest_wall import build_wall
from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.mediastinum import Organs, build_mediastinum
from data_pipeline.phantoms.shapes import FAR_MM, blend
from data_pipeline.phantoms.skeleton import add_bone, rib_cage, spine_of

FIELDS = ("body", "muscle", "thorax", "lungs", "organs", "organ_hu", "bones", "bone_hu", "fissures", "side")
SLAB_VOXELS = 130_000  # built at once


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Fields on ``grid``; distances in mm, negative inside.

    Attributes:
        body: Skin surface.
        muscle: Boundary of muscles and fat.
        thorax: Inner surface of the rib cage.
        lungs: Both lungs.
        right_lung: True where the nearer lung is the right one. Boolean.
        organs: Soft organs inside the rib cage and below the diaphragm.
        organ_hu: HU of the nearest organ.
        bones: Bones.
        bone_hu: HU of the nearest bone.
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
    fissures: Field
    base_height: Field
    carina: tuple[float, float, float]
    hila: tuple[tuple[float, float, float], tuple[float, float, float]]

    def with_space(self, space: Field, hu: float, *, is_in_lung: bool) -> Anatomy:
        """The same chest with fluid or gas in a space; where it lies in the lungs they give way.

        Args:
            space: Distance to the surface of the space, mm, negative inside.
            hu: HU of its content.
            is_in_lung: The space takes lung away (pleural); otherwise it lies in the tissue between the organs.
        """
        values = np.where(space < self.organs, np.float32(hu), self.organ_hu)
        lungs = np.maximum(self.lungs, -space) if is_in_lung else self.lungs
        return replace(self, lungs=lungs, organs=np.minimum(self.organs, space), organ_hu=values)


def build_anatomy(habitus: Habitus, grid: Grid, *, blood_hu: float = 0.0) -> Anatomy:
    """Build the healthy chest, some slices at a time: what fits the processor's cache is built several times faster.

    Args:
        habitus: The body.
        grid: Grid of the fields; 2-4 mm steps suffice, edges are placed by distance.
        blood_hu: HU of blood raised by contrast; 0 for blood without.
    """
    fields = {name: np.empty(grid.shape, np.float32) for name in FIELDS}
    step = max(1, SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    for first in range(0, grid.shape[0], step):
        part = slice(first, min(first + step, grid.shape[0]))
        for name, values in _slab(habitus, grid.slices(part), blood_hu).items():
            fields[name][part] = values
    height, depth = habitus.lung_height, habitus.chest_half_depth
    share = np.clip(grid.axis(0) / np.float32(height), 0, 1)
    return Anatomy(
        grid=grid,
        right_lung=np.broadcast_to(fields.pop("side") < 0, grid.shape),
        base_height=np.broadcast_to(share, grid.shape),
        carina=(0.62 * height, 0.10 * depth, 0.0),
        hila=((0.53 * height, 0.09 * depth, -34.0), (0.56 * height, 0.11 * depth, 34.0)),
        **fields,
    )


def _slab(habitus: Habitus, grid: Grid, blood_hu: float) -> dict[str, Field]:
    """All fields of some slices."""
    plain_hu = load_anatomy_settings().tissues.blood
    frame = build_frame(habitus, grid)
    wall = build_wall(habitus, frame)
    bones, bone_hu = rib_cage(habitus, frame, wall)
    np.maximum(bones, wall.body + 6, out=bones)
    spine = spine_of(habitus, frame)
    add_bone(bones, bone_hu, spine.distance, spine.values, spine.box)
    organs = Organs.nothing(grid.shape)
    apart = build_mediastinum(habitus, frame, organs, blood_hu or plain_hu)
    np.minimum(apart[spine.box], spine.bodies - 4, out=apart[spine.box])
    build_abdomen(habitus, frame, organs, wall.thorax, (blood_hu or plain_hu) - plain_hu)
    return {
        "body": wall.body,
        "muscle": np.maximum(wall.muscle, 1 - wall.thorax),
        "thorax": wall.thorax,
        "lungs": _lungs(habitus, frame, wall.thorax, apart),
        "organs": organs.distance,
        "organ_hu": organs.values,
        "bones": bones,
        "bone_hu": bone_hu,
        "fissures": _fissures(habitus, frame),
        "side": frame.x,
    }


def _lungs(habitus: Habitus, frame: Frame, thorax: Field, apart: Field) -> Field:
    """Inside the rib cage, above the domes, outside the mediastinum, with rounded edges."""
    pleura_mm = load_anatomy_settings().walls.pleura_mm
    lungs = np.maximum(thorax + pleura_mm, (diaphragm_of(habitus, frame) - frame.z) * np.float32(0.75))
    return np.asarray(-blend(-lungs, apart, 4.0), np.float32)


def _fissures(habitus: Habitus, frame: Frame) -> Field:
    """Oblique fissure of each lung, horizontal fissure of the right one; distance in mm."""
    height, depth = np.float32(habitus.lung_height), np.float32(habitus.chest_half_depth)
    y = (frame.y - frame.centre_y) / depth
    sideways = np.abs(frame.x) / np.float32(habitus.chest_half_width)
    oblique = frame.z - height * (np.float32(0.42) + 0.34 * y - 0.10 * sideways + 0.06 * y * y)
    horizontal = np.abs(frame.z - height * (np.float32(0.50) - 0.10 * sideways * sideways + 0.05 * y))
    horizontal = np.where((frame.x < 0) & (oblique > 0), horizontal, FAR_MM)
    return np.minimum(np.abs(oblique) * np.float32(0.7), horizontal).astype(np.float32)
