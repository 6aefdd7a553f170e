"""A small 3D CNN that trains on a laptop CPU in a minute or two. Larger networks are in the files beside this one."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from domain.specs import Settings
from models.backbones.base import BACKBONES, Backbone, mean_and_peak


class SmallCnn3dParams(Settings):
    """Width of the first stage (doubled by each further one), number of stages, and how many of them halve the grid.

    Each halving makes the evidence map coarser: 3 leave cells of 48 mm on a 6 mm grid.
    """

    width: int = Field(default=12, ge=4, multiple_of=4)
    num_stages: int = Field(default=4, ge=2, le=6)
    num_halvings: int = Field(default=3, ge=1, le=6)


class SmallCnn3d(Backbone):
    """Strided convolutions with group normalisation: a scan's result never depends on the rest of its batch."""

    def __init__(self, num_channels: int, params: SmallCnn3dParams) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        incoming = num_channels
        for stage in range(params.num_stages):
            outgoing = params.width * 2 ** min(stage, 3)
            stride = 2 if stage < params.num_halvings else 1
            stages.append(
                nn.Sequential(
                    nn.Conv3d(incoming, outgoing, kernel_size=3, stride=stride, padding=1, bias=False),
                    nn.GroupNorm(4, outgoing),
                    nn.GELU(),
                )
            )
            incoming = outgoing
        self.stages = nn.Sequential(*stages)
        self.num_features = 2 * incoming

    def feature_map(self, image: Tensor) -> Tensor:
        """See ``Backbone.feature_map``; the grid shrinks by ``2 ** num_halvings``."""
        features: Tensor = self.stages(image)
        return features

    def pool(self, features: Tensor) -> Tensor:
        """Mean and peak."""
        return mean_and_peak(features)


@BACKBONES.register("small_cnn_3d", version=1, params=SmallCnn3dParams)
def build(params: SmallCnn3dParams, *, num_channels: int) -> Backbone:
    """Build it for ``num_channels`` input channels."""
    return SmallCnn3d(num_channels, params)
