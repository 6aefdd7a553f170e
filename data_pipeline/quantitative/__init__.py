"""Quantitative CT in physical units. Formulas and sources: ``docs/quantitative_ct.md``."""

from data_pipeline.quantitative.quantify import quantify

__all__ = ["quantify"]
