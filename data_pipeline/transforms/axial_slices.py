"""The second input form: axial slices at native sharpness in the plane, spread evenly over the height of the lungs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.transforms.transform import Transform
from numpy.typing import NDArray
from pydantic import Field

from data_pipeline.resampling import AxisWeights, apply_axis, axis_positions, axis_weights, output_size
from data_pipeline.transforms.registry import TRANSFORMS
from data_pipeline.transforms.resample import as_tensor, resampled_affine
from domain.affine import Affine
from domain.batch_keys import ACQUISITION, IMAGE, IMAGE_AFFINE, IMAGE_MASK
from domain.specs import Settings


class AxialSlicesParams(Settings):
    """How many slices, how fine in the plane, how thick.

    Attributes:
        num_slices: Slices along the last axis of ``IMAGE``.
        spacing_mm: Pixel size in the plane; about the native one, so that texture stays sharp.
        slab_mm: Thickness that neighbouring thin slices are averaged to; sequential scans keep their own slices.
    """

    num_slices: int = Field(default=24, ge=1)
    spacing_mm: float = Field(default=0.8, gt=0)
    slab_mm: float = Field(default=1.5, gt=0)


def slice_positions(lung_slices: NDArray[np.bool_], num_slices: int) -> NDArray[np.float64]:
    """Positions at equal distances over the slices that show lung, in slices; half a distance from both ends.

    Args:
        lung_slices: Which slices show lung. Shape (K,). Without any, all slices count.
        num_slices: How many positions.
    """
    shown = np.nonzero(lung_slices)[0]
    first, last = (int(shown[0]), int(shown[-1])) if shown.size else (0, len(lung_slices) - 1)
    return first - 0.5 + (np.arange(num_slices) + 0.5) * (last - first + 1) / num_slices


def slab_weights(positions: NDArray[np.float64], size: int, slab_slices: float) -> AxisWeights:
    """Mean over the slices within half a slab of each position; at least the nearest slice.

    Args:
        positions: In slices. Shape (N,).
        size: Slices of the scan.
        slab_slices: Thickness of the slab in slices; 1 or less takes the nearest slice.
    """
    count = max(1, round(slab_slices))
    first = np.round(positions - (count - 1) / 2).astype(np.int64)
    index = np.clip(first[:, None] + np.arange(count), 0, size - 1)
    return AxisWeights(index, np.full(index.shape, 1.0 / count, dtype=np.float32))


class AxialSlices(Transform):
    """``IMAGE`` (1, I', J', N) int16 HU and ``IMAGE_MASK``: N slices; ``IMAGE_AFFINE`` of their mean distance."""

    def __init__(self, params: AxialSlicesParams, device: str) -> None:
        self.params = params
        self.device = device

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Take slices from the cropped image."""
        affine = Affine(data[IMAGE_AFFINE])
        hu, inside = data[IMAGE][0], (data[IMAGE_MASK][0] > 0).view(np.uint8)
        num_slices, size = self.params.num_slices, hu.shape[2]
        positions = slice_positions(inside.any(axis=(0, 1)), num_slices)
        slab = 1.0 if data[ACQUISITION].is_sequential else self.params.slab_mm / affine.spacing_mm[2]
        along = slab_weights(positions, size, slab)
        nearest = slab_weights(positions, size, 1.0)
        image = self._on_grid(hu, along, affine)
        mask = self._on_grid(inside, nearest, affine) >= 0.5
        step_mm = affine.spacing_mm[2] * float(positions[1] - positions[0] if num_slices > 1 else 1.0)
        new_spacing = (self.params.spacing_mm, self.params.spacing_mm, step_mm)
        middle = affine.matrix[:3, 2] * (positions.mean() - (size - 1) / 2)  # the slices' centre is not the box's
        matrix = resampled_affine(affine, hu.shape, tuple(image.shape), new_spacing)
        matrix[:3, 3] += middle
        return data | {
            IMAGE: image.round_().to(torch.int16)[None],
            IMAGE_MASK: mask.to(torch.uint8)[None],
            IMAGE_AFFINE: matrix,
        }

    def _on_grid(self, voxels: NDArray[Any], along: AxisWeights, affine: Affine) -> torch.Tensor:
        """Take slices, then resample i and j."""
        values, flips = as_tensor(voxels, self.device)
        if 2 in flips:
            along = AxisWeights(values.shape[2] - 1 - along.index, along.weight)
        values = apply_axis(values, along, 2)
        for axis in (0, 1):
            size, old = values.shape[axis], affine.spacing_mm[axis]
            ratio = self.params.spacing_mm / old
            positions = axis_positions(size, ratio, output_size(size, old, self.params.spacing_mm))
            values = apply_axis(values, axis_weights(positions, size, ratio, anti_alias=True), axis)
        return values.flip([axis for axis in flips if axis != 2])


@TRANSFORMS.register("axial_slices", version=1, params=AxialSlicesParams)
def build_axial_slices(params: AxialSlicesParams, *, device: str) -> AxialSlices:
    """Axial slices on the given device."""
    return AxialSlices(params, device)
