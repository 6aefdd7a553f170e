"""Thicker slices: averaged along the body and interpolated back, as a thick-slice scan would arrive."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field

from data_pipeline.augmentations.registry import AUGMENTATIONS, BatchAugmentation, ChanceParams


class SliceThicknessParams(ChanceParams):
    """Largest thickness, in slices of the network's grid."""

    max_factor: float = Field(default=2.5, ge=1)


class SliceThickness(BatchAugmentation):
    """One thickness per batch, so that the batch stays one tensor."""

    def __init__(self, params: SliceThicknessParams) -> None:
        super().__init__(params.probability)
        self.params = params

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Thick-sliced scans."""
        factor = float(torch.empty(1).uniform_(1.0, self.params.max_factor))
        size = image.shape[2:]
        thick = (size[0], size[1], max(1, round(size[2] / factor)))
        averaged = F.interpolate(image, size=thick, mode="area")
        return F.interpolate(averaged, size=size, mode="trilinear", align_corners=False)


@AUGMENTATIONS.register("slice_thickness", version=1, params=SliceThicknessParams)
def build_slice_thickness(params: SliceThicknessParams) -> SliceThickness:
    """Thicker slices."""
    return SliceThickness(params)
