"""The antibody-aware prognostic head."""

from models.prognosis.model import PrognosticModel

__all__ = ["PrognosticModel"]
