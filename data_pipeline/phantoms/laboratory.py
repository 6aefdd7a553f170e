"""What the hospital records: antibody results of an imperfect assay, covariates with gaps, readers' votes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_pipeline.phantoms.clinical_settings import ClinicalSettings, PresetName
from domain.antibodies import AntibodyResult, AntibodyStatus
from domain.patterns import Pattern

TREATED = ("no", "yes")
LABORATORY_KEYS = ("ferritin", "crp", "kl6", "spd", "ldh", "fvc", "dlco", "pf_ratio", "spo2", "duration", "ifn_lambda3")


def true_antibodies(
    settings: ClinicalSettings, class_index: int, *, has_ro52: bool, rng: np.random.Generator
) -> frozenset[str]:
    """Antibodies a patient really has: at most one of the class, and Ro52."""
    shares = settings.classes[class_index].antibodies
    found: set[str] = {"ro52"} if has_ro52 else set()
    if shares:
        keys = list(shares)
        draw, cumulative = rng.random(), np.cumsum([shares[key] for key in keys])
        found.add(keys[min(int(np.searchsorted(cumulative, draw)), len(keys) - 1)])
    return frozenset(found)


def measure_antibodies(
    settings: ClinicalSettings,
    truth: frozenset[str],
    keys: tuple[str, ...],
    *,
    is_general: bool,
    rng: np.random.Generator,
) -> dict[str, AntibodyResult]:
    """Line-blot results with three states and grades.

    Args:
        settings: Sensitivities and gaps.
        truth: Antibodies the patient has.
        keys: The vocabulary.
        is_general: A hospital without a special interest: panels are ordered less often.
        rng: Generator of the laboratory.
    """
    assay = settings.assay
    missing = assay.panel_missing_general if is_general else assay.panel_missing_specialist
    has_panel = bool(rng.random() >= missing)
    false_key = ""
    if rng.random() < assay.false_positive_sample:
        names = list(assay.false_positive_keys)
        cumulative = np.cumsum([assay.false_positive_keys[name] for name in names])
        false_key = names[min(int(np.searchsorted(cumulative / cumulative[-1], rng.random())), len(names) - 1)]
    results: dict[str, AntibodyResult] = {}
    for key in keys:
        draws = rng.random(4)
        untested = assay.ro52_missing if key == "ro52" else assay.untested_by_default.get(key, 0.0)
        if not has_panel or draws[0] < untested:
            continue
        is_true = key in truth and draws[1] < assay.sensitivity.get(key, assay.sensitivity_of_rest)
        if not is_true and key != false_key:
            results[key] = AntibodyResult(AntibodyStatus.NEGATIVE, 0)
            continue
        is_weak = draws[2] < (assay.weak_if_true if is_true else assay.weak_if_false)
        grade = assay.weak_grade if is_weak else assay.strong_grades[int(draws[3] < assay.strongest_share)]
        results[key] = AntibodyResult(AntibodyStatus.POSITIVE, grade)
    return results


def recorded_covariates(
    settings: ClinicalSettings,
    preset: PresetName,
    patient: Mapping[str, float | str | bool],
    rng: np.random.Generator,
) -> dict[str, float | str]:
    """Covariates as the table has them: rounded as laboratories do, some missing, two of them not at random."""
    missing, decimals = settings.missing, settings.decimals.of
    is_rapid = float(patient["rapid"]) > 0.5
    chance = {key: float(getattr(missing, key)) for key in LABORATORY_KEYS}
    chance["kl6"] = settings.preset(preset).kl6_missing
    if is_rapid:
        chance |= {"dlco": missing.dlco_if_rapid, "fvc": missing.fvc_if_rapid}
    values: dict[str, float | str] = {
        "age": round(float(patient["age"]), decimals["age"]),
        "sex": "female" if patient["is_female"] else "male",
        "subtype": str(patient["subtype"]),
        "treatment_combination": TREATED[int(float(patient["treatment_combination"]))],
    }
    if rng.random() >= missing.smoking:
        values["smoking"] = TREATED[int(float(patient["smoking"]))]
    for key in LABORATORY_KEYS:
        if rng.random() >= chance[key]:
            values[key] = round(float(patient[key]), decimals[key])
    return values


def reader_votes(
    settings: ClinicalSettings, pattern: Pattern, unclear: float, num_readers: int, rng: np.random.Generator
) -> dict[str, Pattern]:
    """One vote per reader; a wrong one is drawn from the confusions, more often where the scan is unclear.

    Args:
        settings: Readers and their confusions.
        pattern: The truth.
        unclear: 0 a textbook case, 1 at the border of two patterns.
        num_readers: At most as many as there are in the settings.
        rng: Generator of the readers.
    """
    votes: dict[str, Pattern] = {}
    errors = settings.reader_errors
    for reader in settings.readers[:num_readers]:
        draw = rng.random(2)
        if draw[0] >= min((1 - reader.accuracy) * (errors.clear + errors.unclear * unclear), errors.most):
            votes[reader.name] = pattern
            continue
        wrong = settings.reader_confusions.of(pattern)
        keys = list(wrong)
        cumulative = np.cumsum([wrong[key] for key in keys])
        votes[reader.name] = keys[min(int(np.searchsorted(cumulative, draw[1])), len(keys) - 1)]
    return votes
