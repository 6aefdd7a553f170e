"""Aerated lung on the coarse grid: air inside the body that is not outside air, bowel, trachea or a table's gap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid
from data_pipeline.lungs.morphology import dilated, eroded, opened, propagated

AIR_TISSUE_HU = -400.0  # half-way between aerated lung (about -850) and soft tissue (about 50)
ROOM_AIR_HU = -960.0  # room air is -1000; block means of lung, emphysema included, stay above this
MIN_ROOM_AREA_CM2 = 25.0  # a trachea or bronchus cut by the side of a small field of view shows less air
MIN_LUNG_PART_ML = 8.0  # smaller islands are bowel gas, oesophagus or noise
GAS_HU = -925.0  # middle of a part without its rim: gas is -1000, lung that is no whole emphysema stays above
MAX_GAS_SHARE = 0.2  # of all air: a larger part is a lung, however dark
GROWTH_STEPS = 3  # blocks from the core of a part back to its surface
MIN_LUNG_MEAN_HU = -965.0  # a part that is all air is gas (bowel, pneumothorax, a gap above the table)

FACES = ndimage.generate_binary_structure(3, 1)


def outside_body(grid: CoarseGrid, opening_steps: int) -> BoolArray:
    """Everything around the patient: room air, table, clothes, cables.

    Tissue is opened, so that the thin shell of a table no longer separates its foam from the room; the largest piece
    left is the body. Outside is what can be reached from room air at a side face without crossing the body. The first
    and last slices are no side faces: trachea and cut lungs touch them.

    Args:
        grid: The coarse volume.
        opening_steps: Erosions before the dilations; what is thinner than twice this many blocks is not body.

    Returns:
        Shape (I', J', K').
    """
    tissue = grid.hu > AIR_TISSUE_HU
    if opening_steps:
        padded = np.pad(tissue, opening_steps, mode="edge")  # the edge of the volume is no edge of the body
        inner = (slice(opening_steps, -opening_steps),) * 3
        tissue = opened(padded, opening_steps)[inner]
    body = largest_part(tissue)
    labels, count = ndimage.label(~body, structure=FACES)
    area_cm2 = _room_area_on_side_faces(labels, grid, count)
    outside: BoolArray = (area_cm2 > MIN_ROOM_AREA_CM2)[labels]
    return outside


def _room_area_on_side_faces(labels: NDArray[np.int32], grid: CoarseGrid, count: int) -> NDArray[np.float64]:
    """Area of room air each part shows on the four side faces of the volume, cm2. Part 0 is the body: none."""
    room = grid.hu < ROOM_AIR_HU
    area = np.zeros(count + 1)
    for axis, face in ((0, np.s_[0]), (0, np.s_[-1]), (1, np.s_[:, 0]), (1, np.s_[:, -1])):
        pixel_cm2 = grid.spacing_mm[1 - axis] * grid.spacing_mm[2] / 100.0
        area += np.bincount(labels[face][room[face]], minlength=count + 1) * pixel_cm2
    area[0] = 0.0
    return area


def largest_part(mask: BoolArray) -> BoolArray:
    """The largest connected part of a mask; the mask itself where it is empty."""
    labels, count = ndimage.label(mask, structure=FACES)
    if count <= 1:
        return mask
    largest: BoolArray = labels == int(np.argmax(np.bincount(labels.ravel())[1:])) + 1
    return largest


def aerated_parts(grid: CoarseGrid, outside: BoolArray) -> BoolArray:
    """Air-holding parts inside the body that may be lung.

    Args:
        grid: The coarse volume.
        outside: From ``outside_body``.

    Returns:
        Shape (I', J', K'). Parts smaller than ``MIN_LUNG_PART_ML`` or made of pure gas are left out.
    """
    aerated = (grid.hu < AIR_TISSUE_HU) & ~outside
    labels, count = ndimage.label(aerated, structure=FACES)
    if count == 0:
        return np.zeros_like(aerated)
    numbers = labels[aerated]
    sizes = np.bincount(numbers, minlength=count + 1)
    sums = np.bincount(numbers, weights=grid.hu[aerated], minlength=count + 1)
    means = sums / np.maximum(sizes, 1)
    keep = (sizes * grid.voxel_ml >= MIN_LUNG_PART_ML) & (means > MIN_LUNG_MEAN_HU)
    keep[0] = False
    parts: BoolArray = keep[labels]
    return parts


def without_gas(aerated: BoolArray, grid: CoarseGrid) -> BoolArray:
    """Leave out bowel, stomach and airways: parts whose inside is as dark as room air.

    Parts are told apart after one erosion, because a diaphragm of 3 mm hardly shows on blocks of 3 mm.

    Args:
        aerated: Air-holding blocks inside the body. Shape (I', J', K').
        grid: The coarse volume.

    Returns:
        The blocks nearer to a part that is lung than to one that is gas.
    """
    core = eroded(aerated, outside=True)
    labels, count = ndimage.label(core, structure=FACES)
    if count == 0:
        return aerated
    gas = _dark_parts(grid, labels)[labels]
    lung = core & ~gas
    for _ in range(GROWTH_STEPS):
        free = aerated & ~lung & ~gas
        lung = dilated(lung, within=free)
        gas = dilated(gas, within=free & ~lung)
    return propagated(lung, aerated & ~gas)  # patchy, half-dense lung too


def _dark_parts(grid: CoarseGrid, labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the numbered parts are gas. A part that holds much of all air is a lung, however dark."""
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    is_small = (sizes > 0) & (sizes < MAX_GAS_SHARE * sizes.sum())
    chosen = is_small[labels]
    is_gas = np.zeros(len(sizes), dtype=np.bool_)
    parts = np.nonzero(is_small)[0]
    if parts.size:
        is_gas[parts] = np.asarray(ndimage.median(grid.hu[chosen], labels[chosen], parts)) < GAS_HU
    return is_gas
