"""Bring the image to the network's spacing. The arithmetic is in ``data_pipeline/resampling.py``."""

from __future__ import annotations

import warnings
from functools import partial
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
        gaps = (2,) if data[ACQUISITION].is_sequential else ()  # thin slices far apart: nothing lies between them
        on_grid = partial(resample, spacing_mm=old, new_spacing_mm=self.spacing_mm, anti_alias=self.anti_alias)
        image, flips = as_tensor(data[IMAGE][0], self.device)
        # whole HU: half the memory, half a HU at most
        hu = on_grid(image, nearest_axes=gaps).round_().to(torch.int16).flip(flips)
        mask, flips = as_tensor(data[IMAGE_MASK][0], self.device)
        inside = (on_grid(mask.clamp(max=1), nearest_axes=gaps) >= 0.5).to(torch.uint8).flip(flips)
        return data | {
            IMAGE: hu[None],
            IMAGE_MASK: inside[None],
            IMAGE_AFFINE: resampled_affine(affine, tuple(image.shape), tuple(hu.shape), self.spacing_mm),
        }


def as_tensor(values: np.ndarray[Any, Any], device: str) -> tuple[torch.Tensor, list[int]]:
    """A tensor of the same values, and the axes along which it must still be flipped.

    torch takes no negative strides. Flipping a small result costs less than copying a large volume, and grids that
    share their centre allow it. Read-only memory is shared: nothing here writes into it.
    """
    flips = [axis for axis, stride in enumerate(values.strides) if stride < 0]
    forward = np.flip(values, tuple(flips))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(forward).to(device), flips


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
