"""HU to network channels: one channel per window, each scaled to 0..1; a last channel may hold the lung mask."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator

from data_pipeline.transforms.registry import TRANSFORMS, PointwiseTransform
from domain.batch_keys import IMAGE, IMAGE_MASK
from domain.specs import Settings

Limits = tuple[float, float]


class WindowParams(Settings):
    """Windows as (lower, upper) HU, in channel order."""

    windows_hu: tuple[Limits, ...] = Field(min_length=1)
    mask_channel: bool = False

    @model_validator(mode="after")
    def _windows_are_open(self) -> WindowParams:
        if any(lower >= upper for lower, upper in self.windows_hu):
            raise ValueError("the lower limit of a window must be below its upper limit")
        return self


class Window(PointwiseTransform):
    """``IMAGE`` as float32 channels."""

    def __init__(self, windows_hu: tuple[Limits, ...], *, mask_channel: bool) -> None:
        self.windows_hu = windows_hu
        self.mask_channel = mask_channel

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Map HU (1, I, J, K) to (C, I, J, K) float32; a whole batch, with a leading axis, likewise."""
        hu = data[IMAGE].select(-4, 0)
        num_channels = len(self.windows_hu) + self.mask_channel
        image = torch.empty((*hu.shape[:-3], num_channels, *hu.shape[-3:]), dtype=torch.float32, device=hu.device)
        for channel, (lower, upper) in zip(image.unbind(-4), self.windows_hu, strict=False):
            channel.copy_(hu).sub_(lower).div_(upper - lower).clamp_(0.0, 1.0)
        if self.mask_channel:
            image.select(-4, -1).copy_(data[IMAGE_MASK].select(-4, 0))
        return data | {IMAGE: image}


@TRANSFORMS.register("window", version=1, params=WindowParams)
def build_window(params: WindowParams, *, device: str) -> Window:
    """Scale HU windows to channels."""
    return Window(params.windows_hu, mask_channel=params.mask_channel)
