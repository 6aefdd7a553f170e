"""From a patient's pattern and extents to what is painted; difficulty decides how textbook-like it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.clinical_truth import CONSOLIDATION_SHARE, MIXED_FROM
from data_pipeline.phantoms.disease_types import DiseasePlan, OtherKind
from domain.patterns import Pattern

DifficultyName = Literal["easy", "realistic", "hard"]
Patient = Mapping[str, float | str | bool]

# Feature frequencies of the definitions (docs/phantoms.md): sparing in 20-50 % of NSIP (T), perilobular arcs in
# 22-57 % (A), reversed halo in 17 % (T), halo in 8 % (T), peribronchovascular in 53 % of OP (T).
SPARING_SHARE = 0.35
PERILOBULAR_SHARE = 0.40
REVERSED_HALO_SHARE = 0.17
HALO_SHARE = 0.08
PERIBRONCHOVASCULAR_SHARE = 0.53
TRACTION_SHARE = 0.80  # of NSIP (T)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How far scans stray from the textbook. All values assumed.

    Attributes:
        border: Moves the component shares: -1 to the textbook, 0 as drawn, +1 to the border between two patterns.
        least_extent: Smallest affected share of lung painted, 0..1.
        extent_factor: Factor on the extents.
        contrast: Factor on the density of ground glass.
        noise: Factor on image noise.
        basal_spread: Deviation of the craniocaudal preference between patients.
        mimic: Probability that a finding typical of another pattern is present in minor form.
    """

    border: float
    least_extent: float
    extent_factor: float
    contrast: float
    noise: float
    basal_spread: float
    mimic: float


DIFFICULTIES: dict[DifficultyName, Difficulty] = {
    "easy": Difficulty(-1.0, 0.18, 1.2, 1.15, 0.7, 0.05, 0.0),
    "realistic": Difficulty(0.0, 0.06, 1.0, 1.0, 1.0, 0.15, 0.15),
    "hard": Difficulty(0.8, 0.03, 0.55, 0.7, 1.5, 0.35, 0.5),
}


def painted_share(pattern: Pattern, organizing_share: float, border: float) -> float:
    """Share of the organizing component that is painted.

    Args:
        pattern: True pattern; its border is never crossed.
        organizing_share: As the truth has it.
        border: -1 to 1, see ``Difficulty``.
    """
    textbook = {Pattern.NSIP: 0.0, Pattern.OP: 1.0, Pattern.MIXED: 0.5}[pattern]
    near = {Pattern.NSIP: MIXED_FROM, Pattern.OP: 1 - MIXED_FROM}.get(pattern)
    if near is None:
        near = MIXED_FROM if organizing_share < 0.5 else 1 - MIXED_FROM
    target = textbook if border < 0 else near
    return organizing_share + abs(border) * (target - organizing_share) * (0.99 if border > 0 else 0.8)


def plan_disease(patient: Patient, difficulty: Difficulty, rng: np.random.Generator) -> DiseasePlan:
    """Draw what is painted.

    Args:
        patient: Columns of one patient: pattern, other_kind, extent, organizing_share and the three extents.
        difficulty: How textbook-like.
        rng: Generator of the patient's disease.
    """
    pattern = Pattern(str(patient["pattern"]))
    total = float(np.clip(float(patient["extent"]) / 100 * difficulty.extent_factor, difficulty.least_extent, 0.75))
    basal = float(np.clip(0.8 + difficulty.basal_spread * rng.standard_normal(), 0.05, 1.1))
    draws = rng.random(12)
    density = (175 + 120 * draws[0]) * difficulty.contrast
    if pattern is Pattern.OTHER:
        return _plan_other(OtherKind(str(patient["other_kind"])), total, basal, density, draws)
    share = painted_share(pattern, float(patient["organizing_share"]), difficulty.border)
    parts = (
        float(patient["reticulation"]),
        max(float(patient["extent"]) * (1 - float(patient["organizing_share"])), 0.1),
    )
    fibrotic = float(np.clip(parts[0] / parts[1], 0.05, 0.95))
    is_pure_op = pattern is Pattern.OP
    plan = DiseasePlan(
        pattern=pattern,
        ground_glass=total * (1 - share),
        reticulation=total * (1 - share) * fibrotic,
        has_sparing=bool(draws[1] < SPARING_SHARE) and not is_pure_op,
        traction=1.0 if is_pure_op or draws[2] > TRACTION_SHARE else 1.0 + 1.8 * fibrotic,
        basal=basal if pattern is not Pattern.OP else 0.55 * basal,
        ground_glass_hu=density,
        symmetry=0.75 + 0.25 * draws[3] if pattern is not Pattern.OP else 0.6,
    )
    plan = replace(plan, **_organizing(total * share, draws)) if share > 0.005 else plan
    return _with_mimics(plan, difficulty, draws)


