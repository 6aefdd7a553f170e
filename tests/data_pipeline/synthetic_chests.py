"""Coarse synthetic chests of one kind each, in RAS order, with their truth; made once per test run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.acquisition import draw_acquisition
from data_pipeline.phantoms.disease_types import DiseasePlan, OtherKind
from data_pipeline.phantoms.habitus import draw_habitus
from data_pipeline.phantoms.randomness import Stream, stream
from data_pipeline.phantoms.scan import make_scan
from domain.patterns import Pattern

SEED = 3
PLANS = {
    "normal": DiseasePlan(Pattern.OTHER, OtherKind.NORMAL),
    "nsip": DiseasePlan(Pattern.NSIP, ground_glass=0.3, reticulation=0.1, traction=1.5),
    "op_peripheral": DiseasePlan(Pattern.OP, consolidation=0.12, num_foci=8, peribronchovascular=0.0),
    "mixed": DiseasePlan(Pattern.MIXED, ground_glass=0.2, reticulation=0.05, consolidation=0.08, num_foci=5),
    "emphysema": DiseasePlan(Pattern.OTHER, OtherKind.EMPHYSEMA, emphysema=0.3),
}


@dataclass(frozen=True, eq=False)
class Chest:
    """A phantom in RAS order with its truth."""

    hu: NDArray[np.int16]
    lungs: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    extents: dict[str, float]


@lru_cache
def chest(name: str, *, is_prone: bool = False) -> Chest:
    plan = PLANS[name]
    habitus = draw_habitus(stream(SEED, 0, Stream.ANATOMY), is_female=False, age_years=55, is_prone=is_prone)
    width = 2 * (habitus.chest_half_width + habitus.fat + habitus.muscle + 14)
    acquisition = draw_acquisition(stream(SEED, 0, Stream.ACQUISITION), "tiny", width)
    scan = make_scan(SEED, 0, habitus, plan, acquisition)
    z, y, x = scan.grid.spacing_mm
    hu, lungs = (np.ascontiguousarray(part.transpose(2, 1, 0)[::-1, ::-1]) for part in (scan.hu, scan.lungs))
    hu.setflags(write=False)
    return Chest(hu, lungs, (x, y, z), scan.extents)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))
