"""Paints the findings of a disease into one slice of lung, along the lobules; each only where it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.disease import DiseaseMaps
from data_pipeline.phantoms.disease_settings import DiseaseSettings
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.grid import Field
from data_pipeline.phantoms.lobules import LobularPainter, Places

Sampler = Callable[[Field], Field]

GROUND_GLASS, RETICULATION, CONSOLIDATION, HONEYCOMBING, EMPHYSEMA, AIR_TRAPPING = 1, 2, 3, 4, 5, 6
FAINTEST = np.float32(0.02)  # strength below which nothing is painted


class SlicePainter:
    """Lays disease over the normal parenchyma of one slice, in place.

    Attributes:
        label: Label of each pixel: the constants of this file, the finding painted last.
    """

    def __init__(
        self,
        lung: Field,
        *,
        maps: DiseaseMaps,
        plan: DiseasePlan,
        settings: DiseaseSettings,
        sample: Sampler,
        cells: LobularPainter,
        fine: Field,
    ) -> None:
        """Prepare a slice.

        Args:
            lung: HU of the slice's lungs; changed.
            maps: Strength of each finding.
            plan: Densities and sizes drawn for the patient.
            settings: Those of all patients.
            sample: Reads a map at this slice.
            cells: Lobules of this slice.
            fine: Fine noise, unit variance.
        """
        self._lung, self._maps, self._plan, self._sample, self._cells = lung, maps, plan, sample, cells
        self._sizes, self._hu, self._variety, self._fine = settings.lobules, settings.densities, settings.variety, fine
        self.label: NDArray[np.uint8] = np.zeros(lung.shape, np.uint8)

    def paint(self) -> NDArray[np.uint8]:
        """All findings, from faint to solid."""
        for name, painter, label in (
            ("air_trapping", self._air_trapping, AIR_TRAPPING),
            ("emphysema", self._emphysema, EMPHYSEMA),
            ("ground_glass", self._ground_glass, GROUND_GLASS),
            ("reticulation", self._reticulation, RETICULATION),
            ("honeycombing", self._honeycombing, HONEYCOMBING),
            ("perilobular", self._perilobular, CONSOLIDATION),
            ("consolidation", self._consolidation, CONSOLIDATION),
        ):
            if not self._maps.has(name):
                continue
            strength = self._sample(getattr(self._maps, name))
            places = np.flatnonzero(strength > FAINTEST)
            if len(places):
                here = strength.ravel()[places]
                flat = self._lung.ravel()[places]
                self._lung.ravel()[places] = painter(flat, here, places)
                self.label.ravel()[places[here >= 0.5]] = label
        return self.label

    def _air_trapping(self, lung: Field, strength: Field, places: Places) -> Field:
        return lung + strength * np.float32(self._hu.air_trapping_hu)

    def _emphysema(self, lung: Field, strength: Field, places: Places) -> Field:
        """Air without walls of its own; septa are left between whole destroyed lobules."""
        left = self._cells.at(places).walls(self._sizes.lobule_mm, self._sizes.septum_mm)
        share = np.clip(2 * strength - np.float32(0.5), 0, 1) * (1 - np.float32(self._variety.septa_left) * left)
        return np.asarray(lung + share * (np.float32(self._hu.emphysema_hu) - lung))

    def _ground_glass(self, lung: Field, strength: Field, places: Places) -> Field:
        low, high = self._variety.ground_glass
        uneven = np.float32(low) + np.float32(high - low) * self._cells.at(places).values(self._sizes.lobule_mm)
        grain = 1 + np.float32(self._variety.ground_glass_grain) * self._fine.ravel()[places]
        return np.asarray(lung + strength * np.float32(self._plan.ground_glass_hu) * uneven * grain)

    def _reticulation(self, lung: Field, strength: Field, places: Places) -> Field:
        """Thickened septa, and a mesh whose size and thickness change from lobule to lobule."""
        cells, sizes, variety = self._cells.at(places), self._sizes, self._variety
        kind = cells.values(sizes.lobule_mm)
        fine_mesh = cells.walls(self._plan.mesh_mm, sizes.mesh_wall_mm)
        wide_mesh = cells.walls(self._plan.mesh_mm * variety.wide_mesh, sizes.mesh_wall_mm * variety.wide_mesh_wall)
        thick = np.float32(0.75) + np.float32(0.35) * np.clip(self._fine.ravel()[places], -2, 2)
        mesh = np.where(kind < variety.fine_mesh_share, fine_mesh, wide_mesh) * thick
        septa = cells.walls(sizes.lobule_mm, sizes.septum_mm) * np.clip(thick + np.float32(0.3), 0, 1.2)
        lines = np.maximum(np.float32(self._hu.mesh_hu) * mesh, np.float32(self._hu.septum_hu) * septa)
        return np.asarray(lung + strength * (lines + np.float32(self._hu.fibrosis_hu) * (np.float32(0.5) + kind)))

    def _honeycombing(self, lung: Field, strength: Field, places: Places) -> Field:
        """Clustered air-filled cysts of two sizes with thick shared walls; some cells are solid."""
        cells, size, variety = self._cells.at(places), self._plan.cyst_mm, self._variety
        is_small = cells.values(size * 3) < variety.small_cyst_share
        thin, thick = (self._sizes.cyst_wall_mm * factor for factor in variety.cyst_walls)
        small, large = cells.walls(size * variety.small_cyst, thin), cells.walls(size, thick)
        walls = np.minimum(np.where(is_small, small, large) * np.float32(1.15), 1)
        air, solid = np.float32(self._hu.cyst_hu), np.float32(self._hu.cyst_wall_hu)
        is_solid = cells.values(size) < variety.solid_cell_share
        cysts = np.where(is_solid, np.float32(self._hu.solid_cell_hu), air + (solid - air) * walls)
        return np.asarray(lung + np.minimum(strength * np.float32(1.5), 1) * (cysts - lung))

    def _perilobular(self, lung: Field, strength: Field, places: Places) -> Field:
        """Arcs along the borders of lobules; some borders stay free."""
        cells, lobule = self._cells.at(places), self._sizes.lobule_mm
        arcs = np.minimum(cells.walls(lobule, self._sizes.arc_mm) * np.float32(1.35), 1)
        return self._solid(lung, strength * arcs * (cells.values(lobule * 2) > self._variety.free_arc_share), places)

    def _consolidation(self, lung: Field, strength: Field, places: Places) -> Field:
        """Organizing or infectious consolidation; the lobules in it are not all filled alike."""
        low, high = self._variety.filled
        filled = np.float32(low) + np.float32(high - low) * self._cells.at(places).values(self._sizes.lobule_mm)
        return self._solid(lung, strength * np.minimum(filled, 1), places)

    def _solid(self, lung: Field, share: Field, places: Places) -> Field:
        grain = np.float32(self._hu.solid_grain_hu) * self._fine.ravel()[places]
        return np.asarray(lung + share * (np.float32(self._hu.solid_hu) + grain - lung))
