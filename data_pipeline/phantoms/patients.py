"""One synthetic patient before the scan: truth, what the hospital records, what will happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.acquisition import ProtocolName, SizeName
from data_pipeline.phantoms.clinical_settings import ClinicalSettings, PresetName, load_clinical_settings
from data_pipeline.phantoms.clinical_truth import ambiguity, draw_classes, draw_patients
from data_pipeline.phantoms.dicom_writer import Compression
from data_pipeline.phantoms.disease_settings import DifficultyName
from data_pipeline.phantoms.hazards import CAUSES, HazardModel, Planted, event_time
from data_pipeline.phantoms.laboratory import measure_antibodies, reader_votes, recorded_covariates, true_antibodies
from data_pipeline.phantoms.randomness import Stream, stream
from domain.antibodies import load_antibody_vocabulary
from domain.patterns import Pattern
from domain.records import Case, Outcome

DAYS_PER_YEAR = 365.25
LEAST_DAYS = 0.5  # a death on the day of the scan counts half a day
Patient = Mapping[str, float | str | bool]


@dataclass(frozen=True, slots=True)
class CohortSettings:
    """What a cohort is like.

    Attributes:
        seed: Everything follows from it.
        num_patients: Patients with a scan.
        size: Size of the scans.
        preset: Region.
        difficulty: How textbook-like the scans are.
        protocol: ``hrct`` follows the guideline; ``varied`` adds thick, sequential, contrast, prone and other scans.
        num_readers: 0 writes the true pattern as ``pattern``; more write one noisy column per reader.
        planted: Effects that exist in the hazards.
        shortcut: Share of patients whose scanner follows from the pattern: a planted shortcut. 0 for none.
        follow_up_share: Share of patients with a second scan, in a folder and a table of its own.
        compression: Transfer syntax of the scans.
        scanners: Vendors the scans come from, so that a test cohort can come from others; all where empty.
        num_without_scan: Further patients, after the others, of whom the table knows all but scan and pattern.
    """

    seed: int
    num_patients: int
    size: SizeName = "tiny"
    preset: PresetName = "east_asia"
    difficulty: DifficultyName = "realistic"
    protocol: ProtocolName = "hrct"
    num_readers: int = 0
    planted: Planted = field(default_factory=Planted)
    shortcut: float = 0.0
    follow_up_share: float = 0.0
    compression: Compression = "none"
    num_without_scan: int = 0
    scanners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PatientTruth:
    """One patient before the scan.

    Attributes:
        index: 0-based.
        columns: True values.
        case: Row of the case table.
        hazards: Per day, (causes, pieces).
        latent_days: Day of each cause if it were the only one, and the end of follow-up.
        antibodies: Those really present.
    """

    index: int
    columns: Patient
    case: Case
    hazards: NDArray[np.float64]
    latent_days: dict[str, float]
    antibodies: tuple[str, ...]


def case_name(index: int) -> str:
    """Name of a patient: folder, case_id and start of patient_id."""
    return f"P{index + 1:04d}"


@lru_cache(maxsize=8)
def _hazard_model(preset: PresetName, planted: Planted) -> HazardModel:
    return HazardModel(load_clinical_settings(), preset, planted)


@lru_cache(maxsize=1)
def _antibody_keys() -> tuple[str, ...]:
    return load_antibody_vocabulary().keys


def draw_truths(settings: CohortSettings) -> list[PatientTruth]:
    """All patients before any scan; cheap, so that tables of thousands can be made without images."""
    clinical = load_clinical_settings()
    model = _hazard_model(settings.preset, settings.planted)
    return [
        _draw_patient(settings, clinical, model, index)
        for index in range(settings.num_patients + settings.num_without_scan)
    ]


def _draw_patient(settings: CohortSettings, clinical: ClinicalSettings, model: HazardModel, index: int) -> PatientTruth:
    rng = stream(settings.seed, index, Stream.CLINICAL)
    arrays = draw_patients(clinical, settings.preset, draw_classes(clinical, settings.preset, 1, rng), rng)
    patient: dict[str, float | str | bool] = {name: values[0].item() for name, values in arrays.items()}
    laboratory = stream(settings.seed, index, Stream.LABORATORY)
    num_sites = clinical.centre.num_sites[settings.preset]
    num_general = round(clinical.assay.general_sites * num_sites)
    site = _site(clinical, num_sites, num_general, float(laboratory.random()), is_rapid=float(patient["rapid"]) > 0.5)
    effects = stream(settings.seed, -1, Stream.CLINICAL).standard_normal(num_sites) * clinical.centre.log_hazard_sd
    hazards = model.hazards(arrays, effects[site : site + 1])[0]
    outcome, latent = _draw_outcome(clinical, hazards, stream(settings.seed, index, Stream.OUTCOME))
    class_index = int(arrays["class_index"][0])
    truth = true_antibodies(clinical, class_index, has_ro52=bool(float(patient["ro52"])), rng=laboratory)
    is_general = site < num_general
    pattern = Pattern(str(patient["pattern"]))
    unclear = (
        ambiguity(float(patient["organizing_share"]), clinical.mixture.mixed_from)
        if pattern is not Pattern.OTHER
        else clinical.reader_errors.other_unclear
    )
    readers = stream(settings.seed, index, Stream.READERS)
    votes = reader_votes(clinical, pattern, unclear, settings.num_readers, readers)
    name = case_name(index)
    has_scan = index < settings.num_patients
    case = Case(
        case_id=name,
        patient_id=f"{name}-S{settings.seed}",
        scan=name if has_scan else None,
        site=f"site{site + 1}",
        pattern_votes=(votes or {"consensus": pattern}) if has_scan else {},
        antibodies=measure_antibodies(clinical, truth, _antibody_keys(), is_general=is_general, rng=laboratory),
        covariates=recorded_covariates(clinical, settings.preset, patient, laboratory),
        outcome=outcome,
    )
    return PatientTruth(index, patient, case, hazards, latent, tuple(sorted(truth)))


def _site(clinical: ClinicalSettings, num_sites: int, num_general: int, draw: float, *, is_rapid: bool) -> int:
    """Hospital of a patient: general ones come first; rapid courses are sent to the specialist ones more often."""
    weights = np.ones(num_sites)
    weights[num_general:] = clinical.dependencies.specialist_if_rapid.value if is_rapid else 1.0
    cumulative = np.cumsum(weights) / weights.sum()
    return min(int(np.searchsorted(cumulative, draw)), num_sites - 1)


def _draw_outcome(
    clinical: ClinicalSettings, hazards: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Outcome, dict[str, float]]:
    """First event, or the end of follow-up."""
    draws = rng.random(5)
    latent = {cause: event_time(hazards[row], float(draws[row])) for row, cause in enumerate(CAUSES)}
    follow_up = clinical.censoring
    exponential = -np.log(max(draws[3], 1e-12)) * follow_up.mean_years
    uniform = follow_up.shortest_years + (follow_up.longest_years - follow_up.shortest_years) * draws[4]
    end = float(min(exponential, uniform) * DAYS_PER_YEAR)
    first = min(latent, key=lambda cause: latent[cause])
    time, event = (latent[first], first) if latent[first] <= end else (end, "alive")
    return Outcome(round(max(float(time), LEAST_DAYS), 1), event), latent | {"end_of_follow_up": end}
