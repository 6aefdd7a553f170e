"""MONAI's DenseNet in three dimensions."""

from __future__ import annotations

from collections import OrderedDict

from monai.networks.nets.densenet import DenseNet
from pydantic import Field
from torch import nn

from domain.specs import Settings
from models.backbones.base import BACKBONES, Backbone, PooledBackbone
from models.backbones.normalisation import Norm, monai_norm


class Densenet3dParams(Settings):
    """The defaults are DenseNet-121; ``block_config`` (3, 6, 12, 8) with 32 features is about a tenth of its work."""

    init_features: int = Field(default=64, ge=8, multiple_of=8)
    growth_rate: int = Field(default=32, ge=8, multiple_of=8)
    block_config: tuple[int, ...] = Field(default=(6, 12, 24, 16), min_length=1)
    norm: Norm = "group"


@BACKBONES.register("densenet_3d", version=1, params=Densenet3dParams)
def build(params: Densenet3dParams, *, num_channels: int) -> Backbone:
    """Build it for ``num_channels`` input channels."""
    network = DenseNet(
        spatial_dims=3,
        in_channels=num_channels,
        out_channels=1,
        init_features=params.init_features,
        growth_rate=params.growth_rate,
        block_config=params.block_config,
        norm=monai_norm(params.norm),
    )
    blocks = nn.Sequential(OrderedDict([*network.features.named_children(), ("last_relu", nn.ReLU())]))
    num_features = network.class_layers.get_submodule("out").get_parameter("weight").shape[1]
    stem_stride, stride = 4, 4 * 2 ** (len(params.block_config) - 1)
    # Each transition averages pairs of cells, which moves the centre by half a cell of before.
    return PooledBackbone(blocks, num_features, stride=stride, origin=(stride - stem_stride) / 2, source=network)
