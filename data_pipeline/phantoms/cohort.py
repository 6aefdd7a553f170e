"""A whole synthetic cohort: patients in, a folder in the shape of the contract out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.acquisition import AcquisitionPlan, SizeName, draw_acquisition
from data_pipeline.phantoms.case_table import write_case_table
from data_pipeline.phantoms.clinical_settings import ClinicalSettings, PresetName, load_clinical_settings
from data_pipeline.phantoms.clinical_truth import draw_classes, draw_patients
from data_pipeline.phantoms.dicom_writer import SeriesGeometry, SeriesTags, write_series
from data_pipeline.phantoms.disease_plan import DIFFICULTIES, DifficultyName, plan_disease
from data_pipeline.phantoms.habitus import draw_habitus
from data_pipeline.phantoms.hazards import (
    CAUSES,
    HORIZON_DAYS,
    HazardModel,
    Planted,
    event_time,
    survival_and_incidence,
)
from data_pipeline.phantoms.laboratory import measure_antibodies, reader_votes, recorded_covariates, true_antibodies
from data_pipeline.phantoms.randomness import Stream, stream
from data_pipeline.phantoms.scan import Scan, make_scan
from domain.antibodies import load_antibody_vocabulary
from domain.covariates import load_covariate_vocabulary
from domain.errors import OutputFolderError
from domain.patterns import Pattern
from domain.records import Case, Outcome

DAYS_PER_YEAR = 365.25
Patient = Mapping[str, float | str | bool]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CohortSettings:
    """What a cohort is like.

    Attributes:
        seed: Everything follows from it.
        num_patients: Patients.
        size: Size of the scans.
        preset: Region.
        difficulty: How textbook-like the scans are.
        num_readers: 0 writes the true pattern as ``pattern``; more write one noisy column per reader.
        planted: Effects of the image that exist in the hazards.
        site_prefix: Start of the site names.
    """

    seed: int
    num_patients: int
    size: SizeName = "tiny"
    preset: PresetName = "east_asia"
    difficulty: DifficultyName = "realistic"
    num_readers: int = 0
    planted: Planted = field(default_factory=Planted)
    site_prefix: str = "site"


@dataclass(frozen=True, slots=True)
class PatientTruth:
    """One patient before the scan.

    Attributes:
        index: 0-based.
        columns: True values.
        case: Row of the case table.
        hazards: Per day, (causes, pieces).
        latent_days: Day of each cause if it were the only one.
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


def _draw_patient(settings: CohortSettings, clinical: ClinicalSettings, model: HazardModel, index: int) -> PatientTruth:
    """Draw one patient's truth and what the table says of it."""
    rng = stream(settings.seed, index, Stream.CLINICAL)
    classes = draw_classes(clinical, settings.preset, 1, rng)
    arrays = draw_patients(clinical, settings.preset, classes, rng)
    patient: dict[str, float | str | bool] = {name: values[0].item() for name, values in arrays.items()}
    entry = clinical.classes[int(classes[0])]
    laboratory = stream(settings.seed, index, Stream.LABORATORY)
    names = list(entry.subtypes)
    patient["subtype"] = names[
        min(int(np.searchsorted(np.cumsum(list(entry.subtypes.values())), laboratory.random())), len(names) - 1)
    ]
    num_sites = clinical.centre.num_sites[settings.preset]
    site = int(laboratory.integers(num_sites))
    effects = stream(settings.seed, -1, Stream.CLINICAL).standard_normal(num_sites) * clinical.centre.log_hazard_sd
    hazards = model.hazards(arrays, effects[site : site + 1])[0]
    outcome, latent = _draw_outcome(clinical, hazards, stream(settings.seed, index, Stream.OUTCOME))
    truth = true_antibodies(clinical, int(classes[0]), has_ro52=bool(float(patient["ro52"])), rng=laboratory)
    is_general = site < round(clinical.assay.general_sites * num_sites)
    keys = load_antibody_vocabulary().keys
    results = measure_antibodies(clinical, truth, keys, is_general=is_general, rng=laboratory)
    pattern = Pattern(str(patient["pattern"]))
    votes = reader_votes(clinical, pattern, settings.num_readers, stream(settings.seed, index, Stream.READERS))
    name = case_name(index)
    case = Case(
        case_id=name,
        patient_id=f"{name}-S{settings.seed}",
        scan=name,
        site=f"{settings.site_prefix}{site + 1}",
        pattern_votes=votes or {"consensus": pattern},
        antibodies=results,
        covariates=recorded_covariates(clinical, settings.preset, patient, laboratory),
        outcome=outcome,
    )
    return PatientTruth(index, patient, case, hazards, latent, tuple(sorted(truth)))


