"""Patients before any scan: class, pattern, course, covariates. What the hospital records of them comes later."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from data_pipeline.phantoms.clinical_settings import ClinicalSettings, Group, PresetName
from data_pipeline.phantoms.disease_types import OtherKind
from domain.patterns import PATTERNS

FloatArray = NDArray[np.float64]
Columns = dict[str, NDArray[np.generic]]

QUARTILE_Z = 0.674489750196  # standard normal quantile of 0.75
DECIMALS = 6
LIMITS = {
    "fvc": (20.0, 140.0),
    "dlco": (10.0, 130.0),
    "pf_ratio": (80.0, 560.0),
    "spo2": (80.0, 100.0),
    "extent": (2.0, 85.0),
    "ferritin": (5.0, 40_000.0),
    "crp": (0.01, 45.0),
    "kl6": (80.0, 20_000.0),
    "spd": (5.0, 2_000.0),
    "ldh": (80.0, 5_000.0),
    "duration": (0.1, 240.0),
    "ifn_lambda3": (1.0, 5_000.0),
}
# Share of the affected lung that is organizing (OP component); the rest is interstitial (NSIP component). The border
# of NSIP, mixed and OP is the published rule: the lesser component is at least this share (patterns.yaml).
MIXED_FROM = 0.10
ORGANIZING_OF_OTHER = {"uip": 0.04, "diffuse_damage": 0.12, "infection": 1.0, "emphysema": 0.0, "normal": 0.0}
# Centres of Beta draws: reticulation within the interstitial part, consolidation within the organizing part (assumed,
# shaped on the feature frequencies in docs/phantoms.md), and their concentration.
RETICULATION_SHARE = {"nsip": 0.38, "op": 0.30, "mixed": 0.38, "uip": 0.85, "diffuse_damage": 0.10}
CONSOLIDATION_SHARE = 0.55
CONCENTRATION = 14.0
HARDLY_AFFECTED = 0.08  # factor on the extent of normal and emphysematous lungs
OTHER_KINDS: tuple[str, ...] = tuple(kind.value for kind in OtherKind)


def _latent_names(settings: ClinicalSettings) -> list[str]:
    names = list(dict.fromkeys(row.key for row in settings.covariates))
    return [*names, "age", "rapid"]


def _latent(settings: ClinicalSettings, count: int, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Correlated standard normal variables, one per covariate."""
    names = _latent_names(settings)
    matrix = np.eye(len(names))
    for row in settings.correlations:
        one, other = names.index(row.pair[0]), names.index(row.pair[1])
        matrix[one, other] = matrix[other, one] = row.value
    root = np.linalg.cholesky(matrix)
    independent = rng.standard_normal((count, len(names)))
    values = np.round((independent[:, None, :] * root[None, :, :]).sum(axis=2), DECIMALS)
    return {name: values[:, index] for index, name in enumerate(names)}


def _choose(rng: np.random.Generator, weights: FloatArray) -> NDArray[np.intp]:
    """One category per row of ``weights`` (N, K); rows add up to 1."""
    draws = rng.random(len(weights))[:, None]
    return np.asarray(np.minimum((draws > np.cumsum(weights, axis=1)).sum(axis=1), weights.shape[1] - 1))


