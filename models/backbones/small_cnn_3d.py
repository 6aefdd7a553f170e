"""A small 3D CNN that trains on a laptop CPU in a minute or two. Larger networks are in the files beside this one."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from domain.specs import Settings
from models.backbones.base import BACKBONES, Backbone, PooledBackbone


class SmallCnn3dParams(Settings):
    """Width of the first stage (doubled by each further one), number of stages, and how many of them halve the grid.

    Each halving makes the evidence map coarser: 3 leave cells of 48 mm on a 6 mm grid.
    """

    width: int = Field(default=12, ge=4, multiple_of=4)
    num_stages: int = Field(default=4, ge=2, le=6)
    num_halvings: int = Field(default=3, ge=1, le=6)


@BACKBONES.register("small_cnn_3d", version=1, params=SmallCnn3dParams)
def build(params: SmallCnn3dParams, *, num_channels: int) -> Backbone:
    """Strided convolutions with group normalisation: a scan's result never depends on the rest of its batch."""
    stages: list[nn.Module] = []
    incoming = num_channels
    for stage in range(params.num_stages):
        outgoing = params.width * 2 ** min(stage, 3)
        stride = 2 if stage < params.num_halvings else 1
        convolution = nn.Conv3d(incoming, outgoing, kernel_size=3, stride=stride, padding=1, bias=False)
        stages.append(nn.Sequential(convolution, nn.GroupNorm(4, outgoing), nn.GELU()))
        incoming = outgoing
    return PooledBackbone(nn.Sequential(*stages), incoming, stride=2 ** min(params.num_stages, params.num_halvings))
