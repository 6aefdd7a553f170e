"""Curves along the body that every part of the chest hangs on: widths, depths, midline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.grid import Field, Grid
from data_pipeline.phantoms.habitus import Habitus
from data_pipeline.phantoms.randomness import STABLE_DECIMALS


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
    body_half_width: Field
    body_half_depth: Field

    def above(self, first: int) -> Frame:
        """The part from a slice upwards."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Frame(**{name: part[first:] if part.shape[0] > 1 else part for name, part in parts.items()})


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
    midline = np.float32(habitus.scoliosis) * np.clip(1 - bow, -1, 1)
    shoulder = np.clip((height - 0.72) / 0.28, 0, 1.3)
    wall = habitus.fat + habitus.muscle + 9
    body_half_width = habitus.chest_half_width + wall + np.float32(36 if habitus.arms_down else 20) * shoulder
    neck = np.clip((height - 1.02) / 0.3, 0, 1)
    body_half_depth = (habitus.chest_half_depth + wall * 0.85 + 6) * (1 - 0.22 * np.clip(shoulder, 0, 1) - 0.1 * neck)
    return Frame(
        z, y, x - midline, height, half_width, half_depth, centre_y, body_half_width + 0 * z, body_half_depth + 0 * z
    )
