"""From a patient's pattern and extents to what is painted; difficulty decides how textbook-like it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data_pipeline.phantoms.disease import DiseasePlan, OtherKind
from domain.patterns import Pattern

DifficultyName = Literal["easy", "realistic", "hard"]
SPARING_SHARE = 0.35  # 20-50 % of NSIP show immediate subpleural sparing (T, Fleischner glossary as excerpted)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How far scans stray from the textbook. All values assumed.

    Attributes:
        intrusion: Share of the affected lung that looks like the other component in pure NSIP and OP, at most.
        least_extent: Smallest affected share of lung painted, 0..1.
        extent_factor: Factor on the extents.
        contrast: Factor on the density of ground glass.
        noise: Factor on image noise.
        basal_spread: Deviation of the craniocaudal preference between patients.
    """

    intrusion: float
    least_extent: float
    extent_factor: float
    contrast: float
    noise: float
    basal_spread: float


DIFFICULTIES: dict[DifficultyName, Difficulty] = {
    "easy": Difficulty(0.0, 0.18, 1.2, 1.2, 0.7, 0.05),
    "realistic": Difficulty(0.09, 0.06, 1.0, 1.0, 1.0, 0.15),
    "hard": Difficulty(0.28, 0.03, 0.6, 0.7, 1.4, 0.35),
}


def _interstitial_component(
    total: float, patient: Mapping[str, float | str | bool], rng: np.random.Generator, basal: float, contrast: float
) -> DiseasePlan:
    fibrotic = float(np.clip(float(patient["reticulation"]) / max(float(patient["extent"]), 1.0), 0.02, 0.9))
    return DiseasePlan(
        pattern=Pattern.NSIP,
        ground_glass=total * 0.92,
        reticulation=total * fibrotic,
        has_sparing=bool(rng.random() < SPARING_SHARE),
        traction=1.0 + 2.2 * fibrotic,
        basal=float(np.clip(basal, 0.1, 1.0)),
        ground_glass_hu=float(rng.uniform(170, 300)) * contrast,
        symmetry=float(rng.uniform(0.8, 1.0)),
    )


def _organizing_component(total: float, rng: np.random.Generator) -> dict[str, float | int]:
    """Consolidation and how it is arranged. Shares of feature frequencies: Faria 2015, Ujita 2004 (T/A)."""
    return {
        "consolidation": total * float(rng.uniform(0.45, 0.75)),
        "num_foci": int(rng.integers(4, 14)),
        "perilobular": 0.45 if rng.random() < 0.4 else 0.0,
        "reversed_halo": 0.35 if rng.random() < 0.17 else 0.0,
        "halo": float(rng.uniform(2, 10)),
        "peribronchovascular": float(rng.uniform(0.1, 0.8)),
    }


def plan_disease(
    patient: Mapping[str, float | str | bool], difficulty: Difficulty, rng: np.random.Generator
) -> DiseasePlan:
    """Draw what is painted.

    Args:
        patient: Columns of one patient: pattern, other_kind, extent and its parts in percent of lung.
        difficulty: How textbook-like.
        rng: Generator of the patient's disease.
    """
    pattern = Pattern(str(patient["pattern"]))
    total = float(np.clip(float(patient["extent"]) / 100 * difficulty.extent_factor, difficulty.least_extent, 0.8))
    basal = 0.8 + difficulty.basal_spread * float(rng.standard_normal())
    base = _interstitial_component(total, patient, rng, basal, difficulty.contrast)
    organizing = _organizing_component(total, rng)
    if pattern is Pattern.OTHER:
        return _plan_other(OtherKind(str(patient["other_kind"])), total, base, rng)
    lesser = float(rng.uniform(0, difficulty.intrusion))
    if pattern is Pattern.MIXED:
        share = float(rng.uniform(0.25, 0.75)) if difficulty.intrusion < 0.2 else float(rng.uniform(0.12, 0.88))
    else:
        share = lesser if pattern is Pattern.NSIP else 1 - lesser
    values = {name: getattr(base, name) for name in base.__dataclass_fields__}
    values |= organizing
    values["pattern"] = pattern
    values["ground_glass"] = base.ground_glass * (1 - share)
    values["reticulation"] = base.reticulation * (1 - share)
    values["consolidation"] = float(organizing["consolidation"]) * share
    values["num_foci"] = max(1, round(int(organizing["num_foci"]) * min(1.0, 0.25 + share))) if share > 0.01 else 0
    if pattern is Pattern.OP:
        values |= {"traction": 1.0, "has_sparing": False}
    return DiseasePlan(**values)


def _plan_other(kind: OtherKind, total: float, base: DiseasePlan, rng: np.random.Generator) -> DiseasePlan:
    """Usual interstitial pneumonia, diffuse damage, one infection, emphysema, or nothing."""
    plans = {
        OtherKind.UIP: DiseasePlan(
            Pattern.OTHER,
            kind,
            ground_glass=0.1 * total,
            reticulation=0.8 * total,
            honeycombing=0.45 * total,
            traction=2.6,
            basal=base.basal,
            ground_glass_hu=base.ground_glass_hu,
            symmetry=0.7,
        ),
        OtherKind.DIFFUSE_DAMAGE: DiseasePlan(
            Pattern.OTHER,
            kind,
            ground_glass=max(0.55, total),
            reticulation=0.15,
            consolidation=0.08,
            num_foci=5,
            basal=0.15,
            ground_glass_hu=base.ground_glass_hu * 1.2,
            traction=1.4,
            symmetry=0.9,
        ),
        OtherKind.INFECTION: DiseasePlan(
            Pattern.OTHER,
            kind,
            consolidation=float(rng.uniform(0.02, 0.07)),
            num_foci=1,
            halo=9.0,
            basal=0.3,
        ),
        OtherKind.EMPHYSEMA: DiseasePlan(Pattern.OTHER, kind, emphysema=float(rng.uniform(0.1, 0.4))),
        OtherKind.NORMAL: DiseasePlan(Pattern.OTHER, kind),
    }
    return plans[kind]
