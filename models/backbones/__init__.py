"""Backbones of the pattern network, one per file. Importing the package registers all of them."""

from models.backbones import (
    densenet_3d,
    efficientnet_3d,
    quantitative_only,
    resnet_3d,
    segresnet_3d,
    slice_attention,
    small_cnn_3d,
)
from models.backbones.base import BACKBONES, Backbone

__all__ = [
    "BACKBONES",
    "Backbone",
    "densenet_3d",
    "efficientnet_3d",
    "quantitative_only",
    "resnet_3d",
    "segresnet_3d",
    "slice_attention",
    "small_cnn_3d",
]
