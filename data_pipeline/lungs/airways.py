"""The trachea on the coarse grid, so that it neither joins the lungs nor counts as lung."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.coarse_grid import BoolArray, CoarseGrid
from data_pipeline.lungs.morphology import dilated, propagated

AIRWAY_HU = -880.0  # block means of a 15-20 mm tube of air
TRACHEA_AREA_MM2 = (25.0, 700.0)  # adult trachea 150-350 mm2; wide margins for blur and for the carina
MAX_GROWTH = 1.8  # a section that grows faster than this from slice to slice has leaked into lung
BRONCHUS_HU = -925.0  # darker than lung without emphysema, whatever the blur
BRONCHI_BELOW_MM = 45.0  # main bronchi lie within this length below the carina
BRONCHI_BESIDE_MM = 50.0  # and within this distance of the midline
MAX_BRONCHI_ML = 45.0  # both main bronchi hold 15-30 ml; more is lung
MIN_TRACHEA_LENGTH_MM = 15.0
MAX_MIDLINE_OFFSET_MM = 45.0


def trachea(grid: CoarseGrid, aerated: BoolArray, middle_i: float) -> BoolArray:
    """Follow the trachea downwards from the topmost slice that shows it.

    Args:
        grid: The coarse volume.
        aerated: Air inside the body.
        middle_i: Midline of the body, block index along i.

    Returns:
        Trachea down to about the carina, one block thicker than its lumen; empty when none is found.
    """
    found = np.zeros_like(aerated)
    lumen = aerated & (grid.hu < AIRWAY_HU)
    area_mm2 = grid.spacing_mm[0] * grid.spacing_mm[1]
    previous: NDArray[np.bool_] | None = None
    for k in range(aerated.shape[2] - 1, -1, -1):
        section = _next_section(lumen[:, :, k], previous, middle_i, grid.spacing_mm[0], area_mm2)
        if section is None:
            if previous is not None:
                break
            continue
        found[:, :, k] = section
        previous = section
    slices = np.nonzero(found.any(axis=(0, 1)))[0]
    if slices.size * grid.spacing_mm[2] < MIN_TRACHEA_LENGTH_MM:
        return np.zeros_like(aerated)
    found |= _main_bronchi(grid, aerated, found, int(slices[0]), middle_i)
    return dilated(found, shape="plane")


def _main_bronchi(grid: CoarseGrid, aerated: BoolArray, windpipe: BoolArray, lowest: int, middle_i: float) -> BoolArray:
    """Air that hangs on the lower end of the trachea, near the midline; empty when it turns out to be lung."""
    reach = np.zeros_like(aerated)
    first = max(0, lowest - round(BRONCHI_BELOW_MM / grid.spacing_mm[2]))
    reach[:, :, first : lowest + 3] = True
    offset_mm = np.abs(np.arange(aerated.shape[0]) - middle_i) * grid.spacing_mm[0]
    reach &= (offset_mm < BRONCHI_BESIDE_MM)[:, None, None]
    lumen = aerated & (grid.hu < BRONCHUS_HU) & reach
    bronchi = propagated(dilated(windpipe, shape="box"), lumen)
    if np.count_nonzero(bronchi) * grid.voxel_ml > MAX_BRONCHI_ML:
        return np.zeros_like(aerated)
    return bronchi


def _next_section(
    lumen: NDArray[np.bool_],
    previous: NDArray[np.bool_] | None,
    middle_i: float,
    spacing_mm: float,
    area_mm2: float,
) -> NDArray[np.bool_] | None:
    """The section in one slice that continues ``previous``, or starts a trachea near the midline; None without."""
    labels, count = ndimage.label(lumen)
    if count == 0:
        return None
    areas = np.bincount(labels.ravel())[1:] * area_mm2
    if previous is not None:
        inside = np.bincount(labels[previous], minlength=count + 1)[1:]
        best = int(np.argmax(inside))
        limit = min(TRACHEA_AREA_MM2[1], MAX_GROWTH * np.count_nonzero(previous) * area_mm2 + area_mm2)
        return np.asarray(labels == best + 1) if inside[best] and areas[best] <= limit else None
    centres = np.array(ndimage.center_of_mass(lumen, labels, range(1, count + 1)))
    offset_mm = np.abs(centres[:, 0] - middle_i) * spacing_mm
    fits = (areas >= TRACHEA_AREA_MM2[0]) & (areas <= TRACHEA_AREA_MM2[1]) & (offset_mm <= MAX_MIDLINE_OFFSET_MM)
    if not fits.any():
        return None
    return np.asarray(labels == int(np.argmin(np.where(fits, offset_mm, np.inf))) + 1)
