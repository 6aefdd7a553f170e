"""Anatomy, trees and disease to HU, slice by slice, on the scan's grid. Noise, kernel and tags come later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.anatomy import FAT_HU, MUSCLE_HU, Anatomy
from data_pipeline.phantoms.disease import DiseaseMaps
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.grid import Field, Grid, SliceSampler, Window
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.lobules import LobularPainter, Sampler, paint_slice
from data_pipeline.phantoms.shapes import coverage
from data_pipeline.phantoms.textures import TilePlacement, smooth_noise
from data_pipeline.phantoms.trees import Tubes, draw_tubes, grow_tree

AIR_HU = np.float32(-1000.0)
SKIN_HU = np.float32(20.0)
TABLE_HU = np.float32(-260.0)
FISSURE_MM = 0.7  # thickness of two layers of pleura with what lies between (assumed)
FISSURE_HU = 520.0  # what they add to the lung where they fill a voxel


@dataclass(frozen=True, eq=False)
class Phantom:
    """A rendered patient before acquisition.

    Attributes:
        hu: HU, float32, shape (Z, Y, X).
        lungs: 0 outside, 1 right lung, 2 left lung, uint8.
        disease: 0 none, 1 ground glass, 2 reticulation, 3 consolidation, 4 honeycombing, 5 emphysema, uint8.
    """

    hu: Field
    lungs: NDArray[np.uint8]
    disease: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Trees:
    """Vessels and airways of both lungs."""

    vessels: Tubes
    airways: Tubes


def grow_trees(anatomy: Anatomy, habitus: Habitus, num_tips: int, rng: np.random.Generator) -> Trees:
    """Arteries, veins and airways. The airways follow the larger arteries at their side.

    Args:
        anatomy: Lungs and hila.
        habitus: Size of the trachea.
        num_tips: End branches of each tree in each lung.
        rng: Generator of the patient's trees.
    """
    grid = anatomy.grid
    carina = np.array(anatomy.carina)
    top = carina + np.array([0.45 * habitus.lung_height, -habitus.chest_half_depth * 0.10, 0.0])
    stems = [(top, carina, habitus.trachea_radius)]
    vessels, airways = [], []
    for side, hilum in enumerate(np.array(place) for place in anatomy.hila):
        inside = (anatomy.lungs < -3) & (anatomy.right_lung if side == 0 else ~anatomy.right_lung)
        places = np.argwhere(inside)
        for kind in range(2):
            chosen = places[rng.integers(0, len(places), size=num_tips)] + rng.random((num_tips, 3)) - 0.5
            tips = chosen * np.array(grid.spacing_mm) + np.array(grid.origin_mm)
            root = hilum + np.array([0.0, 0.0, 0.0]) + (np.array([-14.0, -6.0, 0.0]) if kind else 0.0)
            tree = grow_tree(root, tips, 6.6 if kind == 0 else 6.2, rng)
            vessels.append(tree)
            if kind == 0:
                bronchi = tree.thicker_than(1.15)
                beside = np.array([1.0, 0.7, -0.4])
                shift = beside[None, :] * (bronchi.radius * 1.5)[:, None]
                airways.append(Tubes(bronchi.start + shift, bronchi.end + shift, bronchi.radius * 0.8))
        stems.append((carina, hilum, habitus.trachea_radius * 0.72))
    stem = Tubes(*(np.array([part[item] for part in stems]) for item in range(3)))
    return Trees(sum(vessels[1:], vessels[0]), sum(airways, stem))


def widen_airways(airways: Tubes, maps: DiseaseMaps, grid: Grid, factor: float) -> Tubes:
    """Traction: airways inside reticulation and honeycombing are wider and tortuous."""
    if factor <= 1:
        return airways
    middle = (airways.start + airways.end) / 2
    index = np.round((middle - np.array(grid.origin_mm)) / np.array(grid.spacing_mm)).astype(np.intp)
    index = np.clip(index, 0, np.array(grid.shape) - 1)
    pull = np.maximum(maps.reticulation, maps.honeycombing)[index[:, 0], index[:, 1], index[:, 2]]
    return Tubes(airways.start, airways.end, airways.radius * (1 + (factor - 1) * pull))


def _bounding_box(lungs: Field, coarse: Grid, fine: Grid, margin_mm: float) -> tuple[slice, slice, slice]:
    """Fine-grid box around the lungs."""
    box = []
    inside = lungs < margin_mm
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hits = np.flatnonzero(inside.any(axis=others))
        low_mm = coarse.origin_mm[axis] + coarse.spacing_mm[axis] * hits[0]
        high_mm = coarse.origin_mm[axis] + coarse.spacing_mm[axis] * (hits[-1] + 1)
        low = int(np.clip(np.floor((low_mm - fine.origin_mm[axis]) / fine.spacing_mm[axis]), 0, fine.shape[axis] - 2))
        high = int(
            np.clip(np.ceil((high_mm - fine.origin_mm[axis]) / fine.spacing_mm[axis]) + 1, low + 2, fine.shape[axis])
        )
        box.append(slice(low, high))
    return box[0], box[1], box[2]


class Renderer:
    """Composes slices. Holds what every slice needs."""

    def __init__(
        self,
        *,
        grid: Grid,
        habitus: Habitus,
        anatomy: Anatomy,
        plan: DiseasePlan,
        maps: DiseaseMaps,
        trees: Trees,
        rng: np.random.Generator,
    ) -> None:
        self._grid, self._habitus, self._anatomy, self._plan, self._maps = grid, habitus, anatomy, plan, maps
        self._sampler = SliceSampler(anatomy.grid, grid)
        self._width = float(np.cbrt(np.prod(grid.spacing_mm)))
        box = _bounding_box(anatomy.lungs, anatomy.grid, grid, 14.0)
        self._slices, self._window = box[0], Window(box[1], box[2])
        origin = tuple(grid.origin_mm[a] + grid.spacing_mm[a] * box[a].start for a in range(3))
        shape = tuple(part.stop - part.start for part in box)
        self._lung_grid = Grid((shape[0], shape[1], shape[2]), grid.spacing_mm, (origin[0], origin[1], origin[2]))
        self._vessels = draw_tubes(trees.vessels, self._lung_grid)
        airways = widen_airways(trees.airways, maps, anatomy.grid, plan.traction)
        self._lumen = draw_tubes(airways, self._lung_grid)
        walls = Tubes(airways.start, airways.end, airways.radius + 0.4 + 0.12 * airways.radius)
        self._walls = draw_tubes(walls, self._lung_grid)
        self._mottle = smooth_noise(anatomy.grid, 16, rng)
        self._streaks = smooth_noise(anatomy.grid, 9, rng)
        self._fine = smooth_noise(self._lung_grid.coarsened(1.6), 3.5, rng)
        self._fine_sampler = SliceSampler(self._lung_grid.coarsened(1.6), self._lung_grid)
        self._right = anatomy.right_lung.astype(np.float32)
        self._placement = TilePlacement.draw(rng)

    def render(self) -> Phantom:
        """All slices."""
        hu = np.empty(self._grid.shape, np.float32)
        lungs = np.zeros(self._grid.shape, np.uint8)
        disease = np.zeros(self._grid.shape, np.uint8)
        for index in range(self._grid.shape[0]):
            self._body(index, hu[index])
            if self._slices.start <= index < self._slices.stop:
                self._chest(index, hu[index], lungs[index], disease[index])
        return Phantom(hu, lungs, disease)

    def _body(self, index: int, out: Field) -> None:
        """Everything but lungs, vessels and airways."""
        anatomy, sample, width = self._anatomy, self._sampler.slice, self._width
        body = sample(anatomy.body, index)
        streaks = sample(self._streaks, index)
        muscle = sample(anatomy.muscle, index) + 5 * np.clip(np.abs(streaks) - 1.2, 0, 2)
        tissue = np.float32(FAT_HU) + np.float32(9) * streaks
        tissue += coverage(muscle, width) * (np.float32(MUSCLE_HU) - tissue)
        organs = coverage(sample(anatomy.organs, index), width)
        tissue += organs * (sample(anatomy.organ_hu, index) + np.float32(4) * streaks - tissue)
        bones = coverage(sample(anatomy.bones, index), width)
        tissue += bones * (sample(anatomy.bone_hu, index) - tissue)
        tissue += coverage(np.abs(body + 1) - 1, width) * (SKIN_HU - tissue)
        out[...] = AIR_HU
        out += coverage(sample(anatomy.table, index), width) * (TABLE_HU - AIR_HU)
        out += coverage(body, width) * (tissue - out)

    def _chest(self, index: int, out: Field, lungs: NDArray[np.uint8], disease: NDArray[np.uint8]) -> None:
        """Lungs with disease, vessels and airways, inside the box around the lungs."""
        place, within = self._window, index - self._slices.start
        window = out[place.rows, place.columns]

        def sample(field: Field) -> Field:
            return self._sampler.slice(field, index, place)

        edge = sample(self._anatomy.lungs)
        lung, label = self._lung(index, sample)
        window += coverage(edge, self._width) * (lung - window)
        near = coverage(edge - 12, 4.0)
        vessels = self._vessels[within] * near
        window += vessels * (np.maximum(window, np.float32(45)) - window)
        window += self._walls[within] * near * (np.maximum(window, np.float32(20)) - window)
        body = coverage(sample(self._anatomy.body) + 6, self._width)
        window += self._lumen[within] * body * (np.float32(-985) - window)
        is_lung = edge < 0
        lungs[place.rows, place.columns] = np.where(is_lung, np.where(sample(self._right) >= 0.5, 1, 2), 0)
        disease[place.rows, place.columns] = np.where(is_lung, label, 0)

    def _lung(self, index: int, sample: Sampler) -> tuple[Field, NDArray[np.uint8]]:
        """Parenchyma with disease, and the label of each pixel."""
        habitus = self._habitus
        y = self._lung_grid.axis(1)[0]
        side = -1.0 if habitus.is_prone else 1.0
        dependent = np.clip(np.float32(0.5) + np.float32(side) * y / np.float32(2 * habitus.chest_half_depth), 0, 1)
        mottle, streaks = sample(self._mottle), sample(self._streaks)
        fine = self._fine_sampler.slice(self._fine, index - self._slices.start)
        lung = np.float32(habitus.base_density) + np.float32(habitus.gravity) * dependent
        lung = lung + np.float32(12) * mottle + np.float32(16) * fine
        lung += self._thin_sheet(sample(self._anatomy.fissures), FISSURE_MM) * np.float32(FISSURE_HU)
        painter = LobularPainter(
            self._placement, self._lung_grid, index - self._slices.start, self._width, mottle, streaks
        )
        label = paint_slice(lung, self._maps, self._plan, sample, painter, fine)
        return lung, label

    def _thin_sheet(self, distance: Field, thickness_mm: float) -> Field:
        """Share of a pixel taken by a sheet thinner than the pixel."""
        width = max(self._width, thickness_mm)
        return np.clip(1 - distance / np.float32(width), 0, 1) * np.float32(min(1.0, thickness_mm / width))
