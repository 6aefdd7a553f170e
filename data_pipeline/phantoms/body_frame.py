"""Curves along the body that every part of the chest hangs on: widths, depths, midline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.anatomy_settings import load_anatomy_settings
from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.randomness import STABLE_DECIMALS

Limits = tuple[float, float]
Box = tuple[slice, slice, slice]


def stable_root(values: NDArray[np.float64]) -> Field:
    """Root of a small table of powers, rounded before: equal bits on every processor."""
    return np.sqrt(np.maximum(np.round(values, STABLE_DECIMALS), 0.0)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Frame:
    """Curves along z, shaped (Z, 1, 1), that all parts of the chest hang on."""

    z: Field
    y: Field
    x: Field  # measured from the curved spine's midline
    height: Field  # share of lung height
    half_width: Field
    half_depth: Field
    centre_y: Field
    spine_y: Field  # middle of the vertebral bodies
    grid_x: Field  # measured from the grid's middle

    def part(
        self, heights: Limits | None = None, y: Limits | None = None, x: Limits | None = None
    ) -> tuple[Box, Frame]:
        """A box of the grid and the curves in it; it may be empty.

        Args:
            heights: From and to, as shares of lung height; all where not given.
            y: From and to, mm from the grid's middle to the back.
            x: From and to, mm from the grid's middle to the left.
        """
        axes = ((self.height, heights), (self.y, y), (self.grid_x, x))
        box = (_between(*axes[0]), _between(*axes[1]), _between(*axes[2]))
        return box, Frame(**{name: _cut(getattr(self, name), box) for name in self.__dataclass_fields__})


def _between(axis: Field, limits: Limits | None) -> slice:
    if limits is None:
        return slice(0, axis.size)
    first, last = (int(np.searchsorted(axis.ravel(), limit)) for limit in limits)
    return slice(first, max(last, first))


def _cut(curve: Field, box: Box) -> Field:
    return curve[tuple(cut if size > 1 else slice(None) for cut, size in zip(box, curve.shape, strict=True))]


def midline_of(habitus: Habitus, z: Field) -> Field:
    """Middle of the body at some heights, mm to the left of the grid's middle."""
    bow = (z / np.float32(habitus.lung_height) - np.float32(0.5)) ** 2 * np.float32(4)
    return np.asarray(np.float32(habitus.scoliosis) * np.clip(1 - bow, -1, 1))


def build_frame(habitus: Habitus, grid: Grid) -> Frame:
    """The curves of one body on a grid, all lengths in mm."""
    z, y, x = grid.coordinates()
    height = z / np.float32(habitus.lung_height)
    above = np.clip((height - 0.36) / 0.67, 0, 1)
    taper = stable_root(1 - above.astype(np.float64) ** 2.6)
    below = np.clip((0.25 - height) / 0.5, 0, 1)
    half_width = np.float32(habitus.chest_half_width) * np.maximum(taper, 0.05) * (1 - 0.05 * below)
    receding = np.clip((height - 0.25) / 0.80, 0, 1)
    depth_taper = stable_root(1 - receding.astype(np.float64) ** 2.2)
    half_depth = np.float32(habitus.chest_half_depth) * np.maximum(depth_taper, 0.08)
    bow = (height - 0.5) ** 2 * np.float32(4)
    centre_y = (
        np.float32(habitus.spine_curve) * (0.5 - bow) + (np.float32(habitus.chest_half_depth) - half_depth) * 0.45
    )
    midline = midline_of(habitus, z)
    spine_y = centre_y + np.float32(habitus.chest_half_depth - load_anatomy_settings().spine_before_back.value)
    return Frame(z, y, x - midline, height, half_width, half_depth, centre_y, spine_y, x)
