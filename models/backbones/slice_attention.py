"""A torchvision network on every axial slice, then attention over slices that knows how high each lies.

B batch, C channels, I J K voxels, S = K slices, F features of a slice.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torchvision
from pydantic import Field
from torch import Tensor, nn

from domain.specs import Settings
from models.backbones.base import BACKBONES, Backbone

Architecture = Literal["resnet18", "resnet34", "resnet50", "efficientnet_b0", "mobilenet_v3_small", "convnext_tiny"]

NUM_POSITION_WAVES = 4  # sines and cosines of the relative height: 1, 2, 4 and 8 half waves from base to apex


class SliceAttentionParams(Settings):
    """The torchvision network, and the width of the attention."""

    architecture: Architecture = "resnet18"
    attention_size: int = Field(default=64, ge=8)


class SliceAttention(Backbone):
    """Which slices speak is learnt; where they lie matters (NSIP is basal), how many there are does not."""

    cell_stride = (32, 32, 1)  # of every torchvision trunk here

    def __init__(self, source: nn.Module, num_channels: int, attention_size: int) -> None:
        super().__init__()
        replace_first_convolution(source, num_channels)
        self.blocks = trunk_of(source)
        object.__setattr__(self, "source", source)
        with torch.no_grad():
            training = self.blocks.training
            self.num_features = int(self.blocks.eval()(torch.zeros(1, num_channels, 64, 64)).shape[1])
            self.blocks.train(training)
        self.content = nn.Linear(self.num_features, attention_size)
        self.position = nn.Linear(2 * NUM_POSITION_WAVES, attention_size)
        self.gate = nn.Linear(self.num_features, attention_size)
        self.score = nn.Linear(attention_size, 1)

    def feature_map(self, image: Tensor) -> Tensor:
        """See ``Backbone.feature_map``; every slice keeps its place, so k = K."""
        batch, channels, rows, columns, slices = image.shape
        planes = image.permute(0, 4, 1, 2, 3).reshape(batch * slices, channels, rows, columns)
        maps = self.run_blocks(planes.contiguous())  # (B S, F, i, j)
        return maps.reshape(batch, slices, *maps.shape[1:]).permute(0, 2, 3, 4, 1)  # (B, F, i, j, S)

    def pool(self, features: Tensor) -> Tensor:
        """Attention-weighted mean over slices of each slice's mean."""
        slices = features.mean(dim=(2, 3)).transpose(1, 2)  # (B, S, F)
        position = self.position(position_waves(slices.shape[1], slices))  # (S, A)
        hidden = torch.tanh(self.content(slices) + position) * torch.sigmoid(self.gate(slices))  # (B, S, A)
        attention = torch.softmax(self.score(hidden), dim=1)  # (B, S, 1)
        return (attention * slices).sum(dim=1)  # (B, F)


def position_waves(num_slices: int, like: Tensor) -> Tensor:
    """Sines and cosines of the relative height, (S, 2 waves): 0 at the lowest slice, 1 at the highest."""
    height = (torch.arange(num_slices, device=like.device, dtype=like.dtype) + 0.5) / num_slices  # (S,)
    factors = math.pi * 2.0 ** torch.arange(NUM_POSITION_WAVES, device=like.device, dtype=like.dtype)
    angles = height[:, None] * factors  # (S, waves)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def trunk_of(network: nn.Module) -> nn.Sequential:
    """The convolutional part of a torchvision classifier."""
    if hasattr(network, "features"):
        features: Any = network.features
        return nn.Sequential(*features.children())
    parts = dict(network.named_children())
    stem = nn.Sequential(parts["conv1"], parts["bn1"], parts["relu"], parts["maxpool"])
    return nn.Sequential(stem, *(parts[f"layer{stage}"] for stage in (1, 2, 3, 4)))


def replace_first_convolution(network: nn.Module, num_channels: int) -> None:
    """Let the first convolution take our channels instead of red, green and blue."""
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d):
                fresh = nn.Conv2d(
                    num_channels,
                    child.out_channels,
                    kernel_size=child.kernel_size,  # type: ignore[arg-type]
                    stride=child.stride,  # type: ignore[arg-type]
                    padding=child.padding,  # type: ignore[arg-type]
                    bias=child.bias is not None,
                )
                setattr(parent, name, fresh)
                return


@BACKBONES.register("slice_attention", version=1, params=SliceAttentionParams)
def build(params: SliceAttentionParams, *, num_channels: int) -> Backbone:
    """Build it with random weights; published ones are loaded by path (``models/pretrained.py``)."""
    network = getattr(torchvision.models, params.architecture)(weights=None)
    backbone = SliceAttention(network, num_channels, params.attention_size)
    if params.architecture == "convnext_tiny":  # patches without padding: a cell is centred on its patch
        backbone.cell_origin = (15.5, 15.5, 0.0)
    return backbone
