"""Backbones of the pattern network, one per file. Importing the package registers all of them."""

from models.backbones import quantitative_only, small_cnn_3d
from models.backbones.base import BACKBONES, Backbone

__all__ = ["BACKBONES", "Backbone", "quantitative_only", "small_cnn_3d"]
