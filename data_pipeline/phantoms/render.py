"""Anatomy, trees and disease to HU, slice by slice, on the scan's grid. Noise, kernel and tags come later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.anatomy import Anatomy
from data_pipeline.phantoms.anatomy_settings import load_anatomy_settings
from data_pipeline.phantoms.body_frame import midline_of
from data_pipeline.phantoms.chest_wall import AIR_HU, table_under
from data_pipeline.phantoms.disease import DiseaseMaps
from data_pipeline.phantoms.disease_settings import DiseaseSettings
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.findings import SlicePainter
from data_pipeline.phantoms.grid import Field, Grid, SliceSampler, Window
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.lobules import LobularPainter, Lobules
from data_pipeline.phantoms.shapes import coverage
from data_pipeline.phantoms.textures import smooth_noise
from data_pipeline.phantoms.trees import Tubes, draw_tubes

FINE_MM, FINE_STEP_MM = 3.5, 1.6  # size of the finest texture, and of the grid it is drawn on
AROUND_LUNGS_MM = 14.0  # vessels and airways are drawn this far outside
AROUND_BODY_MM = 16.0


@dataclass(frozen=True, eq=False)
class Phantom:
    """A rendered patient before acquisition.

    Attributes:
        hu: HU, float32, shape (Z, Y, X).
        lungs: 0 outside, 1 right lung, 2 left lung, uint8.
        disease: 0 none, 1 ground glass, 2 reticulation, 3 consolidation, 4 honeycombing, 5 emphysema, 6 air trapping,
            uint8.
        body: Rows and columns outside of which there is air only.
    """

    hu: Field
    lungs: NDArray[np.uint8]
    disease: NDArray[np.uint8]
    body: Window


@dataclass(frozen=True, eq=False)
class Contents:
    """What is rendered.

    Attributes:
        habitus: The body.
        anatomy: Its parts.
        plan: The disease as drawn.
        maps: Where it is.
        lobules: What it follows.
        vessels: Of both lungs.
        airways: As the disease leaves them.
        settings: Sizes and densities.
    """

    habitus: Habitus
    anatomy: Anatomy
    plan: DiseasePlan
    maps: DiseaseMaps
    lobules: Lobules
    vessels: Tubes
    airways: Tubes
    settings: DiseaseSettings


def _box(inside: Field, coarse: Grid, fine: Grid) -> tuple[slice, slice, slice]:
    """Fine-grid box around the coarse points that are inside."""
    box = []
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

    def __init__(self, grid: Grid, contents: Contents, rng: np.random.Generator) -> None:
        self._grid, self._in, self._settings = grid, contents, load_anatomy_settings()
        anatomy = contents.anatomy
        self._sampler = SliceSampler(anatomy.grid, grid)
        self._width = float(np.cbrt(np.prod(grid.spacing_mm)))
        near = (anatomy.body < AROUND_BODY_MM) | (anatomy.lungs < AROUND_LUNGS_MM)
        body = _box(near, anatomy.grid, grid)
        self._body_window = Window(body[1], body[2])
        box = _box(anatomy.lungs < AROUND_LUNGS_MM, anatomy.grid, grid)
        self._slices, self._window = box[0], Window(box[1], box[2])
        self._inner = Window(
            slice(box[1].start - body[1].start, box[1].stop - body[1].start),
            slice(box[2].start - body[2].start, box[2].stop - body[2].start),
        )
        origin = tuple(grid.origin_mm[a] + grid.spacing_mm[a] * box[a].start for a in range(3))
        shape = tuple(part.stop - part.start for part in box)
        self._lung_grid = Grid((shape[0], shape[1], shape[2]), grid.spacing_mm, (origin[0], origin[1], origin[2]))
        self._vessels = draw_tubes(contents.vessels, self._lung_grid)
        airways, sizes = contents.airways, contents.settings.airways
        self._lumen = draw_tubes(airways, self._lung_grid)
        wall = airways.radius + sizes.wall_mm + sizes.wall_share * airways.radius
        self._walls = draw_tubes(Tubes(airways.start, airways.end, wall), self._lung_grid)
        fine = self._lung_grid.coarsened(FINE_STEP_MM)
        self._fine, self._fine_sampler = smooth_noise(fine, FINE_MM, rng), SliceSampler(fine, self._lung_grid)
        x, middle = self._lung_grid.axis(2), midline_of(contents.habitus, self._lung_grid.axis(0))
        self._side = np.where(x < middle, 1, 2).astype(np.uint8)
        self._background = table_under(contents.habitus, grid.axis(1)[0], grid.axis(2)[0], self._width)

    def render(self) -> Phantom:
        """All slices."""
        hu = np.empty(self._grid.shape, np.float32)
        lungs = np.zeros(self._grid.shape, np.uint8)
        disease = np.zeros(self._grid.shape, np.uint8)
        for index in range(self._grid.shape[0]):
            skin, noise = self._body(index, hu[index])
            if self._slices.start <= index < self._slices.stop:
                self._chest(index, hu[index], lungs[index], disease[index], skin, noise)
        return Phantom(hu, lungs, disease, self._body_window)

    def _body(self, index: int, out: Field) -> tuple[Field, tuple[Field, Field]]:
        """Everything but lungs, vessels and airways; gives back the skin's distance and the noise in the body's box."""
        anatomy, width, place = self._in.anatomy, self._width, self._body_window
        hu, varies, skin_mm = self._settings.tissues, self._settings.texture, self._settings.walls.skin_mm

        def sample(field: Field) -> Field:
            return self._sampler.slice(field, index, place)

        out[...] = self._background
        window = out[place.rows, place.columns]
        body = sample(anatomy.body)
        mottle, streaks = sample(self._in.lobules.mottle), sample(self._in.lobules.streaks)
        if self._in.habitus.cloth > 0:
            gap = np.float32(self._in.habitus.cloth) + np.float32(1.3) * mottle
            window += self._thin_sheet(np.abs(body - np.maximum(gap, 1.5)), 0.7) * (np.float32(hu.cloth) - AIR_HU)
        muscle = sample(anatomy.muscle) + 4 * np.clip(np.abs(streaks) - np.float32(1.3), 0, 2)
        tissue = np.float32(hu.fat) + np.float32(varies.fat_hu) * streaks
        tissue += coverage(muscle, width) * (np.float32(hu.muscle) + np.float32(varies.muscle_hu) * mottle - tissue)
        organs = coverage(sample(anatomy.organs), width)
        tissue += organs * (sample(anatomy.organ_hu) + np.float32(varies.organ_hu) * streaks - tissue)
        bones = coverage(sample(anatomy.bones), width)
        tissue += bones * (sample(anatomy.bone_hu) * (1 + np.float32(varies.bone_share) * streaks) - tissue)
        tissue += coverage(np.abs(body + skin_mm / 2) - skin_mm / 2, width) * (np.float32(hu.skin) - tissue)
        window += coverage(body, width) * (tissue - window)
        return body, (mottle, streaks)

    def _chest(
        self,
        index: int,
        out: Field,
        lungs: NDArray[np.uint8],
        disease: NDArray[np.uint8],
        skin: Field,
        noise: tuple[Field, Field],
    ) -> None:
        """Lungs with disease, vessels and airways, inside the box around the lungs."""
        place, inner, within = self._window, self._inner, index - self._slices.start
        hu = self._settings.tissues
        window = out[place.rows, place.columns]
        noise = (noise[0][inner.rows, inner.columns], noise[1][inner.rows, inner.columns])
        edge = self._sampler.slice(self._in.anatomy.lungs, index, place)
        lung, label = self._lung(index, noise)
        window += coverage(edge, self._width) * (lung - window)
        near = coverage(edge - 12, 4.0)
        window += self._vessels[within] * near * (np.maximum(window, np.float32(hu.lung_vessel)) - window)
        window += self._walls[within] * near * (np.maximum(window, np.float32(hu.airway_wall)) - window)
        body = coverage(skin[inner.rows, inner.columns] + 6, self._width)
        window += self._lumen[within] * body * (np.float32(hu.lumen) - window)
        is_lung = edge < 0
        lungs[place.rows, place.columns] = is_lung * self._side[within]
        disease[place.rows, place.columns] = is_lung * label

    def _lung(self, index: int, noise: tuple[Field, Field]) -> tuple[Field, NDArray[np.uint8]]:
        """Parenchyma with disease, and the label of each pixel."""
        habitus, anatomy, body = self._in.habitus, self._in.anatomy, self._settings

        def sample(field: Field) -> Field:
            return self._sampler.slice(field, index, self._window)

        side = np.float32(-1 if habitus.is_prone else 1)
        y = self._lung_grid.axis(1)[0]
        dependent = np.clip(np.float32(0.5) + side * y / np.float32(2 * habitus.chest_half_depth), 0, 1)
        fine = self._fine_sampler.slice(self._fine, index - self._slices.start)
        lung = np.float32(habitus.base_density) + np.float32(habitus.gravity) * dependent * dependent
        lung = lung + np.float32(body.texture.mottle_hu) * noise[0] + np.float32(body.texture.grain_hu) * fine
        lung += self._thin_sheet(sample(anatomy.fissures), body.walls.fissure_mm) * np.float32(body.tissues.fissure)
        if habitus.atelectasis > 0:
            near = np.clip(1 + sample(anatomy.thorax) / np.float32(habitus.atelectasis), 0, 1)
            lung += near * np.clip(4 * dependent - np.float32(3), 0, 1) * np.float32(body.tissues.atelectasis)
        painter = SlicePainter(
            lung,
            maps=self._in.maps,
            plan=self._in.plan,
            settings=self._in.settings,
            sample=sample,
            cells=LobularPainter.of_slice(
                self._in.lobules, self._lung_grid, index - self._slices.start, self._width, noise
            ),
            fine=fine,
        )
        return lung, painter.paint()

    def _thin_sheet(self, distance: Field, thickness_mm: float) -> Field:
        """Share of a pixel taken by a sheet thinner than the pixel."""
        width = max(self._width, thickness_mm)
        return np.clip(1 - distance / np.float32(width), 0, 1) * np.float32(min(1.0, thickness_mm / width))
