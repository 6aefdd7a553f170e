"""The antibody-aware prognostic head."""

from models.prognosis.data_frames import data_from_frame
from models.prognosis.model import PrognosticModel
from models.prognosis.sample_size import SampleSizeReport, sample_size_report

__all__ = ["PrognosticModel", "SampleSizeReport", "data_from_frame", "sample_size_report"]
