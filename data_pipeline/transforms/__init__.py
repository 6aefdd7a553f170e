"""Deterministic steps of the graph, one per file. Importing this package registers them all."""

from data_pipeline.transforms.axial_slices import AxialSlices
from data_pipeline.transforms.crop_to_lungs import CropToLungs
from data_pipeline.transforms.fit_shape import FitShape
from data_pipeline.transforms.hide_outside import HideOutside
from data_pipeline.transforms.lung_mask import FindLungs
from data_pipeline.transforms.orient_ras import OrientRas
from data_pipeline.transforms.quantify import Quantify
from data_pipeline.transforms.registry import TRANSFORMS
from data_pipeline.transforms.resample import Resample
from data_pipeline.transforms.tissue_maps import TissueMaps
from data_pipeline.transforms.window import Window

__all__ = [
    "TRANSFORMS",
    "AxialSlices",
    "CropToLungs",
    "FindLungs",
    "FitShape",
    "HideOutside",
    "OrientRas",
    "Quantify",
    "Resample",
    "TissueMaps",
    "Window",
]
