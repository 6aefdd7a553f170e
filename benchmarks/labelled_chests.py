"""Synthetic chests with what their labels say and a scanner of one's own; plain ones are in preprocessing_phantoms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from preprocessing_phantoms import KINDS

from data_pipeline.phantoms.acquisition import draw_acquisition
from data_pipeline.phantoms.habitus import draw_habitus
from data_pipeline.phantoms.randomness import Stream, stream
from data_pipeline.phantoms.scan import make_scan

FIBROSIS_LABELS = (2, 4)  # reticulation and honeycombing in ``Scan.disease``


@dataclass(frozen=True, eq=False)
class LabelledChest:
    """A phantom scan in RAS order.

    Attributes:
        hu: Shape (I, J, K).
        lungs: 0 outside, 1 right, 2 left.
        spacing_mm: Spacing along i, j, k.
        extents: Finding -> percent of lung, planted; ``fibrosis`` is lung labelled reticulation or honeycombing.
    """

    hu: NDArray[np.int16]
    lungs: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    extents: dict[str, float]


def labelled_chest(kind: str, size: str, seed: int, **scanner: Any) -> LabelledChest:
    """Build and scan one chest; ``scanner`` overrides fields of the acquisition drawn for the seed."""
    plan, anatomy = KINDS[kind], stream(seed, 0, Stream.ANATOMY)
    habitus = draw_habitus(anatomy, is_female=seed % 2 == 1, age_years=55, volume_loss=plan.volume_loss)
    width = 2 * (habitus.chest_half_width + habitus.fat + habitus.muscle + 14)
    drawn = draw_acquisition(stream(seed, 0, Stream.ACQUISITION), size, width)  # type: ignore[arg-type]
    scan = make_scan(seed, 0, habitus, plan, replace(drawn, **scanner))
    z, y, x = scan.grid.spacing_mm
    hu, lungs = (np.ascontiguousarray(part.transpose(2, 1, 0)[::-1, ::-1]) for part in (scan.hu, scan.lungs))
    fibrosis = 100 * float(np.isin(scan.disease[scan.lungs > 0], FIBROSIS_LABELS).mean())
    return LabelledChest(hu, lungs, (x, y, z), scan.extents | {"fibrosis": fibrosis})
