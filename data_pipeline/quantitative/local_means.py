"""Local means over lung on cells of some bins: quick, because neighbourhoods are wider than a cell."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from data_pipeline.lungs.coarse_grid import FloatVolume

Value = TypeVar("Value", bound=np.generic)


def cell_sums(values: FloatVolume, cell: int) -> FloatVolume:
    """Sums over cells of ``cell`` by ``cell`` bins in the plane, 1 or 2, zeros beyond the end.

    Returns:
        Shape (ceil(I' / cell), ceil(J' / cell), K'), float32.
    """
    return values if cell == 1 else _pair_sums(_pair_sums(values, 0), 1)


def _pair_sums(values: FloatVolume, axis: int) -> FloatVolume:
    front = np.moveaxis(values, axis, 0)
    sums = front[::2].copy()
    sums[: len(front) // 2] += front[1::2]
    return np.moveaxis(sums, 0, axis)


def box_sums(values: FloatVolume, radius: tuple[int, int, int]) -> FloatVolume:
    """Sums over a box of ``2 radius + 1`` cells, zeros beyond the end. Same shape."""
    total = values
    for axis, reach in enumerate(radius):
        source = np.moveaxis(total, axis, 0)
        total = total.copy() if reach else total
        target = np.moveaxis(total, axis, 0)
        for step in range(1, min(reach, len(source) - 1) + 1):
            target[step:] += source[:-step]
            target[:-step] += source[step:]
    return total


def spread_to_bins(cells: NDArray[Value], shape: tuple[int, ...], cell: int) -> NDArray[Value]:
    """Cells repeated over their bins. ``shape`` is that of the bins."""
    return cells if cell == 1 else cells.repeat(cell, axis=0)[: shape[0]].repeat(cell, axis=1)[:, : shape[1]]


def radius_for(width_mm: float, step_mm: float) -> int:
    """Cells on either side that make a box about ``width_mm`` wide."""
    return max(0, round((width_mm / step_mm - 1) / 2))
