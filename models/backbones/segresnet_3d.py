"""The encoder of MONAI's SegResNet: residual blocks as wide as a segmentation network's, so published ones fit."""

from __future__ import annotations

from monai.networks.nets.segresnet_ds import SegResEncoder
from pydantic import Field
from torch import Tensor, nn

from domain.specs import Settings
from models.backbones.base import BACKBONES, Backbone, PooledBackbone
from models.backbones.normalisation import Norm, monai_norm


class Segresnet3dParams(Settings):
    """Filters of the first level (doubled by each further one) and residual blocks per level."""

    init_filters: int = Field(default=16, ge=8, multiple_of=8)
    blocks_down: tuple[int, ...] = Field(default=(1, 2, 2, 4), min_length=2)
    norm: Norm = "group"


class LastLevel(nn.Module):
    """The deepest of the encoder's outputs."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> Tensor:
        """Shape (B, C, I, J, K) -> (B, F, i, j, k)."""
        deepest: Tensor = self.encoder(image)[-1]
        return deepest


@BACKBONES.register("segresnet_3d", version=1, params=Segresnet3dParams)
def build(params: Segresnet3dParams, *, num_channels: int) -> Backbone:
    """Build it for ``num_channels`` input channels."""
    encoder = SegResEncoder(
        spatial_dims=3,
        in_channels=num_channels,
        init_filters=params.init_filters,
        blocks_down=params.blocks_down,
        norm=monai_norm(params.norm),
    )
    num_features = params.init_filters * 2 ** (len(params.blocks_down) - 1)
    stride = 2 ** (len(params.blocks_down) - 1)
    return PooledBackbone(nn.Sequential(LastLevel(encoder)), num_features, stride=stride, source=encoder)
