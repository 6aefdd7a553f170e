"""No image at all: the network sees quantitative CT alone. The obligatory baseline of every comparison."""

from __future__ import annotations

from torch import Tensor, nn

from domain.specs import Settings
from models.backbones.base import BACKBONES, Backbone


class QuantitativeOnlyParams(Settings):
    """Nothing to set."""


class QuantitativeOnly(Backbone):
    """Looks away: zero features."""

    num_features = 0

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential()

    def feature_map(self, image: Tensor) -> Tensor:
        """An empty map, (B, 0, 1, 1, 1)."""
        return image.new_zeros((image.shape[0], 0, 1, 1, 1))

    def pool(self, features: Tensor) -> Tensor:
        """An empty vector, (B, 0)."""
        return features.flatten(start_dim=1)


@BACKBONES.register("quantitative_only", version=1, params=QuantitativeOnlyParams)
def build(params: QuantitativeOnlyParams, *, num_channels: int) -> Backbone:
    """Build it; ``num_channels`` does not matter."""
    del params, num_channels
    return QuantitativeOnly()
