"""Separable resampling on regular grids with optional anti-aliasing. No rotation: axes keep their directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

MAX_BLOCK = 32  # output samples mapped by one matrix, and
TAPS_PER_STEP = 12  # how many of them for each weight that overlaps the next sample: little of the matrix is zero
CACHED_VOXELS = 1_200_000  # float32 voxels that fit the cache of a processor, beside their neighbours


@dataclass(frozen=True, eq=False)
class AxisWeights:
    """Linear map of one axis: output = sum over taps of weight x input[index].

    Attributes:
        index: Source index per output sample and tap. Shape (N_out, T), int64, inside the axis.
        weight: Its weight; each row adds up to 1. Shape (N_out, T), float32.
    """

    index: NDArray[np.int64]
    weight: NDArray[np.float32]


def output_size(size: int, spacing_mm: float, new_spacing_mm: float) -> int:
    """Samples that cover the axis: its field of view over the new spacing, at least one."""
    return max(1, round(size * spacing_mm / new_spacing_mm))


def axis_positions(size: int, ratio: float, new_size: int) -> NDArray[np.float64]:
    """Source positions of the new samples, in source voxels; both grids share their centre.

    Args:
        size: Source samples.
        ratio: New spacing over source spacing.
        new_size: New samples.
    """
    steps = np.arange(new_size, dtype=np.float64) - (new_size - 1) / 2
    return (size - 1) / 2 + steps * ratio


def axis_weights(positions: NDArray[np.float64], size: int, ratio: float, *, anti_alias: bool) -> AxisWeights:
    """Weights of linear interpolation, widened to the new spacing where samples get sparser.

    The kernel is a triangle of half-width max(1, ratio) source voxels: linear interpolation for ratio <= 1, and for
    ratio > 1 a low-pass filter that keeps detail finer than the new grid from folding back. Beyond the ends the first
    and last sample are repeated.

    Args:
        positions: Source position per output sample, in source voxels. Shape (N_out,).
        size: Source samples.
        ratio: New spacing over source spacing.
        anti_alias: False: plain linear interpolation, as most libraries do.
    """
    half_width = max(1.0, ratio) if anti_alias else 1.0
    first = np.ceil(positions - half_width).astype(np.int64)
    taps = int(np.ceil(2 * half_width)) + 1
    index = first[:, None] + np.arange(taps)
    weight = np.maximum(0.0, 1.0 - np.abs(index - positions[:, None]) / half_width)
    weight /= weight.sum(axis=1, keepdims=True)
    used = (weight > 0).any(axis=0)  # the last tap is often empty
    return AxisWeights(np.clip(index[:, used], 0, size - 1), weight[:, used].astype(np.float32))


def nearest_weights(positions: NDArray[np.float64], size: int) -> AxisWeights:
    """The nearest source sample alone: nothing is mixed across a gap.

    Args:
        positions: Source position per output sample, in source voxels. Shape (N_out,).
        size: Source samples.
    """
    index = np.clip(np.round(positions), 0, size - 1).astype(np.int64)[:, None]
    return AxisWeights(index, np.ones(index.shape, dtype=np.float32))


def apply_axis(values: torch.Tensor, weights: AxisWeights, axis: int) -> torch.Tensor:
    """Map one axis of a volume: a few output samples at a time are a small matrix times their stretch of input.

    Args:
        values: Shape (I, J, K), any dtype.
        weights: Of that axis.
        axis: Which.

    Returns:
        float32, the axis replaced by N_out samples.
    """
    return _apply_bands(values, _bands(weights, values.device), axis)


@dataclass(frozen=True, eq=False)
class _Band:
    """Weights of some output samples over the stretch of input they read.

    Attributes:
        start: First output sample.
        first: First input sample.
        matrix: Shape (outputs, inputs), float32.
    """

    start: int
    first: int
    matrix: torch.Tensor


def _apply_bands(values: torch.Tensor, bands: list[_Band], axis: int) -> torch.Tensor:
    shape = list(values.shape)
    shape[axis] = bands[-1].start + len(bands[-1].matrix)
    result = torch.empty(shape, dtype=torch.float32, device=values.device)
    for band in bands:
        part = values.narrow(axis, band.first, band.matrix.shape[1]).to(torch.float32)
        target = result.narrow(axis, band.start, len(band.matrix))
        if axis == 0:
            torch.mm(band.matrix, part.reshape(len(part), -1), out=target.view(len(band.matrix), -1))
        elif axis == 1:
            target.copy_(band.matrix @ part)
        else:
            target.copy_(part @ band.matrix.T)
    return result


def _block(weights: AxisWeights) -> int:
    """Output samples per matrix: fewer where they lie far apart, so that little is read in vain."""
    count, taps = weights.index.shape
    step = abs(int(weights.index[-1, 0]) - int(weights.index[0, 0])) / max(1, int(count) - 1)
    return min(MAX_BLOCK, max(1, round(TAPS_PER_STEP * int(taps) / max(step, 1.0))))


def _bands(weights: AxisWeights, device: torch.device) -> list[_Band]:
    bands, block = [], _block(weights)
    for start in range(0, len(weights.index), block):
        index, weight = weights.index[start : start + block], weights.weight[start : start + block]
        first = int(index.min())
        matrix = np.zeros((len(index), int(index.max()) + 1 - first), dtype=np.float32)
        np.add.at(matrix, (np.arange(len(index))[:, None], index - first), weight)
        bands.append(_Band(start, first, torch.from_numpy(matrix).to(device)))
    return bands


def resample(
    values: torch.Tensor,
    spacing_mm: tuple[float, float, float],
    new_spacing_mm: tuple[float, float, float],
    *,
    anti_alias: bool = True,
    nearest_axes: tuple[int, ...] = (),
) -> torch.Tensor:
    """Resample a volume to a new spacing; both grids share their centre.

    Args:
        values: Shape (I, J, K), any real dtype.
        spacing_mm: Its spacing, mm.
        new_spacing_mm: Wanted spacing, mm.
        anti_alias: Filter before sampling sparser.
        nearest_axes: Axes along which the nearest sample is taken instead: the slices of a sequential scan.

    Returns:
        Shape (I', J', K'), float32.
    """
    ratios = [new / old for new, old in zip(new_spacing_mm, spacing_mm, strict=True)]
    maps = []
    for axis, ratio in enumerate(ratios):
        size = values.shape[axis]
        positions = axis_positions(size, ratio, output_size(size, spacing_mm[axis], new_spacing_mm[axis]))
        if axis in nearest_axes:
            maps.append(nearest_weights(positions, size))
        else:
            maps.append(axis_weights(positions, size, ratio, anti_alias=anti_alias))
    order = sorted(range(3), key=lambda axis: -values.stride()[axis])  # slowest axis in memory first
    mapped = _map_all(values.permute(order), [maps[axis] for axis in order])
    return mapped.permute([order.index(axis) for axis in range(3)])


def _map_all(values: torch.Tensor, maps: list[AxisWeights]) -> torch.Tensor:
    """Map all three axes, a few output planes at a time on the CPU: what is worked on stays in its cache."""
    outer, *inner = maps
    planes = len(outer.index)
    step = planes if values.is_cuda else max(1, CACHED_VOXELS // (values.shape[1] * values.shape[2]))
    inner_bands = [_bands(weights, values.device) for weights in inner]
    shape = [len(weights.index) for weights in maps]
    result = torch.empty(shape, dtype=torch.float32, device=values.device)
    for start in range(0, planes, step):
        stop = start + step
        part = apply_axis(values, AxisWeights(outer.index[start:stop], outer.weight[start:stop]), 0)
        for axis, bands in enumerate(inner_bands, start=1):
            part = _apply_bands(part, bands, axis)
        result[start:stop] = part
    return result
