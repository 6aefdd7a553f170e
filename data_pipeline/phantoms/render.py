"""Anatomy, trees and disease to HU, slice by slice, on the scan's grid. Noise, kernel and tags come later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.anatomy import FAT_HU, MUSCLE_HU, Anatomy
from data_pipeline.phantoms.disease import DiseaseMaps, DiseasePlan
from data_pipeline.phantoms.grid import Field, Grid, SliceSampler
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.shapes import coverage
from data_pipeline.phantoms.textures import CellTile, TilePlacement, cell_tile, smooth_noise
from data_pipeline.phantoms.trees import Tubes, draw_tubes, grow_tree

Sampler = Callable[[Field], Field]

AIR_HU = np.float32(-1000.0)
SKIN_HU = np.float32(20.0)
TABLE_HU = np.float32(-820.0)
LOBULE_MM = 15.0  # secondary lobules are 10-25 mm (Fleischner glossary, unverified)
MESH_MM = 5.0  # intralobular lines
CYST_MM = 6.5  # honeycomb cysts, 3-10 mm
WALL_MM = 1.1  # septal wall of reticulation


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
                bronchi = tree.thicker_than(0.9)
                beside = np.array([1.0, 0.7, -0.4])
                shift = beside[None, :] * (bronchi.radius * 1.5)[:, None]
                airways.append(Tubes(bronchi.start + shift, bronchi.end + shift, bronchi.radius * 0.85))
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
        self._box = _bounding_box(anatomy.lungs, anatomy.grid, grid, 14.0)
        origin = tuple(grid.origin_mm[a] + grid.spacing_mm[a] * self._box[a].start for a in range(3))
        shape = tuple(part.stop - part.start for part in self._box)
        self._lung_grid = Grid((shape[0], shape[1], shape[2]), grid.spacing_mm, (origin[0], origin[1], origin[2]))
        self._vessels = draw_tubes(trees.vessels, self._lung_grid)
        airways = widen_airways(trees.airways, maps, anatomy.grid, plan.traction)
        self._lumen = draw_tubes(airways, self._lung_grid)
        walls = Tubes(airways.start, airways.end, airways.radius + 0.45 + 0.12 * airways.radius)
        self._walls = draw_tubes(walls, self._lung_grid)
        self._mottle = smooth_noise(anatomy.grid, 16, rng)
        self._streaks = smooth_noise(anatomy.grid, 9, rng)
        spacing = grid.spacing_mm
        self._lobules = cell_tile(6, LOBULE_MM, spacing)
        self._mesh = cell_tile(8, MESH_MM, spacing) if self._width < MESH_MM else None
        self._cysts = cell_tile(8, CYST_MM, spacing) if self._width < CYST_MM else None
        self._placement = TilePlacement.draw(rng)

    def render(self) -> Phantom:
        """All slices."""
        hu = np.empty(self._grid.shape, np.float32)
        lungs = np.zeros(self._grid.shape, np.uint8)
        disease = np.zeros(self._grid.shape, np.uint8)
        for index in range(self._grid.shape[0]):
            self._body(index, hu[index])
            if self._box[0].start <= index < self._box[0].stop:
                self._chest(index, hu[index], lungs[index], disease[index])
        return Phantom(hu, lungs, disease)

    def _body(self, index: int, out: Field) -> None:
        """Everything but lungs, vessels and airways."""
        anatomy, sample, width = self._anatomy, self._sampler.slice, self._width
        body = sample(anatomy.body, index)
        thorax = sample(anatomy.thorax, index)
        streaks = sample(self._streaks, index)
        muscle_edge = sample(anatomy.muscle, index)
        tissue = np.float32(FAT_HU) + (MUSCLE_HU - FAT_HU) * coverage(
            muscle_edge + 4 * np.clip(streaks - 1.0, 0, 2), width
        )
        inside = np.float32(FAT_HU) + np.float32(8) * streaks
        tissue += coverage(thorax + 2, width) * (inside - tissue)
        organs = coverage(sample(anatomy.organs, index), width)
        tissue += organs * (sample(anatomy.organ_hu, index) - tissue)
        bones = coverage(sample(anatomy.bones, index), width)
        tissue += bones * (sample(anatomy.bone_hu, index) - tissue)
        tissue += coverage(np.abs(body + 1) - 1, width) * (SKIN_HU - tissue)
        out[...] = AIR_HU
        table = coverage(sample(anatomy.table, index), width)
        out += table * (TABLE_HU - AIR_HU)
        skin = coverage(body, width)
        out += skin * (tissue - out)

    def _chest(self, index: int, out: Field, lungs: NDArray[np.uint8], disease: NDArray[np.uint8]) -> None:
        """Lungs with disease, vessels and airways, inside the box around the lungs."""
        rows, columns = self._box[1], self._box[2]
        within = index - self._box[0].start
        window = out[rows, columns]

        def sample(field: Field) -> Field:
            return self._sampler.slice(field, index)[rows, columns]

        edge = sample(self._anatomy.lungs)
        share = coverage(edge, self._width)
        parenchyma = self._parenchyma(index, sample)
        label = self._paint(parenchyma, within, sample)
        window += share * (parenchyma - window)
        near = coverage(edge - 12, 4.0)
        vessels = self._vessels[within] * near
        window += vessels * (np.maximum(window, np.float32(45)) - window)
        window += self._walls[within] * near * (np.maximum(window, np.float32(30)) - window)
        body = coverage(sample(self._anatomy.body) + 6, self._width)
        window += self._lumen[within] * body * (np.float32(-985) - window)
        is_lung = edge < 0
        right = sample(self._anatomy.right_lung.astype(np.float32)) >= 0.5
        lungs[rows, columns] = np.where(is_lung, np.where(right, 1, 2), 0)
        disease[rows, columns] = np.where(is_lung, label, 0)

    def _parenchyma(self, index: int, sample: Sampler) -> Field:
        """Normal lung: base density, gravity, mottle."""
        habitus = self._habitus
        y = self._lung_grid.axis(1)[0]
        side = -1.0 if habitus.is_prone else 1.0
        dependent = np.clip(np.float32(0.5) + np.float32(side) * y / np.float32(2 * habitus.chest_half_depth), 0, 1)
        density = np.float32(habitus.base_density) + np.float32(habitus.gravity) * dependent
        return np.asarray(density + np.float32(14) * sample(self._mottle))

    def _walls_of(self, tile: CellTile, within: int, wall_mm: float) -> Field:
        """Share of each pixel taken by the walls between cells."""
        rows = self._placement.indices(self._lung_grid.shape[1], 1, tile.wall_distance.shape[1])
        columns = self._placement.indices(self._lung_grid.shape[2], 2, tile.wall_distance.shape[2])
        distance = self._placement.slice(tile.wall_distance, within, rows, columns) * np.float32(tile.cell_mm)
        width = max(self._width, 0.8)
        return np.asarray(
            np.clip((np.float32(wall_mm + width) / 2 - distance) / np.float32(width), 0, 1)
            * np.float32(min(1.0, wall_mm / width))
        )

    def _paint(self, lung: Field, within: int, sample: Sampler) -> NDArray[np.uint8]:
        """Lay the disease over the parenchyma in place; returns the label of each pixel."""
        maps, plan = self._maps, self._plan
        label = np.zeros(lung.shape, np.uint8)
        septa = self._walls_of(self._lobules, within, WALL_MM)
        strength = sample(maps.emphysema)
        lung += strength * np.float32(-105)
        label[strength >= 0.5] = 5
        strength = sample(maps.ground_glass)
        lung += strength * np.float32(plan.ground_glass_hu) * (1 + np.float32(0.12) * sample(self._streaks))
        label[strength >= 0.5] = 1
        strength = sample(maps.reticulation)
        mesh = septa if self._mesh is None else np.maximum(septa, self._walls_of(self._mesh, within, WALL_MM * 0.75))
        lung += strength * (np.float32(480) * mesh + np.float32(40))
        label[strength >= 0.5] = 2
        strength = sample(maps.honeycombing)
        cyst = septa if self._cysts is None else self._walls_of(self._cysts, within, WALL_MM * 1.3)
        lung += strength * (np.float32(-940) + np.float32(800) * cyst - lung)
        label[strength >= 0.5] = 4
        arcs = np.clip(self._walls_of(self._lobules, within, 4.0) * np.float32(1.2), 0, 1) * sample(maps.perilobular)
        solid = np.maximum(sample(maps.consolidation), arcs)
        lung += solid * (np.float32(15) + np.float32(14) * sample(self._streaks) - lung)
        label[np.maximum(sample(maps.consolidation), sample(maps.perilobular)) >= 0.5] = 3
        return label