def _organizing(extent: float, draws: NDArray[np.float64]) -> dict[str, Any]:
    """Consolidation and how it is arranged."""
    return {
        "consolidation": extent * CONSOLIDATION_SHARE * (0.75 + 0.5 * draws[4]),
        "num_foci": max(2, round((3 + 10 * draws[5]) * min(1.0, 0.3 + 6 * extent))),
        "perilobular": 0.35 + 0.3 * draws[6] if draws[7] < PERILOBULAR_SHARE else 0.0,
        "reversed_halo": 0.4 if draws[8] < REVERSED_HALO_SHARE else 0.0,
        "halo": 11.0 if draws[9] < HALO_SHARE else 2.0 + 4.0 * draws[4],
        "peribronchovascular": 0.75 if draws[10] < PERIBRONCHOVASCULAR_SHARE else 0.1,
    }


def _with_mimics(plan: DiseasePlan, difficulty: Difficulty, draws: NDArray[np.float64]) -> DiseasePlan:
    """A minor finding of another pattern: a sliver of honeycombing, a few holes, less symmetry."""
    if draws[11] >= difficulty.mimic:
        return plan
    if draws[11] < difficulty.mimic / 3:
        return replace(plan, honeycombing=0.012)
    if draws[11] < 2 * difficulty.mimic / 3:
        return replace(plan, emphysema=0.04)
    return replace(plan, symmetry=0.55)


def _plan_other(kind: OtherKind, total: float, basal: float, density: float, draws: NDArray[np.float64]) -> DiseasePlan:
    """Usual interstitial pneumonia, diffuse damage, one infection, emphysema, or nothing."""
    if kind is OtherKind.UIP:
        return DiseasePlan(
            Pattern.OTHER,
            kind,
            ground_glass=0.12 * total,
            reticulation=0.8 * total,
            honeycombing=(0.25 + 0.35 * draws[4]) * total,
            traction=1.6 + 1.2 * draws[5],
            basal=basal,
            ground_glass_hu=density,
            symmetry=0.8,
        )
    if kind is OtherKind.DIFFUSE_DAMAGE:
        return DiseasePlan(
            Pattern.OTHER,
            kind,
            ground_glass=max(0.5, total),
            reticulation=0.12,
            consolidation=0.06 + 0.08 * draws[4],
            num_foci=5,
            basal=0.1 + 0.2 * draws[5],
            ground_glass_hu=density * 1.2,
            traction=1.4,
            symmetry=0.9,
        )
    if kind is OtherKind.INFECTION:
        return DiseasePlan(
            Pattern.OTHER, kind, consolidation=0.02 + 0.05 * draws[4], num_foci=1, halo=6 + 6 * draws[5], basal=0.3
        )
    if kind is OtherKind.EMPHYSEMA:
        return DiseasePlan(Pattern.OTHER, kind, emphysema=0.1 + 0.3 * draws[4])
    return DiseasePlan(Pattern.OTHER, kind)
