"""From tensors to predictions. Never builds a transform. Imports only `domain`.

The public names are loaded when first used: a prognosis from tables alone needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.artefact import Artefact, load_artefact
    from models.prognosis import PrognosticModel

__all__ = ["Artefact", "PrognosticModel", "load_artefact"]


def __getattr__(name: str) -> Any:
    if name in {"Artefact", "load_artefact"}:
        from models import artefact

        return getattr(artefact, name)
    if name == "PrognosticModel":
        from models import prognosis

        return prognosis.PrognosticModel
    raise AttributeError(f"module 'models' has no attribute {name!r}")
