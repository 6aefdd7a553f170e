"""Patients before any scan: class, pattern, course, covariates. What the hospital records of them comes later."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from data_pipeline.phantoms.clinical_settings import AntibodyClass, ClinicalSettings, Group, Mixture, PresetName
from data_pipeline.phantoms.disease_types import OtherKind
from domain.patterns import PATTERNS

FloatArray = NDArray[np.float64]
Columns = dict[str, NDArray[np.generic]]

QUARTILE_Z = 0.674489750196  # standard normal quantile of 0.75
DECIMALS = 6
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
    latent, ages = _latent(settings, count, rng), settings.limits["age"]
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
            np.array([e.age_mean for e in entries]) + np.array([e.age_sd for e in entries]) * latent["age"],
            ages.low,
            ages.high,
        ),
        "ro52": (rng.random(count) < np.array([entry.ro52 for entry in entries])).astype(float),
    }
    columns["rapid"] = _rapid(settings, preset, columns, latent["rapid"]).astype(float)
    for name in dict.fromkeys(row.key for row in settings.covariates):
        columns[name] = _covariate(settings, name, groups, latent[name])
    _what_follows(settings, columns, entries, groups, rng)
    _extents(settings.mixture, columns, rng)
    return columns


def _what_follows(
    settings: ClinicalSettings,
    columns: Columns,
    entries: list[AntibodyClass],
    groups: list[Group],
    rng: np.random.Generator,
) -> None:
    """Smoking from sex and kind of disease, treatment and subtype from the course."""
    given, draws = settings.dependencies, rng.random((len(entries), 3))
    rapid = columns["rapid"].astype(float)
    is_other = columns["pattern"] == "other"
    smokes = np.log(given.smoking_if_male.value) * ~columns["is_female"].astype(bool)
    for kind, row in (("emphysema", given.smoking_if_emphysema), ("uip", given.smoking_if_uip)):
        smokes = smokes + np.log(row.value) * (is_other & (columns["other_kind"] == kind))
    ever = np.array([entry.smoking for entry in entries])
    women = np.array([entry.female for entry in entries])
    centred = smokes - (1 - women) * np.log(given.smoking_if_male.value)
    columns["smoking"] = (draws[:, 0] < _shifted(ever, centred)).astype(float)
    treated = np.array([settings.treatment_combination.of(group) for group in groups])
    rate = np.array([entry.rapid for entry in entries])
    urgency = np.log(given.combination_if_rapid.value) * (rapid - rate)
    columns["treatment_combination"] = (draws[:, 1] < _shifted(treated, urgency)).astype(float)
    columns["subtype"] = np.array(
        [
            _subtype(entry, given.cadm_if_rapid.value if is_rapid else 1.0, draw)
            for entry, is_rapid, draw in zip(entries, rapid > 0.5, draws[:, 2], strict=True)
        ]
    )


def _shifted(probability: FloatArray, log_odds: FloatArray) -> FloatArray:
    """A probability after a shift of its log odds."""
    odds = probability / (1 - probability) * np.exp(log_odds)
    return np.asarray(odds / (1 + odds))


def _subtype(entry: AntibodyClass, cadm_odds: float, draw: float) -> str:
    """Subtype of one patient; the amyopathic one weighs more in rapid courses."""
    weights = np.array([share * (cadm_odds if name == "cadm" else 1.0) for name, share in entry.subtypes.items()])
    cumulative = np.cumsum(weights) / weights.sum()
    return list(entry.subtypes)[min(int(np.searchsorted(cumulative, draw)), len(cumulative) - 1)]


def _covariate(settings: ClinicalSettings, name: str, groups: list[Group], latent: FloatArray) -> FloatArray:
    rows = [settings.covariate(name, group) for group in groups]
    if rows[0].form == "lognormal":
        middle = np.log([row.median for row in rows])
        spread = np.log([row.q75 / row.q25 for row in rows]) / (2 * QUARTILE_Z)
        values = np.exp(middle + spread * latent)
    else:
        spread = np.array([row.q75 - row.q25 for row in rows]) / (2 * QUARTILE_Z)
        values = np.array([row.median for row in rows]) + spread * latent
    limits = settings.limits[name]
    return np.round(np.clip(values, limits.low, limits.high), DECIMALS)


def _rapid(settings: ClinicalSettings, preset: PresetName, columns: Columns, latent: FloatArray) -> NDArray[np.bool_]:
    """Rapidly progressive course: the class rate, spread over the patterns, by a latent that labs and extent share."""
    relative = settings.rapid_by_pattern
    by_pattern = {"nsip": relative.nsip, "op": relative.op, "mixed": relative.mixed, "other": relative.other}
    rate = np.empty(len(latent))
    for row, (index, pattern) in enumerate(zip(columns["class_index"], columns["pattern"], strict=True)):
        entry = settings.classes[int(index)]
        mean = sum(share * by_pattern[name.value] for name, share in entry.patterns.items())
        level = settings.preset(preset).mda5_rapid if entry.key == "mda5" else entry.rapid
        rate[row] = min(relative.most, level * by_pattern[str(pattern)] / mean)
    return np.asarray(latent > ndtri(1 - rate))


def _extents(mixture: Mixture, columns: Columns, rng: np.random.Generator) -> None:
    """Split the total extent into ground glass, reticulation and consolidation, percent of lung."""
    count = len(columns["extent"])
    names = [
        str(kind) if pattern == "other" else str(pattern)
        for pattern, kind in zip(columns["pattern"], columns["other_kind"], strict=True)
    ]
    draws = rng.random((count, 2))
    organizing = np.array([_organizing_share(mixture, name, *draws[row]) for row, name in enumerate(names)])
    fibrotic = np.array([mixture.reticulation_share.get(name, mixture.reticulation_share["rest"]) for name in names])
    fibrotic = rng.beta(mixture.concentration * fibrotic, mixture.concentration * (1 - fibrotic))
    middle = mixture.consolidation_share
    solid = rng.beta(mixture.concentration * middle, mixture.concentration * (1 - middle), size=count)
    hardly = np.isin(names, ["normal", "emphysema"])
    total = columns["extent"].astype(float) * np.where(hardly, mixture.hardly_affected, 1.0)
    interstitial = total * (1 - organizing)
    columns["organizing_share"] = np.round(organizing, DECIMALS)
    columns["reticulation"] = np.round(interstitial * fibrotic, 3)
    columns["consolidation"] = np.round(total * organizing * solid, 3)
    columns["ground_glass"] = np.round(interstitial * (1 - fibrotic) + total * organizing * (1 - solid), 3)
    columns["mixed"] = (columns["pattern"] == "mixed").astype(float)


def _organizing_share(mixture: Mixture, name: str, first: float, second: float) -> float:
    """Share of the organizing component from two uniform numbers; close to a border for some."""
    if name in OTHER_KINDS:
        return mixture.organizing_of_other[OtherKind(name)]
    if name == "mixed":
        return mixture.mixed_from + (1 - 2 * mixture.mixed_from) * (0.5 * first + 0.5 * second)
    lesser = mixture.mixed_from * first * second
    return lesser if name == "nsip" else 1 - lesser


def ambiguity(organizing_share: float, mixed_from: float) -> float:
    """How close a scan is to the border between two patterns: 1 at it, 0 when a whole border share away.

    Args:
        organizing_share: Share of the organizing component, 0..1.
        mixed_from: Least share of the lesser component of a mixed pattern.
    """
    distance = min(abs(organizing_share - mixed_from), abs(organizing_share - (1 - mixed_from)))
    return max(0.0, 1 - distance / mixed_from)
