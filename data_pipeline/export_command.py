"""``python -m data_pipeline export``: each chosen series as NIfTI and JSON, nothing identifying in either."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_pipeline.case_matching import group_studies
from data_pipeline.deidentify import AUDIT_COLUMNS, export_deidentified
from data_pipeline.inspect_command import add_scan_arguments, survey_folder, survey_options
from data_pipeline.nifti_writer import nifti_bytes
from data_pipeline.tables import csv_text, files_csv, series_csv
from data_pipeline.volume_reading import read_study
from domain.errors import ExitCode, OutputFolderError, StudyError
from domain.records import FindingRecord, SeriesRef
from domain.volume import Volume
from domain.whole_files import write_whole

EXAMPLE = "example: python -m data_pipeline export /data/hospital --out volumes"
FAILURE_COLUMNS = ("series_key", "stage", "code", "message")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "export",
        help="write each chosen series as int16 HU NIfTI with a JSON of its facts",
        description="Files are named by key; OUT/private/ holds what links keys to the source.",
        epilog=EXAMPLE,
    )
    add_scan_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--deidentify",
        action="store_true",
        help="write pseudonymised DICOM copies instead (PS3.15 basic profile, dates shifted per patient); text burned "
        "into pixels beside the patient is looked for and reported, not removed",
    )
    parser.set_defaults(run=run)


Failure = dict[str, str]


def run(arguments: argparse.Namespace) -> ExitCode:
    """Export every chosen series; one that fails is listed and the rest go on, and so is a study without any."""
    options = survey_options(arguments, arguments.out / "private")
    found = survey_folder(arguments.scans, options)
    chosen = [series for series in found.series if series.selected]
    refused = [study for study in group_studies(found.series) if study.chosen is None]
    write = _copy_as_dicom if arguments.deidentify else _export
    failures: list[Failure] = []
    try:
        write_whole(arguments.out / "private" / "series.csv", series_csv(found.series))
        write_whole(arguments.out / "private" / "files.csv", files_csv(found.files))
        for index, series in enumerate(chosen, start=1):
            outcome = _attempt(write, series, arguments.out, options, failures)
            sys.stdout.write(f"[{index}/{len(chosen)}] {series.series_key}: {outcome}\n")
            sys.stdout.flush()
        rows = [*failures, *(_failure(study.fullest.series_key, study.refusal()) for study in refused)]
        write_whole(arguments.out / "failures.csv", csv_text(FAILURE_COLUMNS, rows))
    except OSError as error:
        raise OutputFolderError(f"{arguments.out}: cannot be written: {error.strerror}") from error
    sys.stdout.write(f"{len(chosen) - len(failures)} series exported, {len(failures)} failed, ")
    sys.stdout.write(f"{len(refused)} studies without a usable series\n")
    return ExitCode.SOME_FAILED if failures or refused else ExitCode.OK


def _attempt(
    write: Callable[[SeriesRef, Path, dict[str, Any]], str],
    series: SeriesRef,
    out: Path,
    options: dict[str, Any],
    failures: list[Failure],
) -> str:
    """Write one series; a word for the screen."""
    try:
        return write(series, out, options)
    except StudyError as error:
        failures.append(_failure(series.series_key, error))
        return f"not exported, {error.code.value}: {error.message}"


def _failure(series_key: str, error: StudyError) -> Failure:
    return dict(zip(FAILURE_COLUMNS, (series_key, error.stage.value, error.code.value, error.message), strict=True))


def _export(series: SeriesRef, out: Path, options: dict[str, Any]) -> str:
    series, volume = read_study(series, policy=options["policy"])
    write_whole(out / f"{series.series_key}.nii.gz", nifti_bytes(volume))
    write_whole(out / f"{series.series_key}.json", json.dumps(facts_of(series, volume), indent=1) + "\n")
    return f"{volume.voxels.shape[2]} slices"


def _copy_as_dicom(series: SeriesRef, out: Path, options: dict[str, Any]) -> str:
    audit = export_deidentified(series, out / "dicom" / series.series_key, options["secret"])
    rows = audit.rows(series.series_key)
    write_whole(out / "private" / f"audit_{series.series_key}.csv", csv_text(AUDIT_COLUMNS, rows))
    if audit.notes[-1].startswith("WARNING"):
        sys.stderr.write(f"{series.series_key}: {audit.notes[-1]}\n")
    return f"{len(series.files)} files; {audit.notes[-1]}"


def facts_of(series: SeriesRef, volume: Volume) -> dict[str, Any]:
    """Facts of an exported volume: no name, UID, date or path."""
    acquisition = volume.acquisition
    return {
        "format_version": 1,
        "series_key": series.series_key,
        "study_key": series.study_key,
        "message": series.message,
        "shape": list(volume.voxels.shape),
        "spacing_mm": list(volume.affine.spacing_mm),
        "affine_ras_mm": volume.affine.matrix.tolist(),
        "orientation": volume.affine.orientation,
        "content_digest": volume.content_digest,
        "acquisition": {**asdict(acquisition), "kernel_class": acquisition.kernel_class.value},
        "header": {key: value for key, value in asdict(series.table).items() if key != "num_files"},
        "findings": [FindingRecord.of(finding).model_dump(mode="json") for finding in volume.findings],
    }
