"""MONAI's ResNet in three dimensions; also the shape of the published MedicalNet encoders."""

from __future__ import annotations

from typing import Literal

from monai.networks.nets.resnet import ResNet
from torch import nn

from domain.specs import Settings
from models.backbones.base import BACKBONES, Backbone, PooledBackbone
from models.backbones.normalisation import Norm, monai_norm

LAYERS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class Resnet3dParams(Settings):
    """Depth, width of the first stage and how the stem treats the grid.

    ``shortcut`` and ``bias_downsample`` must be those of the weights that are loaded: MedicalNet's 18 and 34 use A.
    """

    depth: Literal[10, 18, 34, 50] = 18
    width: Literal[16, 32, 64] = 64
    stem_stride: Literal[1, 2] = 2
    stem_pooling: bool = False
    shortcut: Literal["A", "B"] = "B"
    bias_downsample: bool = False
    norm: Norm = "group"


@BACKBONES.register("resnet_3d", version=1, params=Resnet3dParams)
def build(params: Resnet3dParams, *, num_channels: int) -> Backbone:
    """Build it for ``num_channels`` input channels."""
    widths = [params.width * factor for factor in (1, 2, 4, 8)]
    is_bottleneck = params.depth >= 50
    network = ResNet(
        "bottleneck" if is_bottleneck else "basic",
        list(LAYERS[params.depth]),
        widths,
        spatial_dims=3,
        n_input_channels=num_channels,
        conv1_t_stride=params.stem_stride,
        no_max_pool=not params.stem_pooling,
        shortcut_type=params.shortcut,
        bias_downsample=params.bias_downsample,
        norm=monai_norm(params.norm),
        num_classes=1,
    )
    stem: list[nn.Module] = [network.conv1, network.bn1, network.act]
    if params.stem_pooling:
        stem.append(network.maxpool)
    blocks = nn.Sequential(nn.Sequential(*stem), network.layer1, network.layer2, network.layer3, network.layer4)
    stride = params.stem_stride * (2 if params.stem_pooling else 1) * 8
    return PooledBackbone(blocks, widths[-1] * (4 if is_bottleneck else 1), stride=stride, source=network)
