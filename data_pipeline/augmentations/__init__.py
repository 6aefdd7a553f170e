"""Random steps of training, one per file. Importing this package registers them all."""

from data_pipeline.augmentations.registry import AUGMENTATIONS

__all__ = ["AUGMENTATIONS"]
