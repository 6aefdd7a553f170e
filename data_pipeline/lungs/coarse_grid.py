"""Working grid of the lung search: block means of a few millimetres, and the way back to the native grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.threads import in_threads

COARSE_SPACING_MM = 3.0  # lungs are found at this spacing; every lung has > 10^4 such voxels
MIN_COARSE_VOXELS = 24  # an axis is not reduced below this, so that tiny volumes keep their shape

LAYERS_AT_ONCE = 2  # layers of blocks summed together
HIGHEST_SUMMED_HU = 4095  # metal reaches 30,000 HU on extended scales; above this it is all the same
MAX_INT16_TERMS = 8  # sums of this many values of -4096..4095 HU fit 16 bits

IntVolume = NDArray[np.int16] | NDArray[np.int32]
BoolArray = NDArray[np.bool_]
FloatVolume = NDArray[np.float32]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class CoarseGrid:
    """Block means of a volume.

    Attributes:
        hu: Mean HU per block. Shape (I', J', K'), float32.
        factors: Native voxels per block along i, j, k.
        spacing_mm: Spacing of the blocks along i, j, k, mm.
        native_shape: (I, J, K).
    """

    hu: FloatVolume
    factors: tuple[int, int, int]
    spacing_mm: Spacing
    native_shape: tuple[int, int, int]

    @property
    def voxel_ml(self) -> float:
        """Volume of one block, ml."""
        return self.spacing_mm[0] * self.spacing_mm[1] * self.spacing_mm[2] / 1000.0

    def voxels_for_mm(self, length_mm: float) -> int:
        """How many in-plane blocks a length is, at least one."""
        return max(1, round(length_mm / self.spacing_mm[0]))


def reduction_factors(
    shape: tuple[int, int, int], spacing_mm: Spacing, target_mm: float = COARSE_SPACING_MM
) -> tuple[int, int, int]:
    """Whole numbers of voxels per block that bring each spacing near ``target_mm``."""
    factors = [
        min(max(1, round(target_mm / spacing)), max(1, size // MIN_COARSE_VOXELS))
        for size, spacing in zip(shape, spacing_mm, strict=True)
    ]
    return factors[0], factors[1], factors[2]


def block_mean(voxels: NDArray[np.int16], factors: tuple[int, int, int]) -> FloatVolume:
    """Mean over blocks of ``factors`` voxels; an incomplete last block is left out.

    Args:
        voxels: HU, at least -4096; more than ``HIGHEST_SUMMED_HU`` counts as that. Shape (I, J, K), any memory order.
        factors: Block size along i, j, k.

    Returns:
        Shape (I // fi, J // fj, K // fk), float32, contiguous.
    """
    # The slowest axis in memory is summed first, a few layers at a time: what is added stays in the cache.
    order = sorted(range(3), key=lambda axis: -abs(voxels.strides[axis]))
    size, factor = voxels.shape[order[0]] // factors[order[0]], factors[order[0]]
    mean = np.empty([voxels.shape[axis] // factors[axis] for axis in range(3)], dtype=np.float32)

    def sum_layer(start: int) -> None:
        stop = min(start + LAYERS_AT_ONCE, size)
        total: IntVolume = voxels[_at(order[0], slice(start * factor, stop * factor))]
        if total.max(initial=0) > HIGHEST_SUMMED_HU:
            total = np.minimum(total, HIGHEST_SUMMED_HU)
        count = 1
        for axis in order:
            count *= factors[axis]
            total = _sum_blocks(total, axis, factors[axis], wide=count > MAX_INT16_TERMS)
        np.multiply(total, np.float32(1.0 / count), out=mean[_at(order[0], slice(start, stop))], casting="unsafe")

    in_threads(sum_layer, range(0, size, LAYERS_AT_ONCE))
    return mean


def _sum_blocks(values: IntVolume, axis: int, factor: int, *, wide: bool) -> IntVolume:
    """Sum over blocks along one axis; in 16 bits as long as that cannot overflow."""
    if factor == 1:
        return values
    length = values.shape[axis] // factor * factor
    parts = [values[_at(axis, slice(start, length, factor))] for start in range(factor)]
    total: IntVolume = np.add(parts[0], parts[1], dtype=np.int32 if wide else np.int16)
    for part in parts[2:]:
        total += part
    return total


def block_label(labels: NDArray[np.uint8], factors: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Label of each block whose voxels all carry the same one; 0 for mixed blocks. Shape as ``block_mean``."""
    lowest = highest = labels
    for axis in sorted(range(3), key=lambda item: -abs(labels.strides[item])):
        factor, length = factors[axis], labels.shape[axis] // factors[axis] * factors[axis]
        starts = [_at(axis, slice(start, length, factor)) for start in range(factor)]
        low, high = lowest[starts[0]], highest[starts[0]]
        for start in starts[1:]:
            low, high = np.minimum(low, lowest[start]), np.maximum(high, highest[start])
        lowest, highest = low, high
    return np.where(lowest == highest, lowest, np.uint8(0))


def _at(axis: int, where: slice) -> tuple[slice, ...]:
    index = [slice(None)] * 3
    index[axis] = where
    return tuple(index)


def coarse_grid(voxels: NDArray[np.int16], spacing_mm: Spacing) -> CoarseGrid:
    """The working grid of a volume."""
    native_shape = (voxels.shape[0], voxels.shape[1], voxels.shape[2])
    factors = reduction_factors(native_shape, spacing_mm)
    coarse_spacing = (spacing_mm[0] * factors[0], spacing_mm[1] * factors[1], spacing_mm[2] * factors[2])
    return CoarseGrid(block_mean(voxels, factors), factors, coarse_spacing, native_shape)
