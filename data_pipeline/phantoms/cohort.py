"""A whole synthetic cohort: settings in, a folder in the shape of the contract out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.phantoms.acquisition import AcquisitionPlan, SizeName, draw_acquisition
from data_pipeline.phantoms.clinical_settings import PresetName
from data_pipeline.phantoms.dicom_writer import SeriesTags
from data_pipeline.phantoms.disease_plan import DIFFICULTIES, plan_disease
from data_pipeline.phantoms.disease_settings import load_disease_settings
from data_pipeline.phantoms.disease_types import DiseasePlan
from data_pipeline.phantoms.follow_up import draw_follow_up, later_case, later_plan
from data_pipeline.phantoms.habitus import Habitus, draw_habitus
from data_pipeline.phantoms.patients import CohortSettings, Patient, PatientTruth, case_name, draw_truths
from data_pipeline.phantoms.randomness import Stream, stream
from data_pipeline.phantoms.scan import Later, Scan, make_scan
from data_pipeline.phantoms.scan_writer import write_mask, write_scan
from data_pipeline.phantoms.truth_tables import write_cases, write_json, write_truth
from domain.errors import InputError, OutputFolderError
from domain.patterns import PATTERNS, Pattern
from domain.records import Case

WALL_MM = 14.0  # ribs, skin and a little air: the field of view is a little wider than the body
WORTH_TWO_PROCESSES = 8  # scans; below, starting a process costs more than it saves
FOLLOW_UP_INDEX = 1_000_000  # streams of a second scan: those of a patient nobody else is
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ScanTask:
    """One scan to make. Plain values: it crosses to a worker process."""

    settings: CohortSettings
    patient: dict[str, float | str | bool]
    index: int
    name: str
    out: str
    follow_up_course: str = ""


@dataclass(frozen=True, slots=True)
class PlannedScan:
    """Everything drawn for one scan."""

    habitus: Habitus
    disease: DiseasePlan
    acquisition: AcquisitionPlan


def plan_scan(settings: CohortSettings, patient: Patient, index: int) -> PlannedScan:
    """Draw body, disease and acquisition of one patient, each from its own stream."""
    difficulty = DIFFICULTIES[settings.difficulty]
    disease = plan_disease(patient, difficulty, stream(settings.seed, index, Stream.DISEASE))
    rng = stream(settings.seed, index, Stream.ACQUISITION)
    forced = PATTERNS.index(Pattern(str(patient["pattern"]))) if rng.random() < settings.shortcut else None
    anatomy = stream(settings.seed, index, Stream.ANATOMY)
    facts = {"is_female": bool(patient["is_female"]), "age_years": float(patient["age"])}
    habitus = draw_habitus(anatomy, volume_loss=disease.volume_loss, **facts)  # type: ignore[arg-type]  # typed above
    width = 2 * (habitus.chest_half_width + habitus.fat + habitus.muscle + WALL_MM)
    acquisition = draw_acquisition(
        rng,
        settings.size,
        width,
        protocol=settings.protocol,
        noise_scale=difficulty.noise,
        vendor_index=forced,
        scanners=settings.scanners,
    )
    if acquisition.is_prone or acquisition.is_expiratory:
        habitus = draw_habitus(
            stream(settings.seed, index, Stream.ANATOMY),
            volume_loss=disease.volume_loss,
            is_prone=acquisition.is_prone,
            is_expiratory=acquisition.is_expiratory,
            **facts,  # type: ignore[arg-type]  # typed above
        )
    return PlannedScan(habitus, disease, acquisition)


def make_planned_scan(
    settings: CohortSettings, planned: PlannedScan, index: int, *, later: Later | None = None
) -> Scan:
    """Build and scan what was planned; ``later`` makes it a second scan."""
    return make_scan(settings.seed, index, planned.habitus, planned.disease, planned.acquisition, later=later)


def plan_second_scan(planned: PlannedScan, course_name: str, index: int) -> tuple[PlannedScan, Later]:
    """What a second scan shows, and what it keeps of the first one.

    Args:
        planned: The first scan.
        course_name: ``improved``, ``stable`` or ``worse``.
        index: 0-based index of the patient.
    """
    settings = load_disease_settings().follow_up
    course = settings.course(course_name)
    disease = later_plan(planned.disease, course, settings.most)
    later = Later(planned.disease, course.consolidation, index + FOLLOW_UP_INDEX)
    return PlannedScan(planned.habitus, disease, planned.acquisition), later


def _make(task: ScanTask) -> dict[str, Any]:
    """Make one scan and write its files. Runs in a worker; what it writes depends on the task only."""
    settings, root = task.settings, Path(task.out)
    planned = plan_scan(settings, task.patient, task.index)
    later = None
    if task.follow_up_course:
        planned, later = plan_second_scan(planned, task.follow_up_course, task.index)
    scan = make_planned_scan(settings, planned, task.index, later=later)
    index = later.stream_index if later else task.index
    identity = SeriesTags(
        patient_id=f"{case_name(task.index)}-S{settings.seed}",
        sex="F" if task.patient["is_female"] else "M",
        age_years=float(task.patient["age"]),
        uid_parts=("myolung phantom", settings.seed, index),
    )
    files = stream(settings.seed, index, Stream.FILES)
    folder = root / "scans" / task.name
    write_scan(scan, planned.acquisition, identity, folder, files, compression=settings.compression)
    masks = root / "truth" / "masks"
    write_mask(scan.lungs, scan, planned.acquisition, masks / f"{task.name}_lungs.nii.gz")
    write_mask(scan.disease, scan, planned.acquisition, masks / f"{task.name}_disease.nii.gz")
    volume_ml = float((scan.lungs > 0).sum()) * float(np.prod(scan.grid.spacing_mm)) / 1000
    return {
        "case_id": task.name,
        "extents_percent": scan.extents,
        "course": task.follow_up_course,
        "lung_volume_ml": round(volume_ml, 1),
        **asdict(planned),
    }


def _num_workers(asked: int | None, num_tasks: int) -> int:
    """Processes to use."""
    if asked is not None:
        return asked
    return 2 if num_tasks >= WORTH_TWO_PROCESSES and (os.cpu_count() or 1) > 1 else 1


def _results(tasks: list[ScanTask], workers: int) -> Iterator[dict[str, Any]]:
    if workers <= 1 or len(tasks) <= 1:
        yield from map(_make, tasks)
        return
    with ProcessPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(_make, tasks)


def _follow_ups(
    settings: CohortSettings, truths: Iterable[PatientTruth], root: Path
) -> tuple[list[ScanTask], list[Case]]:
    """Second scans: tasks, and rows of their own table."""
    tasks, cases = [], []
    for truth in truths:
        found = draw_follow_up(truth, settings.follow_up_share, stream(settings.seed, truth.index, Stream.FOLLOW_UP))
        if found and truth.case.scan:
            day, course = found
            case = later_case(truth.case, day)
            cases.append(case)
            tasks.append(ScanTask(settings, dict(truth.columns), truth.index, case.case_id, str(root), course))
    return tasks, cases


def generate_cohort(
    out: Path | str,
    *,
    num_patients: int,
    seed: int,
    size: SizeName = "tiny",
    preset: PresetName = "east_asia",
    workers: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Path:
    """Write a synthetic cohort: ``scans/``, ``cases.csv`` and ``truth/``; second scans under ``follow_up/``.

    Args:
        out: Target folder; made if missing, refused when it holds another cohort.
        num_patients: Patients, at least 1.
        seed: Seed, >= 0. The same seed and options give the same bytes, whatever the number of workers.
        size: ``tiny``, ``small`` or ``full``.
        preset: ``east_asia`` or ``west``.
        workers: Processes; where not given, 2 for at least 8 scans on a machine that has them, else 1.
        progress: Called with (done, total) after each scan.
        **options: Further fields of ``CohortSettings``.

    Returns:
        The folder.

    Raises:
        InputError: Fewer than one patient, or a negative seed.
        OutputFolderError: The folder already holds a case table.
    """
    if num_patients < 1 or seed < 0:
        raise InputError(f"a cohort needs at least 1 patient and a seed of 0 or more, found {num_patients} and {seed}")
    root = Path(out)
    if (root / "cases.csv").exists():
        raise OutputFolderError(f"{root}: there is a cases.csv already; give an empty folder")
    settings = CohortSettings(seed=seed, num_patients=num_patients, size=size, preset=preset, **options)
    (root / "truth").mkdir(parents=True, exist_ok=True)
    truths = draw_truths(settings)
    tasks = [
        ScanTask(settings, dict(truth.columns), truth.index, truth.case.case_id, str(root))
        for truth in truths
        if truth.case.scan
    ]
    later, later_cases = _follow_ups(settings, truths, root / "follow_up")
    for done, result in enumerate(_results(tasks + later, _num_workers(workers, len(tasks))), start=1):
        owner = root if done <= len(tasks) else root / "follow_up"
        write_json(owner / "truth" / f"{result['case_id']}.json", result)
        if progress:
            progress(done, len(tasks) + len(later))
    if later_cases:
        write_cases(root / "follow_up" / "cases.csv", later_cases)
    write_truth(root / "truth", truths, asdict(settings))
    # The case table comes last: a folder with one is a finished cohort.
    write_cases(root / "cases.csv", [truth.case for truth in truths])
    return root
