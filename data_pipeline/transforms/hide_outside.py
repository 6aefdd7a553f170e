"""Hide everything outside the lungs from the network: table, arms, wires and fat must not become shortcuts."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.transforms.transform import Transform
from pydantic import Field

from data_pipeline.transforms.registry import TRANSFORMS
from domain.affine import Affine
from domain.batch_keys import IMAGE, IMAGE_AFFINE, IMAGE_MASK
from domain.specs import Settings
from domain.volume import AIR_HU


class HideOutsideParams(Settings):
    """What stays visible around the lungs: a rim that forgives a mask cut a little too small."""

    margin_mm: float = Field(default=6.0, ge=0)


def widened(mask: torch.Tensor, radius: tuple[int, int, int]) -> torch.Tensor:
    """A mask grown by a box of ``2 radius + 1`` voxels. Shape (1, I, J, K), uint8 in, bool out."""
    grown = mask > 0
    for axis, reach in enumerate(radius, start=1):
        source, size = grown, grown.shape[axis]
        grown = source.clone()
        for step in range(1, min(reach, size - 1) + 1):
            grown.narrow(axis, step, size - step).logical_or_(source.narrow(axis, 0, size - step))
            grown.narrow(axis, 0, size - step).logical_or_(source.narrow(axis, step, size - step))
    return grown


class HideOutside(Transform):
    """``IMAGE`` in HU set to air where no lung is near."""

    def __init__(self, margin_mm: float) -> None:
        self.margin_mm = margin_mm

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Hide; comes after ``resample`` or ``axial_slices`` and before ``window``."""
        spacing = Affine(data[IMAGE_AFFINE]).spacing_mm
        radius = [min(math.floor(self.margin_mm / step + 0.01), 20) for step in spacing]
        visible = widened(data[IMAGE_MASK], (radius[0], radius[1], radius[2]))
        return data | {IMAGE: data[IMAGE].masked_fill(~visible, AIR_HU)}


@TRANSFORMS.register("hide_outside", version=1, params=HideOutsideParams)
def build_hide_outside(params: HideOutsideParams, *, device: str) -> HideOutside:
    """Hide what lies outside the lungs."""
    return HideOutside(params.margin_mm)
