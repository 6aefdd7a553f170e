"""Vessels and airways of both lungs, and what disease does to the airways: traction, beads, air bronchograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.anatomy import Anatomy
from data_pipeline.phantoms.disease import DiseaseMaps
from data_pipeline.phantoms.disease_settings import AirwaySettings
from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.trees import Points, Tubes, grow_tree

BESIDE = np.array([1.0, 0.7, -0.4])  # direction from an artery to its bronchus


@dataclass(frozen=True, eq=False)
class Trees:
    """Vessels, the airways a healthy scan shows, and the small ones it shows only where disease surrounds them."""

    vessels: Tubes
    airways: Tubes
    bronchioles: Tubes


def grow_trees(
    anatomy: Anatomy, habitus: Habitus, num_tips: int, settings: AirwaySettings, rng: np.random.Generator
) -> Trees:
    """Arteries, veins and airways. The airways follow the arteries at their side.

    Args:
        anatomy: Lungs and hila.
        habitus: Size of the trachea.
        num_tips: End branches of each tree in each lung.
        settings: Radii.
        rng: Generator of the patient's trees.
    """
    grid = anatomy.grid
    carina = np.array(anatomy.carina)
    top = carina + np.array([0.45 * habitus.lung_height, -habitus.chest_half_depth * 0.10, 0.0])
    stems = [(top, carina, habitus.trachea_radius)]
    vessels, airways, bronchioles = [], [], []
    for side, hilum in enumerate(np.array(place) for place in anatomy.hila):
        inside = (anatomy.lungs < -settings.tip_depth_mm) & (anatomy.right_lung if side == 0 else ~anatomy.right_lung)
        places = np.argwhere(inside)
        for kind in range(2):
            chosen = places[rng.integers(0, len(places), size=num_tips)] + rng.random((num_tips, 3)) - 0.5
            tips = chosen * np.array(grid.spacing_mm) + np.array(grid.origin_mm)
            root = hilum + (np.array([-14.0, -6.0, 0.0]) if kind else 0.0)
            stem_mm = settings.vein_mm if kind else settings.artery_mm
            tree = grow_tree(root, tips, stem_mm, settings.murray_exponent, rng)
            vessels.append(tree)
            if kind == 0:
                bronchi = _beside(tree.between(settings.smallest_mm, 99.0), settings.lumen_share)
                airways.append(bronchi.between(settings.visible_mm, 99.0))
                bronchioles.append(bronchi.between(0.0, settings.visible_mm))
        stems.append((carina, hilum, habitus.trachea_radius * settings.main_bronchus_share))
    stem = Tubes(*(np.array([part[item] for part in stems]) for item in range(3)))
    return Trees(sum(vessels[1:], vessels[0]), sum(airways, stem), sum(bronchioles[1:], bronchioles[0]))


def _beside(arteries: Tubes, lumen_share: float) -> Tubes:
    shift = BESIDE[None, :] * (arteries.radius * 1.5)[:, None]
    return Tubes(arteries.start + shift, arteries.end + shift, arteries.radius * lumen_share)


def diseased_airways(
    trees: Trees, maps: DiseaseMaps, grid: Grid, traction: float, settings: AirwaySettings, rng: np.random.Generator
) -> Tubes:
    """Airways as this disease leaves them.

    Inside fibrosis airways are wider, bent and beaded, and small ones show far out; inside consolidation small ones
    show as air bronchograms.

    Args:
        trees: The healthy trees.
        maps: Where the disease is.
        grid: Grid of the maps.
        traction: Widening inside fibrosis, 1 for none.
        settings: Lengths and amounts.
        rng: Generator of the patient's trees, for bends and beads.
    """
    pieces = [trees.airways]
    if maps.has("consolidation"):
        solid = _at(maps.consolidation, grid, trees.bronchioles) >= 0.5
        pieces.append(trees.bronchioles.where(solid).at_least(settings.bronchogram_mm))
    if traction <= 1 or not (maps.has("reticulation") or maps.has("honeycombing")):
        return sum(pieces[1:], pieces[0])
    pull = np.maximum(maps.reticulation, maps.honeycombing)
    healthy = pieces[0]
    pulled = _at(pull, grid, healthy)
    small = trees.bronchioles.where(_at(pull, grid, trees.bronchioles) >= 0.5)
    drawn = healthy.where(pulled >= 0.3) + small.at_least(settings.pulled_mm)
    return sum(pieces[1:], healthy.where(pulled < 0.3)) + _varicose(drawn, traction, settings, rng)


def _at(field: Field, grid: Grid, tubes: Tubes) -> NDArray[np.float32]:
    """Value of a map at the middle of each tube."""
    middle = (tubes.start + tubes.end) / 2
    index = np.round((middle - np.array(grid.origin_mm)) / np.array(grid.spacing_mm)).astype(np.intp)
    index = np.clip(index, 0, np.array(grid.shape) - 1)
    return np.asarray(field[index[:, 0], index[:, 1], index[:, 2]])


def _varicose(tubes: Tubes, traction: float, settings: AirwaySettings, rng: np.random.Generator) -> Tubes:
    """Cut tubes into beads: each a little aside and of another radius."""
    length = np.sqrt(((tubes.end - tubes.start) ** 2).sum(axis=1))
    counts = np.maximum(np.ceil(length / settings.bead_mm).astype(np.intp), 1)
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    last = number == counts[owner] - 1
    step = (tubes.end - tubes.start)[owner] / counts[owner][:, None]
    bend = rng.uniform(-1, 1, (len(owner), 3)) * settings.bend_mm
    bend[last] = 0
    ends = tubes.start[owner] + step * (number + 1)[:, None] + bend
    starts: Points = tubes.start[owner] + step * number[:, None]
    is_first = number == 0
    starts[~is_first] = ends[np.flatnonzero(~is_first) - 1]
    beads = 1 + settings.bead_share * rng.uniform(-1, 1, len(owner))
    wide = 1 + (traction - 1) * np.minimum(1, settings.visible_mm / tubes.radius)  # large bronchi give way less
    return Tubes(starts, ends, (tubes.radius * wide)[owner] * beads)
