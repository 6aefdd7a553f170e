"""Bring the image to the network's spacing. The arithmetic is in ``data_pipeline/resampling.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.transforms.transform import Transform
from pydantic import Field

from data_pipeline.resampling import resample
from data_pipeline.transforms.registry import TRANSFORMS
from domain.affine import Affine
from domain.batch_keys import ACQUISITION, IMAGE, IMAGE_AFFINE, IMAGE_MASK
from domain.specs import Settings

Spacing = tuple[float, float, float]


class ResampleParams(Settings):
    """The network's grid."""

    spacing_mm: tuple[float, float, float]
    anti_alias: bool = Field(default=True)


class Resample(Transform):
    """``IMAGE`` on a new spacing, rounded to whole HU (int16); ``IMAGE_MASK`` becomes 0/1."""

    def __init__(self, spacing_mm: Spacing, *, anti_alias: bool, device: str) -> None:
        self.spacing_mm = spacing_mm
        self.anti_alias = anti_alias
        self.device = device

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Resample image and mask; the centre of the field of view stays where it is."""
        affine = Affine(data[IMAGE_AFFINE])
        old = affine.spacing_mm
        image = as_tensor(data[IMAGE][0], self.device)
        mask = as_tensor((data[IMAGE_MASK][0] > 0).astype(np.uint8), self.device)
        gaps = (2,) if data[ACQUISITION].is_sequential else ()  # thin slices far apart: nothing lies between them
        hu = resample(image, old, self.spacing_mm, anti_alias=self.anti_alias, nearest_axes=gaps)
        inside = resample(mask, old, self.spacing_mm, anti_alias=self.anti_alias, nearest_axes=gaps) >= 0.5
        return data | {
            IMAGE: hu.round_().to(torch.int16)[None],  # whole HU: half the memory, half a HU at most
            IMAGE_MASK: inside.to(torch.uint8)[None],
            IMAGE_AFFINE: resampled_affine(affine, tuple(image.shape), tuple(hu.shape), self.spacing_mm),
        }


def as_tensor(values: np.ndarray[Any, Any], device: str) -> torch.Tensor:
    """A tensor of the same values; copied where torch cannot share memory."""
    if not values.flags.writeable or any(stride < 0 for stride in values.strides):
        values = np.array(values)  # torch takes neither read-only arrays nor negative strides
    return torch.from_numpy(values).to(device)


def resampled_affine(
    affine: Affine, shape: tuple[int, ...], new_shape: tuple[int, ...], new_spacing_mm: Spacing
) -> np.ndarray[Any, Any]:
    """Affine of the new grid, whose centre is the centre of the old one."""
    matrix = np.array(affine.matrix)
    matrix[:3, :3] *= np.asarray(new_spacing_mm) / np.asarray(affine.spacing_mm)
    centre = affine.matrix[:3, :3] @ ((np.asarray(shape) - 1) / 2) + affine.matrix[:3, 3]
    matrix[:3, 3] = centre - matrix[:3, :3] @ ((np.asarray(new_shape) - 1) / 2)
    return matrix


@TRANSFORMS.register("resample", version=1, params=ResampleParams)
def build_resample(params: ResampleParams, *, device: str) -> Resample:
    """Resample on the given device."""
    return Resample(params.spacing_mm, anti_alias=params.anti_alias, device=device)
