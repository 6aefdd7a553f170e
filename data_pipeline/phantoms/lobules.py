"""Paints disease into one slice of lung, along the secondary lobules: septa, mesh, cysts, arcs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.disease import DiseaseMaps
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.textures import TilePlacement, cell_tile

Sampler = Callable[[Field], Field]

LOBULE_MM = 16.0  # secondary lobules are 10-25 mm (Fleischner glossary, unverified)
MESH_MM = 5.5  # intralobular lines of fine reticulation
CYST_MM = 12.0  # step of the cells; the air inside is 3-10 mm wide
SEPTUM_MM = 0.9
MESH_WALL_MM = 0.6
CYST_WALL_MM = 1.2
ARC_MM = 4.5  # perilobular opacity, thicker than a septum (Ujita 2004, A)
WARP_MM = 2.6  # how far cells are bent, so that neither lattice nor period shows
EMPHYSEMA_HU, MESH_HU, SEPTUM_HU, FIBROSIS_HU = -105.0, 420.0, 520.0, 45.0
CYST_HU, CYST_WALL_HU, SOLID_HU = -945.0, -140.0, 18.0
GROUND_GLASS, RETICULATION, CONSOLIDATION, HONEYCOMBING, EMPHYSEMA = 1, 2, 3, 4, 5


class LobularPainter:
    """Walls and values of cells of any size in one slice, warped by smooth noise."""

    def __init__(
        self, placement: TilePlacement, grid: Grid, index: int, width_mm: float, mottle: Field, streaks: Field
    ) -> None:
        self._placement, self._width = placement, width_mm
        self._z = grid.origin_mm[0] + index * grid.spacing_mm[0]
        self._y = grid.axis(1)[0] + np.float32(WARP_MM) * (mottle + np.float32(0.5) * streaks)
        self._x = grid.axis(2)[0] + np.float32(WARP_MM) * (streaks - np.float32(0.5) * mottle)

    def walls(self, cell_mm: float, wall_mm: float) -> Field:
        """Share of each pixel taken by the walls between cells, partial volume included."""
        distance = cell_tile().wall_distance[self._placement.lookup(cell_mm, self._z, self._y, self._x)]
        width = max(self._width, wall_mm)
        ramp = np.clip(1 - distance * np.float32(cell_mm / width), 0, 1)
        return np.asarray(ramp * np.float32(min(1.0, wall_mm / width)))

    def values(self, cell_mm: float) -> Field:
        """One uniform number per cell."""
        return np.asarray(cell_tile().value[self._placement.lookup(cell_mm, self._z, self._y, self._x)])


def paint_slice(
    lung: Field, maps: DiseaseMaps, plan: DiseasePlan, sample: Sampler, painter: LobularPainter, fine: Field
) -> NDArray[np.uint8]:
    """Lay the disease over normal parenchyma, in place.

    Args:
        lung: HU of the slice's lungs; changed.
        maps: Strength of each finding.
        plan: Densities.
        sample: Reads a map at this slice.
        painter: Cells of this slice.
        fine: Fine noise, unit variance.

    Returns:
        Label of each pixel: the constants of this file, the strongest finding last.
    """
    label = np.zeros(lung.shape, np.uint8)
    if maps.has("emphysema"):
        _emphysema(lung, label, sample(maps.emphysema), painter)
    if maps.has("ground_glass"):
        strength = sample(maps.ground_glass)
        lobular = np.float32(0.85) + np.float32(0.3) * painter.values(LOBULE_MM)
        lung += strength * np.float32(plan.ground_glass_hu) * lobular * (1 + np.float32(0.10) * fine)
        label[strength >= 0.5] = GROUND_GLASS
    if maps.has("reticulation"):
        strength = sample(maps.reticulation)
        mesh = painter.walls(MESH_MM, MESH_WALL_MM) * (np.float32(0.7) + np.float32(0.35) * np.clip(fine, -2, 2))
        septa = painter.walls(LOBULE_MM, SEPTUM_MM)
        lung += strength * np.maximum(np.float32(MESH_HU) * mesh, np.float32(SEPTUM_HU) * septa)
        lung += strength * np.float32(FIBROSIS_HU)
        label[strength >= 0.5] = RETICULATION
    if maps.has("honeycombing"):
        _honeycombing(lung, label, sample(maps.honeycombing), painter)
    _consolidation(lung, label, maps, sample, painter, fine)
    return label


def _emphysema(lung: Field, label: NDArray[np.uint8], strength: Field, painter: LobularPainter) -> None:
    """Holes in the middle of lobules, without walls of their own."""
    centre = np.float32(0.35) + np.float32(0.65) * (painter.values(LOBULE_MM) > 0.3)
    lung += strength * centre * np.float32(EMPHYSEMA_HU)
    label[strength >= 0.5] = EMPHYSEMA


def _honeycombing(lung: Field, label: NDArray[np.uint8], strength: Field, painter: LobularPainter) -> None:
    """Clustered air-filled cysts with thick shared walls."""
    walls = np.minimum(painter.walls(CYST_MM, CYST_WALL_MM) * np.float32(1.2), 1)
    solid = painter.values(CYST_MM) < 0.12
    cysts = np.where(solid, np.float32(-250), np.float32(CYST_HU) + np.float32(CYST_WALL_HU - CYST_HU) * walls)
    lung += np.minimum(strength * np.float32(1.5), 1) * (cysts - lung)
    label[strength >= 0.5] = HONEYCOMBING


def _consolidation(
    lung: Field, label: NDArray[np.uint8], maps: DiseaseMaps, sample: Sampler, painter: LobularPainter, fine: Field
) -> None:
    """Organizing or infectious consolidation, and perilobular arcs."""
    if not maps.has("consolidation") and not maps.has("perilobular"):
        return
    solid = sample(maps.consolidation)
    marked = solid
    if maps.has("perilobular"):
        region = sample(maps.perilobular)
        arcs = np.minimum(painter.walls(LOBULE_MM, ARC_MM) * np.float32(1.35), 1) * (
            painter.values(LOBULE_MM * 2) > 0.25
        )
        solid = np.maximum(solid, arcs * region)
        marked = np.maximum(marked, region)
    lung += solid * (np.float32(SOLID_HU) + np.float32(16) * fine - lung)
    label[marked >= 0.5] = CONSOLIDATION
