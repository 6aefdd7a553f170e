"""Finding the lungs without weights: a coarse search that knows anatomy, refined on the native grid."""

from data_pipeline.lungs.lung_mask import LungMask, find_lungs

__all__ = ["LungMask", "find_lungs"]
