"""Synthetic chests of one kind each, in memory, in RAS order, with their truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.acquisition import draw_acquisition
from data_pipeline.phantoms.disease_types import DiseasePlan, OtherKind
from data_pipeline.phantoms.habitus import draw_habitus
from data_pipeline.phantoms.randomness import Stream, stream
from data_pipeline.phantoms.scan import make_scan
from domain.patterns import Pattern

KINDS: dict[str, DiseasePlan] = {
    "normal": DiseasePlan(Pattern.OTHER, OtherKind.NORMAL),
    "nsip": DiseasePlan(Pattern.NSIP, ground_glass=0.3, reticulation=0.12, has_sparing=True, traction=1.5),
    "op": DiseasePlan(Pattern.OP, consolidation=0.1, num_foci=7, peribronchovascular=0.4),
    "op_peripheral": DiseasePlan(Pattern.OP, consolidation=0.15, num_foci=8, peribronchovascular=0.0),
    "mixed": DiseasePlan(Pattern.MIXED, ground_glass=0.2, reticulation=0.08, consolidation=0.08, num_foci=5),
    "uip": DiseasePlan(Pattern.OTHER, OtherKind.UIP, reticulation=0.25, honeycombing=0.12, traction=2.5),
    "emphysema": DiseasePlan(Pattern.OTHER, OtherKind.EMPHYSEMA, emphysema=0.3),
}


@dataclass(frozen=True, eq=False)
class Chest:
    """A phantom scan.

    Attributes:
        hu: Shape (I, J, K), RAS.
        lungs: 0 outside, 1 right, 2 left.
        spacing_mm: Spacing along i, j, k.
        extents: Finding -> percent of lung, planted.
    """

    hu: NDArray[np.int16]
    lungs: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    extents: dict[str, float]


def make_chest(kind: str, *, size: str = "small", seed: int = 0) -> Chest:
    """Build and scan one chest."""
    plan = KINDS[kind]
    habitus = draw_habitus(
        stream(seed, 0, Stream.ANATOMY), is_female=seed % 2 == 1, age_years=55, volume_loss=plan.volume_loss
    )
    width = 2 * (habitus.chest_half_width + habitus.fat + habitus.muscle + 14)
    acquisition = draw_acquisition(stream(seed, 0, Stream.ACQUISITION), size, width)  # type: ignore[arg-type]
    scan = make_scan(seed, 0, habitus, plan, acquisition)
    z, y, x = scan.grid.spacing_mm
    hu, lungs = (np.ascontiguousarray(part.transpose(2, 1, 0)[::-1, ::-1]) for part in (scan.hu, scan.lungs))
    return Chest(hu, lungs, (x, y, z), scan.extents)
