"""Quantitative CT in physical units. Formulas and sources: ``docs/quantitative_ct.md``."""

from data_pipeline.quantitative.quantify import TissueMap, quantify
from data_pipeline.quantitative.tissue_classes import CLASSES, has_class

__all__ = ["CLASSES", "TissueMap", "has_class", "quantify"]
