"""MONAI's EfficientNet in three dimensions."""

from __future__ import annotations

from typing import Literal

from monai.networks.nets.efficientnet import EfficientNetBN
from torch import nn

from domain.specs import Settings
from models.backbones.base import BACKBONES, Backbone, PooledBackbone
from models.backbones.normalisation import Norm, monai_norm


class Efficientnet3dParams(Settings):
    """Which of the family."""

    variant: Literal["b0", "b1", "b2", "b3"] = "b0"
    norm: Norm = "group"


@BACKBONES.register("efficientnet_3d", version=1, params=Efficientnet3dParams)
def build(params: Efficientnet3dParams, *, num_channels: int) -> Backbone:
    """Build it for ``num_channels`` input channels."""
    network = EfficientNetBN(
        f"efficientnet-{params.variant}",
        pretrained=False,
        spatial_dims=3,
        in_channels=num_channels,
        num_classes=1,
        norm=monai_norm(params.norm),
    )
    stem = nn.Sequential(network._conv_stem_padding, network._conv_stem, network._bn0, network._swish)
    last = nn.Sequential(network._conv_head_padding, network._conv_head, network._bn1, network._swish)
    blocks = nn.Sequential(stem, *network._blocks, last)
    # Its five halvings pad at the far side only: each moves the centre by one cell of before.
    return PooledBackbone(blocks, network._fc.in_features, stride=32, origin=31.0, source=network)
