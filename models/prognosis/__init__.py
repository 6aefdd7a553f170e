"""The antibody-aware prognostic head."""

from models.prognosis.model import PrognosticModel
from models.prognosis.sample_size import SampleSizeReport, sample_size_report

__all__ = ["PrognosticModel", "SampleSizeReport", "sample_size_report"]