def _draw_outcome(
    clinical: ClinicalSettings, hazards: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Outcome, dict[str, float]]:
    """First event, or the end of follow-up."""
    draws = rng.random(5)
    latent = {cause: event_time(hazards[row], float(draws[row])) for row, cause in enumerate(CAUSES)}
    follow_up = clinical.censoring
    exponential = -np.log(max(draws[3], 1e-12)) * follow_up.mean_years
    uniform = follow_up.shortest_years + (follow_up.longest_years - follow_up.shortest_years) * draws[4]
    end = min(exponential, uniform) * DAYS_PER_YEAR
    first = min(latent, key=lambda cause: latent[cause])
    time, event = (latent[first], first) if latent[first] <= end else (end, "alive")
    return Outcome(round(max(float(time), 0.5), 1), event), latent | {"end_of_follow_up": float(end)}


def _scan_patient(settings: CohortSettings, patient: Patient, index: int) -> tuple[Scan, AcquisitionPlan, object]:
    difficulty = DIFFICULTIES[settings.difficulty]
    plan = plan_disease(patient, difficulty, stream(settings.seed, index, Stream.DISEASE))
    habitus = draw_habitus(
        stream(settings.seed, index, Stream.ANATOMY),
        is_female=bool(patient["is_female"]),
        age_years=float(patient["age"]),
        volume_loss=plan.volume_loss,
    )
    width = 2 * (habitus.chest_half_width + habitus.fat + habitus.muscle + 14)
    acquisition = draw_acquisition(
        stream(settings.seed, index, Stream.ACQUISITION), settings.size, width, noise_scale=difficulty.noise
    )
    return make_scan(settings.seed, index, habitus, plan, acquisition), acquisition, plan


def _write_scan(
    scan: Scan, plan: AcquisitionPlan, settings: CohortSettings, patient: Patient, folder: Path, index: int
) -> None:
    """Write the series: the phantom's frame becomes LPS by adding the table position."""
    z, y, x = scan.grid.origin_mm
    gap, row, column = scan.grid.spacing_mm
    geometry = SeriesGeometry((x, y, z + plan.table_offset_mm), (gap, row, column), plan.thickness_mm)
    tags = SeriesTags(
        patient_id=f"{case_name(index)}-S{settings.seed}",
        sex="F" if patient["is_female"] else "M",
        age_years=float(patient["age"]),
        uid_parts=("myolung phantom", settings.seed, index),
        elements={
            (0x0008, 0x0070): ("LO", plan.vendor.name),
            (0x0008, 0x1090): ("LO", plan.model),
            (0x0018, 0x0060): ("DS", plan.kvp),
            (0x0018, 0x1100): ("DS", plan.field_of_view_mm),
            (0x0018, 0x1210): ("SH", plan.kernel),
        },
        bits_stored=plan.vendor.bits_stored,
        is_signed=plan.vendor.is_signed,
        intercept=plan.vendor.intercept,
    )
    write_series(scan.hu, geometry, tags, folder, stream(settings.seed, index, Stream.FILES))


def _write_mask(labels: NDArray[np.uint8], scan: Scan, plan: AcquisitionPlan, path: Path) -> None:
    """Write labels as NIfTI, RAS affine, the same bytes every time."""
    z, y, x = scan.grid.origin_mm
    gap, row, column = scan.grid.spacing_mm
    affine = np.diag([-column, -row, gap, 1.0])
    affine[:3, 3] = (-x, -y, z + plan.table_offset_mm)
    image = nib.nifti1.Nifti1Image(labels.transpose(2, 1, 0), affine)  # type: ignore[no-untyped-call]  # nibabel is untyped
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def _make_patient(task: tuple[CohortSettings, dict[str, float | str | bool], int, str]) -> dict[str, object]:
    """Scan one patient and write its files. Runs in a worker."""
    settings, patient, index, out = task
    scan, acquisition, plan = _scan_patient(settings, patient, index)
    root, name = Path(out), case_name(index)
    _write_scan(scan, acquisition, settings, patient, root / "scans" / name, index)
    masks = root / "truth" / "masks"
    _write_mask(scan.lungs, scan, acquisition, masks / f"{name}_lungs.nii.gz")
    _write_mask(scan.disease, scan, acquisition, masks / f"{name}_disease.nii.gz")
    lung_ml = float((scan.lungs > 0).sum()) * float(np.prod(scan.grid.spacing_mm)) / 1000
    return {
        "case_id": name,
        "extents_percent": scan.extents,
        "lung_volume_ml": round(lung_ml, 1),
        "disease_plan": asdict(plan),  # type: ignore[call-overload]  # a dataclass handed on as object
        "acquisition": asdict(acquisition),
    }


