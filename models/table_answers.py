"""Prognosis of rows without a scan. The model is loaded, without its network, when the first such row comes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from domain.records import Case, Prediction

if TYPE_CHECKING:
    from models.artefact import Artefact


class TableAnswers:
    """Callable on a row of the case table.

    Args:
        model: Model folder; None when there is no model: such rows then have nothing to say.
    """

    def __init__(self, model: Path | None) -> None:
        self.model = model
        self._artefact: Artefact | None = None

    def __call__(self, case: Case) -> tuple[Prediction, dict[str, float]]:
        """The prediction, and seconds per step."""
        if self.model is None:
            return Prediction(), {}
        if self._artefact is None:
            from models.artefact import load_artefact

            self._artefact = load_artefact(self.model, device="cpu", with_network=False)
        analysis = self._artefact.analyse(None, antibodies=case.antibodies, covariates=case.covariates)
        return analysis.prediction, analysis.seconds
