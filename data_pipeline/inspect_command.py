"""``python -m data_pipeline inspect``: what is in a folder of scans, from headers alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_pipeline.discovery import Survey, survey
from data_pipeline.quality import QualityPolicy, load_policy
from data_pipeline.selection import SelectionOverrides
from data_pipeline.series_keys import secret_of_folder
from data_pipeline.tables import files_csv, screen_lines, series_csv, summary_line
from data_pipeline.volume_reading import read_volume
from domain.errors import ExitCode, OutputFolderError, ScanFolderError, StudyError
from domain.findings import Decision, decide
from domain.records import SeriesRef
from domain.strict_yaml import load_settings
from domain.whole_files import write_whole

EXAMPLE = "example: python -m data_pipeline inspect /data/hospital --out listing"


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "inspect",
        help="list the series of a folder, each with its codes and the reason it was chosen or not",
        description="Scans headers only, unless --voxels. Exit 0 also when every series is rejected.",
        epilog=EXAMPLE,
    )
    add_scan_arguments(parser)
    parser.add_argument("--out", type=Path, help="folder for series.csv and files.csv; they name paths: keep private")
    parser.add_argument(
        "--voxels", action="store_true", help="also read the chosen series and judge their voxels: HU, lungs, coverage"
    )
    parser.set_defaults(run=run)


def add_scan_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments shared by commands that look for series."""
    parser.add_argument("scans", type=Path, metavar="SCANS", help="folder, DICOM file, zip, NIfTI or MetaImage file")
    parser.add_argument("--policy", default="policy", metavar="FILE", help="quality policy, a YAML file of your own")
    parser.add_argument("--selection", type=Path, metavar="FILE", help="your own choice of series, a YAML file")
    parser.add_argument("--secret-file", type=Path, metavar="FILE", help="secret that makes keys the same in two runs")


def survey_options(arguments: argparse.Namespace, private_dir: Path | None) -> dict[str, Any]:
    """Options of ``survey`` from the arguments.

    Raises:
        OutputFolderError: The secret cannot be kept.
        SettingsError: Policy or selection is wrong.
    """
    options: dict[str, Any] = {"policy": load_policy(arguments.policy)}
    if arguments.selection:
        options["overrides"] = load_settings(SelectionOverrides, arguments.selection)
    try:
        if arguments.secret_file:
            options["secret"] = arguments.secret_file.read_bytes().strip()
        elif private_dir is not None:
            options["secret"] = secret_of_folder(private_dir)
    except OSError as error:
        raise OutputFolderError(f"the secret cannot be read or kept: {error.strerror}") from error
    return options


def survey_folder(scans: Path, options: dict[str, Any]) -> Survey:
    """Survey with a count on the screen for trees that take a while.

    Raises:
        ScanFolderError: No such folder, or not a single file in it.
    """
    is_watched = sys.stderr.isatty()

    def show(done: int) -> None:
        if is_watched:
            sys.stderr.write(f"\r{done} files scanned")

    found = survey(scans, progress=show, **options)
    if is_watched:
        sys.stderr.write("\r")
    if not found.files:
        raise ScanFolderError(f"{scans}: holds no file")
    return found


def judge_voxels(listed: Sequence[SeriesRef], policy: QualityPolicy) -> tuple[SeriesRef, ...]:
    """The chosen series with what their voxels say added; where one fails, the next best one is chosen instead."""
    judged: dict[str, SeriesRef] = {}
    for chosen in listed:
        tries = (chosen, *chosen.alternatives) if chosen.selected else ()
        for series in tries:
            judged[series.series_key] = _judged(series, policy)
            if judged[series.series_key].selected:
                break
    return tuple(judged.get(series.series_key, series) for series in listed)


def _judged(series: SeriesRef, policy: QualityPolicy) -> SeriesRef:
    try:
        findings = read_volume(series, policy=policy).findings
    except StudyError as error:
        finding = policy.finding(error.code, error.message)
        findings, message = (*series.findings, finding), f"rejected on its voxels: {error.message}"
        return replace(series, findings=findings, decision=Decision.REJECT, selected=False, message=message)
    message = series.message if series.selected else f"chosen after the first one failed; was {series.message}"
    return replace(series, findings=findings, decision=decide(findings), selected=True, message=message)


def run(arguments: argparse.Namespace) -> ExitCode:
    """List the series."""
    options = survey_options(arguments, arguments.out / "private" if arguments.out else None)
    found = survey_folder(arguments.scans, options)
    if arguments.voxels:
        found = replace(found, series=judge_voxels(found.series, options["policy"]))
    sys.stdout.write("\n".join([*screen_lines(found.series), summary_line(found.series, found.files), ""]))
    if arguments.out:
        try:
            write_whole(arguments.out / "series.csv", series_csv(found.series))
            write_whole(arguments.out / "files.csv", files_csv(found.files))
        except OSError as error:
            raise OutputFolderError(f"{arguments.out}: cannot be written: {error.strerror}") from error
    return ExitCode.OK
