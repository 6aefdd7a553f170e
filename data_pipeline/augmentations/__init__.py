"""Random steps of training, one per file. Importing this package registers them all."""

from data_pipeline.augmentations.geometric import Geometric
from data_pipeline.augmentations.intensity_drift import IntensityDrift
from data_pipeline.augmentations.kernel import Kernel
from data_pipeline.augmentations.noise import Noise
from data_pipeline.augmentations.registry import AUGMENTATIONS
from data_pipeline.augmentations.side_flip import SideFlip
from data_pipeline.augmentations.slice_thickness import SliceThickness

__all__ = ["AUGMENTATIONS", "Geometric", "IntensityDrift", "Kernel", "Noise", "SideFlip", "SliceThickness"]
