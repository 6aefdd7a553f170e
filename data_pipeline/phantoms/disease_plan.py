"""From a patient's pattern and extents to what is painted; difficulty decides how textbook-like it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_pipeline.phantoms.clinical_settings import load_clinical_settings
from data_pipeline.phantoms.disease_settings import (
    Difficulty,
    DifficultyName,
    DiseaseSettings,
    load_disease_settings,
)
from data_pipeline.phantoms.disease_types import DiseasePlan, EmphysemaKind, OtherKind
from data_pipeline.phantoms.sourced import Range
from domain.patterns import Pattern

__all__ = ["DIFFICULTIES", "Difficulty", "DifficultyName", "Patient", "painted_share", "plan_disease"]

Patient = Mapping[str, float | str | bool]
DIFFICULTIES: dict[DifficultyName, Difficulty] = {row.name: row for row in load_disease_settings().difficulties}


def painted_share(pattern: Pattern, organizing_share: float, border: float) -> float:
    """Share of the organizing component that is painted.

    Args:
        pattern: True pattern; its border is never crossed.
        organizing_share: As the truth has it.
        border: -1 to 1, see ``Difficulty``.
    """
    least, rules = load_clinical_settings().mixture.mixed_from, load_disease_settings().rules
    textbook = {Pattern.NSIP: 0.0, Pattern.OP: 1.0, Pattern.MIXED: 0.5}[pattern]
    near = {Pattern.NSIP: least, Pattern.OP: 1 - least}.get(pattern)
    if near is None:
        near = least if organizing_share < 0.5 else 1 - least
    target = textbook if border < 0 else near
    reach = rules.border_reach if border > 0 else rules.textbook_reach
    return organizing_share + abs(border) * (target - organizing_share) * reach


@dataclass(frozen=True, eq=False)
class _Draws:
    """Uniform numbers with names: one more name changes none of the others."""

    rng: np.random.Generator
    settings: DiseaseSettings

    def of(self, row: Range) -> float:
        return row.at(self.rng.random())

    def happens(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)


def plan_disease(patient: Patient, difficulty: Difficulty, rng: np.random.Generator) -> DiseasePlan:
    """Draw what is painted.

    Args:
        patient: Columns of one patient: pattern, other_kind, extent, organizing_share and the three extents.
        difficulty: How textbook-like.
        rng: Generator of the patient's disease.
    """
    settings = load_disease_settings()
    draws, rules = _Draws(rng, settings), settings.rules
    pattern = Pattern(str(patient["pattern"]))
    extent = float(patient["extent"]) / 100 * difficulty.extent_factor
    total = float(np.clip(extent, difficulty.least_extent, rules.most_extent))
    basal = float(np.clip(rules.basal + difficulty.basal_spread * rng.standard_normal(), *rules.basal_limits))
    common: dict[str, Any] = {
        "geographic": draws.of(settings.painted.geographic),
        "mesh_mm": draws.of(settings.painted.mesh_mm),
        "cyst_mm": draws.of(settings.painted.cyst_mm),
        "emphysema_kind": list(EmphysemaKind)[int(rng.integers(3))],
        "ground_glass_hu": draws.of(settings.painted.ground_glass_hu) * difficulty.contrast,
    }
    if pattern is Pattern.OTHER:
        plan = _plan_other(OtherKind(str(patient["other_kind"])), total, basal, draws, common)
    else:
        plan = _plan_pattern(pattern, patient, total, basal, difficulty, draws, common)
        plan = _with_mimics(plan, difficulty, draws)
    return _with_findings_beside(plan, patient, draws)


def _plan_pattern(
    pattern: Pattern,
    patient: Patient,
    total: float,
    basal: float,
    difficulty: Difficulty,
    draws: _Draws,
    common: dict[str, Any],
) -> DiseasePlan:
    """NSIP, OP, or both."""
    frequencies, painted, rules = draws.settings.frequencies, draws.settings.painted, draws.settings.rules
    share = painted_share(pattern, float(patient["organizing_share"]), difficulty.border)
    interstitial = max(float(patient["extent"]) * (1 - float(patient["organizing_share"])), 0.1)
    fibrotic = float(np.clip(float(patient["reticulation"]) / interstitial, *rules.fibrotic_limits))
    is_pure_op = pattern is Pattern.OP
    has_traction, gain = draws.happens(frequencies.traction.value), draws.of(painted.traction_gain)
    pull = rules.calm_traction + (1 - rules.calm_traction) * fibrotic
    has_sparing = draws.happens(frequencies.sparing.value)
    is_dense, dense_hu = draws.happens(frequencies.dense_nsip.value * difficulty.lookalike), draws.of(painted.dense_hu)
    if is_dense and pattern is Pattern.NSIP:
        common = common | {"ground_glass_hu": dense_hu * difficulty.contrast}
    plan = DiseasePlan(
        pattern=pattern,
        ground_glass=total * (1 - share),
        reticulation=total * (1 - share) * fibrotic,
        has_sparing=has_sparing and not is_pure_op,
        traction=1.0 if is_pure_op or not has_traction else 1.0 + gain * pull,
        basal=rules.op_basal * basal if is_pure_op else basal,
        symmetry=draws.of(painted.op_symmetry if is_pure_op else painted.nsip_symmetry),
        **common,
    )
    return replace(plan, **_organizing(total * share, difficulty, draws)) if share > rules.least_organizing else plan


def _organizing(extent: float, difficulty: Difficulty, draws: _Draws) -> dict[str, Any]:
    """Consolidation and how it is arranged; a part of the patients have hardly more than ground glass."""
    frequencies, painted, rules = draws.settings.frequencies, draws.settings.painted, draws.settings.rules
    solid = load_clinical_settings().mixture.consolidation_share * draws.of(painted.consolidation_factor)
    shown = min(1.0, rules.least_foci + (1 - rules.least_foci) * extent / rules.full_foci_extent)
    foci = draws.of(painted.op_foci) * shown
    perilobular, ring, halo = (
        draws.of(row) for row in (painted.perilobular_share, painted.reversed_halo_share, painted.halo_mm)
    )
    has = {
        name: draws.happens(getattr(frequencies, name).value)
        for name in ("perilobular", "reversed_halo", "halo", "peribronchovascular")
    }
    is_hazy = draws.happens(frequencies.ground_glass_op.value * difficulty.lookalike)
    return {
        "consolidation": extent * solid,
        "num_foci": max(rules.fewest_foci, round(foci)),
        "perilobular": perilobular if has["perilobular"] else 0.0,
        "reversed_halo": ring if has["reversed_halo"] else 0.0,
        "halo": rules.halo_sign_mm if has["halo"] else halo,
        "peribronchovascular": rules.bronchial_share if has["peribronchovascular"] else rules.other_bronchial_share,
        "hazy": rules.hazy_share if is_hazy else 0.0,
    }


def _with_mimics(plan: DiseasePlan, difficulty: Difficulty, draws: _Draws) -> DiseasePlan:
    """A minor finding of another pattern: a sliver of honeycombing, a few holes, less symmetry."""
    draw, painted = float(draws.rng.random()), draws.settings.painted
    cysts, holes = draws.of(painted.mimic_honeycombing), draws.of(painted.mimic_emphysema)
    if draw >= difficulty.mimic:
        return plan
    if draw < difficulty.mimic / 3:
        return replace(plan, honeycombing=cysts)
    if draw < 2 * difficulty.mimic / 3:
        return replace(plan, emphysema=holes)
    return replace(plan, symmetry=draws.settings.rules.uneven_symmetry)


def _with_findings_beside(plan: DiseasePlan, patient: Patient, draws: _Draws) -> DiseasePlan:
    """Air trapping, fluid and gas where none belongs: complications, not signs of a pattern."""
    beside, painted = draws.settings.beside, draws.settings.painted
    trapped, depth, right, gas = (
        draws.of(row)
        for row in (painted.air_trapping, painted.effusion_mm, painted.effusion_mm, painted.pneumothorax_mm)
    )
    is_mda5 = patient.get("group") == "mda5"
    torn = beside.pneumomediastinum_mda5 if is_mda5 else beside.pneumomediastinum_other
    has = [draws.happens(row.value) for row in (beside.air_trapping, beside.effusion, beside.pneumothorax, torn)]
    is_left = draws.happens(beside.pneumothorax_left.value)
    return replace(
        plan,
        air_trapping=trapped if has[0] and plan.emphysema == 0 else 0.0,
        effusion_mm=(right, depth * beside.effusion_left_over_right.value) if has[1] else (0.0, 0.0),
        pneumothorax_mm=(-gas if is_left else gas) if has[2] else 0.0,
        has_pneumomediastinum=has[3],
    )


def _plan_other(kind: OtherKind, total: float, basal: float, draws: _Draws, common: dict[str, Any]) -> DiseasePlan:
    """Usual interstitial pneumonia, diffuse damage, one infection, emphysema, or nothing."""
    painted, other = draws.settings.painted, draws.settings.other
    first, second = float(draws.rng.random()), float(draws.rng.random())
    signs: dict[str, Any] = {}
    if kind is OtherKind.UIP:
        signs = {
            "ground_glass": other.uip.ground_glass * total,
            "reticulation": other.uip.reticulation * total,
            "honeycombing": painted.uip_honeycombing.at(first) * total,
            "traction": _between(other.uip.traction, second),
            "basal": basal,
            "symmetry": other.uip.symmetry,
        }
    elif kind is OtherKind.DIFFUSE_DAMAGE:
        damage = other.diffuse_damage
        signs = {
            "ground_glass_hu": common["ground_glass_hu"] * damage.density_factor,
            "geographic": damage.geographic,
            "ground_glass": max(damage.ground_glass, total),
            "reticulation": damage.reticulation,
            "consolidation": painted.damage_consolidation.at(first),
            "num_foci": damage.foci,
            "halo": damage.halo_mm,
            "peribronchovascular": damage.peribronchovascular,
            "basal": _between(damage.basal, second),
            "traction": damage.traction,
            "symmetry": damage.symmetry,
        }
    elif kind is OtherKind.INFECTION:
        infection = other.infection
        signs = {
            "consolidation": painted.infection.at(first),
            "num_foci": infection.foci,
            "halo": _between(infection.halo_mm, second),
            "peribronchovascular": infection.peribronchovascular,
            "basal": infection.basal,
        }
    elif kind is OtherKind.EMPHYSEMA:
        signs = {"emphysema": painted.emphysema.at(first)}
    return DiseasePlan(Pattern.OTHER, kind, **(common | signs))


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * share
