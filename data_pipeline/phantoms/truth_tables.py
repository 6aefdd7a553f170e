"""Writes what is known of a synthetic cohort: the case table, and each patient's true future."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipeline.phantoms.case_table import write_case_table
from data_pipeline.phantoms.clinical_settings import load_clinical_settings
from data_pipeline.phantoms.hazards import CAUSES, EDGES_DAYS, HORIZON_DAYS, survival_and_incidence
from data_pipeline.phantoms.patients import PatientTruth
from domain.antibodies import load_antibody_vocabulary
from domain.covariates import load_covariate_vocabulary
from domain.records import Case

LATENT = (*CAUSES, "end_of_follow_up")
TRUE_COLUMNS = ("extent", "ground_glass", "reticulation", "consolidation", "organizing_share")


def write_cases(path: Path, cases: Sequence[Case]) -> None:
    """Write a case table in the shipped vocabularies."""
    write_case_table(path, cases, load_antibody_vocabulary(), load_covariate_vocabulary())


def patients_table(truths: Sequence[PatientTruth]) -> str:
    """True class, pattern, survival and incidence of each patient as CSV text."""
    heads = ["case_id", "class", "group", "pattern", "other_kind", "rapid", "antibodies"]
    heads += [f"{name}_percent" if name != "organizing_share" else name for name in TRUE_COLUMNS]
    heads += [f"survival_{int(day)}d" for day in HORIZON_DAYS]
    heads += [f"cif_{cause}_{int(day)}d" for cause in CAUSES for day in HORIZON_DAYS]
    heads += [f"latent_{name}_days" for name in LATENT]
    classes = load_clinical_settings().classes
    lines = [",".join(heads)]
    for truth in truths:
        columns = truth.columns
        survival, incidence = survival_and_incidence(truth.hazards, HORIZON_DAYS)
        values: list[object] = [truth.case.case_id, classes[int(columns["class_index"])].key, columns["group"]]
        values += [columns["pattern"], columns["other_kind"] if columns["pattern"] == "other" else ""]
        values += [int(float(columns["rapid"])), "+".join(truth.antibodies)]
        values += [f"{float(columns[name]):.4f}" for name in TRUE_COLUMNS]
        values += [f"{value:.6f}" for value in (*survival, *incidence.ravel())]
        values += [f"{truth.latent_days[name]:.1f}" for name in LATENT]
        lines.append(",".join(str(value) for value in values))
    return "\n".join(lines) + "\n"


def write_truth(folder: Path, truths: Sequence[PatientTruth], settings: Mapping[str, object]) -> None:
    """Write ``patients.csv``, ``hazards_per_day.json`` and ``cohort.json``.

    Args:
        folder: ``truth/`` of the cohort.
        truths: All patients.
        settings: How the cohort was asked for.
    """
    (folder / "patients.csv").write_text(patients_table(truths), encoding="utf-8")
    hazards: dict[str, object] = {"causes": CAUSES, "piece_starts_days": EDGES_DAYS[:-1]}
    hazards["hazards"] = {truth.case.case_id: truth.hazards.tolist() for truth in truths}
    write_json(folder / "hazards_per_day.json", hazards)
    write_json(folder / "cohort.json", settings)


def write_json(path: Path, value: object) -> None:
    """Write plain values, keys in order."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
