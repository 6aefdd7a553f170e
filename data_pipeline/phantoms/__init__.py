"""Synthetic patients with known truth: for tests and method checks. No clinical claim follows from them."""

from __future__ import annotations

from data_pipeline.phantoms.cohort import generate_cohort
from data_pipeline.phantoms.hazards import Planted
from data_pipeline.phantoms.patients import CohortSettings, draw_truths

__all__ = ["CohortSettings", "Planted", "draw_truths", "generate_cohort"]
