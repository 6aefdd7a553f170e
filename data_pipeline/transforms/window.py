"""HU to network channels: one per window, each scaled to 0..1; then, where asked for, lung mask and tissue maps."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator

from data_pipeline.transforms.registry import TRANSFORMS, PointwiseTransform
from domain.batch_keys import IMAGE, IMAGE_MASK, IMAGE_TISSUE
from domain.specs import Settings

Limits = tuple[float, float]


class WindowParams(Settings):
    """Windows as (lower, upper) HU, in channel order; then the lung mask, then what ``tissue_maps`` made."""

    windows_hu: tuple[Limits, ...] = Field(min_length=1)
    mask_channel: bool = False
    tissue_channels: bool = False

    @model_validator(mode="after")
    def _windows_are_open(self) -> WindowParams:
        if any(lower >= upper for lower, upper in self.windows_hu):
            raise ValueError("the lower limit of a window must be below its upper limit")
        return self


class Window(PointwiseTransform):
    """``IMAGE`` as float32 channels."""

    def __init__(self, params: WindowParams) -> None:
        self.params = params

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Map HU (1, I, J, K) to (C, I, J, K) float32; a whole batch, with a leading axis, likewise.

        ``IMAGE_TISSUE`` stays beside the image only where its maps are the image's last channels.
        """
        hu, windows = data[IMAGE].select(-4, 0), self.params.windows_hu
        others = []  # what is no density, already on the grid
        if self.params.mask_channel:
            others.append((data[IMAGE_MASK], 1))
        if self.params.tissue_channels:
            others.append((data[IMAGE_TISSUE], 100))
        num_channels = len(windows) + sum(values.shape[-4] for values, _ in others)
        image = torch.empty((*hu.shape[:-3], num_channels, *hu.shape[-3:]), dtype=torch.float32, device=hu.device)
        for channel, (lower, upper) in zip(image.unbind(-4), windows, strict=False):
            channel.copy_(hu).sub_(lower).div_(upper - lower).clamp_(0.0, 1.0)
        first = len(windows)
        for values, whole in others:
            image.narrow(-4, first, values.shape[-4]).copy_(values).div_(whole)
            first += values.shape[-4]
        kept = data if self.params.tissue_channels else {key: data[key] for key in data if key != IMAGE_TISSUE}
        return kept | {IMAGE: image}


@TRANSFORMS.register("window", version=1, params=WindowParams)
def build_window(params: WindowParams, *, device: str) -> Window:
    """Scale HU windows to channels."""
    return Window(params)