def _write_tables(out: Path, truths: list[PatientTruth], settings: CohortSettings) -> None:
    """The case table, and what is known of each patient's future."""
    write_case_table(
        out / "cases.csv",
        [truth.case for truth in truths],
        load_antibody_vocabulary(),
        load_covariate_vocabulary(),
    )
    heads = ["case_id", "class", "pattern", "other_kind", "rapid", "antibodies"]
    heads += [f"survival_{int(day)}d" for day in HORIZON_DAYS]
    heads += [f"cif_{cause}_{int(day)}d" for cause in CAUSES for day in HORIZON_DAYS]
    heads += [f"latent_{name}_days" for name in (*CAUSES, "end_of_follow_up")]
    lines = [",".join(heads)]
    classes = load_clinical_settings().classes
    for truth in truths:
        survival, incidence = survival_and_incidence(truth.hazards, HORIZON_DAYS)
        values: list[object] = [truth.case.case_id, classes[int(truth.columns["class_index"])].key]
        values += [truth.columns["pattern"], truth.columns["other_kind"] if truth.columns["pattern"] == "other" else ""]
        values += [int(float(truth.columns["rapid"])), "+".join(truth.antibodies)]
        values += [f"{value:.6f}" for value in (*survival, *incidence.ravel())]
        values += [f"{truth.latent_days[name]:.1f}" for name in (*CAUSES, "end_of_follow_up")]
        lines.append(",".join(str(value) for value in values))
    (out / "truth" / "patients.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    hazards = {truth.case.case_id: truth.hazards.tolist() for truth in truths}
    (out / "truth" / "hazards_per_day.json").write_text(json.dumps(hazards, indent=1) + "\n", encoding="utf-8")


def draw_truths(settings: CohortSettings) -> list[PatientTruth]:
    """All patients before any scan; cheap, so that tables of thousands can be made without images."""
    clinical = load_clinical_settings()
    model = HazardModel(clinical, settings.preset, settings.planted)
    return [_draw_patient(settings, clinical, model, index) for index in range(settings.num_patients)]


def _results(
    tasks: list[tuple[CohortSettings, dict[str, float | str | bool], int, str]], workers: int
) -> Iterator[dict[str, object]]:
    if workers <= 1 or len(tasks) <= 1:
        yield from map(_make_patient, tasks)
        return
    with ProcessPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(_make_patient, tasks)


def generate_cohort(
    out: Path | str,
    *,
    num_patients: int,
    seed: int,
    size: SizeName = "tiny",
    preset: PresetName = "east_asia",
    progress: Progress | None = None,
    **options: object,
) -> Path:
    """Write a synthetic cohort: ``scans/``, ``cases.csv`` and ``truth/``.

    Args:
        out: Target folder; made if missing, refused when it holds another cohort.
        num_patients: Patients, at least 1.
        seed: Seed, >= 0. The same seed and options give the same bytes.
        size: ``tiny``, ``small`` or ``full``.
        preset: ``east_asia`` or ``west``.
        progress: Called with (done, total) after each patient.
        **options: ``difficulty``, ``num_readers``, ``planted``, ``site_prefix`` of ``CohortSettings``; ``workers``.

    Returns:
        The folder.

    Raises:
        OutputFolderError: The folder already holds a case table.
    """
    root = Path(out)
    workers = int(str(options.pop("workers", 1)))
    if (root / "cases.csv").exists():
        raise OutputFolderError(f"{root}: there is a cases.csv already; give an empty folder")
    settings = CohortSettings(seed=seed, num_patients=num_patients, size=size, preset=preset, **options)  # type: ignore[arg-type]
    (root / "truth" / "masks").mkdir(parents=True, exist_ok=True)
    truths = draw_truths(settings)
    tasks = [(settings, dict(truth.columns), truth.index, str(root)) for truth in truths]
    for done, result in enumerate(_results(tasks, workers), start=1):
        path = root / "truth" / f"{result['case_id']}.json"
        path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if progress:
            progress(done, num_patients)
    _write_tables(root, truths, settings)
    (root / "truth" / "cohort.json").write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")
    return root
