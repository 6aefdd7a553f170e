"""Pad or cut the image to one shape, about its centre, so that images stack into batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.transforms.transform import Transform
from pydantic import Field, PositiveInt

from data_pipeline.transforms.crop_to_lungs import shifted
from data_pipeline.transforms.registry import TRANSFORMS
from domain.affine import Affine
from domain.batch_keys import IMAGE, IMAGE_AFFINE, IMAGE_MASK
from domain.specs import Settings
from domain.volume import AIR_HU


class FitShapeParams(Settings):
    """The network's shape (I', J', K')."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = Field()


def fit(values: torch.Tensor, shape: tuple[int, int, int], fill: int) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Centre ``values`` in a tensor of ``shape``.

    Args:
        values: Shape (C, I, J, K).
        shape: Wanted (I', J', K').
        fill: Value of new voxels.

    Returns:
        The tensor, and where its first voxel lies in ``values`` (negative where padded).
    """
    fitted = values.new_full((values.shape[0], *shape), fill)
    source, target, first = [slice(None)], [slice(None)], []
    for size, new_size in zip(values.shape[1:], shape, strict=True):
        start = (size - new_size) // 2  # below zero: padded
        first.append(start)
        source.append(slice(max(0, start), min(size, start + new_size)))
        target.append(slice(max(0, -start), max(0, -start) + source[-1].stop - source[-1].start))
    fitted[tuple(target)] = values[tuple(source)]
    return fitted, (first[0], first[1], first[2])


class FitShape(Transform):
    """``IMAGE`` and ``IMAGE_MASK`` padded with air, or cut, to one shape."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Fit image and mask."""
        image, first = fit(data[IMAGE], self.shape, AIR_HU)
        mask, _ = fit(data[IMAGE_MASK], self.shape, 0)
        affine = np.array(shifted(Affine(data[IMAGE_AFFINE]), first).matrix)
        return data | {IMAGE: image, IMAGE_MASK: mask, IMAGE_AFFINE: affine}


@TRANSFORMS.register("fit_shape", version=1, params=FitShapeParams)
def build_fit_shape(params: FitShapeParams, *, device: str) -> FitShape:
    """Fit to one shape."""
    return FitShape(params.shape)
