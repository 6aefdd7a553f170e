"""Branching trees that fill the lungs (arteries, veins, airways) and their drawing onto a grid with partial volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.randomness import STABLE_DECIMALS

Points = NDArray[np.float64]

PATH_SHARE = 0.45  # weight of the way already travelled from the root when a new tip looks for its parent
STEP_MM = 0.6  # step of the dots that draw thin tubes, at most this share of a voxel and this length


@dataclass(frozen=True, eq=False)
class Tubes:
    """Straight pieces of a tree.

    Attributes:
        start: (z, y, x) mm, shape (N, 3).
        end: (z, y, x) mm, shape (N, 3).
        radius: mm, shape (N,).
    """

    start: Points
    end: Points
    radius: NDArray[np.float64]

    def __add__(self, other: Tubes) -> Tubes:
        """Both trees together."""
        return Tubes(
            np.concatenate([self.start, other.start]),
            np.concatenate([self.end, other.end]),
            np.concatenate([self.radius, other.radius]),
        )

    def where(self, keep: NDArray[np.bool_]) -> Tubes:
        """Some of the pieces."""
        return Tubes(self.start[keep], self.end[keep], self.radius[keep])

    def between(self, low_mm: float, high_mm: float) -> Tubes:
        """The pieces whose radius is at least ``low_mm`` and below ``high_mm``."""
        return self.where((self.radius >= low_mm) & (self.radius < high_mm))

    def at_least(self, radius_mm: float) -> Tubes:
        """The same pieces, none thinner than a radius."""
        return Tubes(self.start, self.end, np.maximum(self.radius, radius_mm))


def grow_tree(
    root: Points, tips: Points, root_radius_mm: float, murray_exponent: float, rng: np.random.Generator
) -> Tubes:
    """Connect tips to a root, each to the node that makes a short way, and give radii by Murray's law.

    Args:
        root: (z, y, x) mm, shape (3,).
        tips: End points, mm, shape (N, 3).
        root_radius_mm: Radius of the stem.
        murray_exponent: Radius of a parent to this power is the sum of those of its children.
        rng: For the bends.
    """
    order = np.argsort(((tips - root) ** 2).sum(axis=1), kind="stable")
    count = len(tips)
    nodes = np.empty((count + 1, 3))
    nodes[0] = root
    path = np.zeros(count + 1)
    parent = np.zeros(count + 1, np.intp)
    for number, tip in enumerate(tips[order], start=1):
        reach = np.sqrt(((nodes[:number] - tip) ** 2).sum(axis=1))
        best = int(np.argmin(reach + PATH_SHARE * path[:number]))
        nodes[number], parent[number] = tip, best
        path[number] = path[best] + reach[best]
    leaves = np.ones(count + 1)
    for number in range(count, 0, -1):
        leaves[parent[number]] += leaves[number]
    radius = np.round(root_radius_mm * (leaves / leaves[0]) ** (1 / murray_exponent), STABLE_DECIMALS)
    start, end, thick = nodes[parent[1:]], nodes[1:], radius[1:]
    length = np.sqrt(((end - start) ** 2).sum(axis=1))
    middle = (start + end) / 2 + rng.standard_normal((count, 3)) * (0.09 * length)[:, None]
    return Tubes(np.concatenate([start, middle]), np.concatenate([middle, end]), np.tile(thick, 2))


def draw_tubes(tubes: Tubes, grid: Grid) -> Field:
    """Share of each voxel inside the tubes, 0..1, shape ``grid.shape``.

    Thick pieces are drawn by distance, thin ones as a row of dots that carry their volume.
    """
    canvas = np.zeros(grid.shape, np.float32)
    voxel = float(np.cbrt(grid.spacing_mm[0] * grid.spacing_mm[1] * grid.spacing_mm[2]))
    is_thick = tubes.radius >= 0.9 * voxel
    for start, end, radius in zip(tubes.start[is_thick], tubes.end[is_thick], tubes.radius[is_thick], strict=True):
        _draw_capsule(canvas, grid, start, end, float(radius))
    thin = Tubes(tubes.start[~is_thick], tubes.end[~is_thick], tubes.radius[~is_thick])
    if len(thin.radius):
        _add_dots(canvas, thin, grid, min(STEP_MM * voxel, 2.0))
    return np.minimum(canvas, 1, out=canvas)


def _draw_capsule(canvas: Field, grid: Grid, start: Points, end: Points, radius: float) -> None:
    """Draw one tube with a round end into its bounding box."""
    window: list[slice] = []
    offsets: list[Field] = []
    for axis, (step, origin, count) in enumerate(zip(grid.spacing_mm, grid.origin_mm, grid.shape, strict=True)):
        margin = radius + step
        low = int(np.floor((min(start[axis], end[axis]) - margin - origin) / step))
        high = int(np.ceil((max(start[axis], end[axis]) + margin - origin) / step)) + 1
        low, high = max(low, 0), min(high, count)
        if low >= high:
            return
        window.append(slice(low, high))
        centres = (origin + step * np.arange(low, high) - start[axis]).astype(np.float32)
        shape = [1, 1, 1]
        shape[axis] = -1
        offsets.append(centres.reshape(shape))
    direction = (end - start).astype(np.float32)
    squared = np.float32(max(float((direction * direction).sum()), 1e-6))
    along = (offsets[0] * direction[0] + offsets[1] * direction[1] + offsets[2] * direction[2]) / squared
    along = np.clip(along, 0, 1)
    distance = np.sqrt(
        (offsets[0] - along * direction[0]) ** 2
        + (offsets[1] - along * direction[1]) ** 2
        + (offsets[2] - along * direction[2]) ** 2
    )
    width = float(np.cbrt(np.prod(grid.spacing_mm)))
    share = np.clip(np.float32(0.5) - (distance - np.float32(radius)) / np.float32(width), 0, 1)
    box = canvas[tuple(window)]
    np.maximum(box, share, out=box)


def _add_dots(canvas: Field, tubes: Tubes, grid: Grid, step_mm: float) -> None:
    """Draw thin tubes as dots spread over the eight voxels around each."""
    length = np.sqrt(((tubes.end - tubes.start) ** 2).sum(axis=1))
    counts = np.maximum(np.ceil(length / step_mm).astype(np.intp), 1)
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = ((number + 0.5) / counts[owner])[:, None]
    places = tubes.start[owner] * (1 - share) + tubes.end[owner] * share
    volume = np.pi * tubes.radius[owner] ** 2 * (length / counts)[owner]
    weight = volume / float(np.prod(grid.spacing_mm))
    position = (places - np.array(grid.origin_mm)) / np.array(grid.spacing_mm)
    lower = np.floor(position).astype(np.intp)
    part = position - lower
    inside = ((lower >= 0) & (lower < np.array(grid.shape) - 1)).all(axis=1)
    lower, part, weight = lower[inside], part[inside], weight[inside]
    _, rows, columns = grid.shape
    flat = canvas.reshape(-1)
    for corner in np.ndindex(2, 2, 2):
        step = np.array(corner)
        index = ((lower[:, 0] + step[0]) * rows + lower[:, 1] + step[1]) * columns + lower[:, 2] + step[2]
        share_here = np.where(step == 1, part, 1 - part).prod(axis=1)
        np.add.at(flat, index, (weight * share_here).astype(np.float32))