def draw_classes(
    settings: ClinicalSettings, preset: PresetName, count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Antibody class of each patient, as an index into ``settings.classes``."""
    prevalence = np.array([entry.prevalence[preset] for entry in settings.classes])
    return _choose(rng, np.tile(prevalence, (count, 1)))


def draw_patients(
    settings: ClinicalSettings, preset: PresetName, classes: NDArray[np.intp], rng: np.random.Generator
) -> Columns:
    """True values of patients of given classes.

    Args:
        settings: The numbers.
        preset: Region.
        classes: Index into ``settings.classes`` per patient. Shape (N,).
        rng: Generator.

    Returns:
        Column name -> array of shape (N,). Extents in percent of lung volume, covariates in the vocabulary's units.
    """
    count = len(classes)
    entries = [settings.classes[index] for index in classes]
    groups: list[Group] = [entry.group for entry in entries]
    latent = _latent(settings, count, rng)
    pattern = _choose(rng, np.array([[entry.patterns[name] for name in PATTERNS] for entry in entries]))
    kinds = np.array([[entry.other_kinds.get(kind, 0.0) for kind in OtherKind] for entry in entries])
    kind = _choose(rng, kinds)
    columns: Columns = {
        "class_index": classes,
        "group": np.array(groups),
        "pattern": np.array([PATTERNS[index].value for index in pattern]),
        "other_kind": np.array([OTHER_KINDS[index] for index in kind]),
        "is_female": rng.random(count) < np.array([entry.female for entry in entries]),
        "age": np.clip(
            np.array([e.age_mean for e in entries]) + np.array([e.age_sd for e in entries]) * latent["age"], 18, 90
        ),
        "smoking": (rng.random(count) < np.array([entry.smoking for entry in entries])).astype(float),
        "ro52": (rng.random(count) < np.array([entry.ro52 for entry in entries])).astype(float),
    }
    columns["rapid"] = _rapid(settings, preset, columns, latent["rapid"]).astype(float)
    for name in dict.fromkeys(row.key for row in settings.covariates):
        columns[name] = _covariate(settings, name, groups, latent[name])
    treated = np.array([settings.treatment_combination.of(group) for group in groups])
    columns["treatment_combination"] = (rng.random(count) < treated).astype(float)
    _extents(columns, rng)
    return columns


def _covariate(settings: ClinicalSettings, name: str, groups: list[Group], latent: FloatArray) -> FloatArray:
    rows = [settings.covariate(name, group) for group in groups]
    if rows[0].form == "lognormal":
        middle = np.log([row.median for row in rows])
        spread = np.log([row.q75 / row.q25 for row in rows]) / (2 * QUARTILE_Z)
        values = np.exp(middle + spread * latent)
    else:
        spread = np.array([row.q75 - row.q25 for row in rows]) / (2 * QUARTILE_Z)
        values = np.array([row.median for row in rows]) + spread * latent
    low, high = LIMITS.get(name, (0.0, np.inf))
    return np.round(np.clip(values, low, high), DECIMALS)


def _rapid(settings: ClinicalSettings, preset: PresetName, columns: Columns, latent: FloatArray) -> NDArray[np.bool_]:
    """Rapidly progressive course: the class rate, spread over the patterns, by a latent that labs and extent share."""
    relative = settings.rapid_by_pattern
    by_pattern = {"nsip": relative.nsip, "op": relative.op, "mixed": relative.mixed, "other": relative.other}
    rate = np.empty(len(latent))
    for row, (index, pattern) in enumerate(zip(columns["class_index"], columns["pattern"], strict=True)):
        entry = settings.classes[int(index)]
        mean = sum(share * by_pattern[name.value] for name, share in entry.patterns.items())
        level = settings.preset(preset).mda5_rapid if entry.key == "mda5" else entry.rapid
        rate[row] = min(0.97, level * by_pattern[str(pattern)] / mean)
    return np.asarray(latent > ndtri(1 - rate))


def _extents(columns: Columns, rng: np.random.Generator) -> None:
    """Split the total extent into ground glass, reticulation and consolidation, percent of lung."""
    count = len(columns["extent"])
    names = [
        str(kind) if pattern == "other" else str(pattern)
        for pattern, kind in zip(columns["pattern"], columns["other_kind"], strict=True)
    ]
    draws = rng.random((count, 2))
    organizing = np.array([_organizing_share(name, *draws[row]) for row, name in enumerate(names)])
    fibrotic = np.array([RETICULATION_SHARE.get(name, 0.3) for name in names])
    fibrotic = rng.beta(CONCENTRATION * fibrotic, CONCENTRATION * (1 - fibrotic))
    solid = rng.beta(CONCENTRATION * CONSOLIDATION_SHARE, CONCENTRATION * (1 - CONSOLIDATION_SHARE), size=count)
    hardly = np.isin(names, ["normal", "emphysema"])
    total = columns["extent"].astype(float) * np.where(hardly, HARDLY_AFFECTED, 1.0)
    interstitial = total * (1 - organizing)
    columns["organizing_share"] = np.round(organizing, DECIMALS)
    columns["reticulation"] = np.round(interstitial * fibrotic, 3)
    columns["consolidation"] = np.round(total * organizing * solid, 3)
    columns["ground_glass"] = np.round(interstitial * (1 - fibrotic) + total * organizing * (1 - solid), 3)
    columns["mixed"] = (columns["pattern"] == "mixed").astype(float)


def _organizing_share(name: str, first: float, second: float) -> float:
    """Share of the organizing component from two uniform numbers; close to a border for some."""
    if name in ORGANIZING_OF_OTHER:
        return ORGANIZING_OF_OTHER[name]
    if name == "mixed":
        return MIXED_FROM + (1 - 2 * MIXED_FROM) * (0.5 * first + 0.5 * second)
    lesser = MIXED_FROM * first * second
    return lesser if name == "nsip" else 1 - lesser


def ambiguity(organizing_share: float) -> float:
    """How close a scan is to the border between two patterns: 1 at it, 0 at 0.1 or more away."""
    distance = min(abs(organizing_share - MIXED_FROM), abs(organizing_share - (1 - MIXED_FROM)))
    return max(0.0, 1 - distance / 0.1)
