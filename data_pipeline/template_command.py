"""``python -m data_pipeline template``: an empty, commented case table for the configured vocabularies."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from domain.antibodies import AntibodyVocabulary, load_antibody_vocabulary
from domain.covariates import CovariateEntry, CovariateVocabulary, load_covariate_vocabulary
from domain.endpoints import Endpoint, load_endpoint
from domain.errors import ExitCode, OutputFolderError
from domain.patterns import load_pattern_vocabulary


def template_text(antibodies: AntibodyVocabulary, covariates: CovariateVocabulary, endpoint: Endpoint) -> str:
    """The table's text: comments, then the header line."""
    events = [*endpoint.censored_events, *(event for cause in endpoint.causes for event in cause.events)]
    patterns = ", ".join(entry.key for entry in load_pattern_vocabulary().patterns)
    notes = [
        "One row per patient and index CT. Lines that begin with # are comments. Blank cells are missing.",
        "case_id: letters, digits, '.', '_', '-'; it names the output files, so put nothing identifying in it.",
        "patient_id: rows of one patient share it. scan: folder or file below SCANS, or a StudyInstanceUID.",
        f"pattern: {patterns}; or one column pattern_<reader> per reader.",
        "ab_<antibody>: positive, negative or not_tested (blank = not_tested; not on the panel = not_tested).",
        "   optional beside it: ab_<antibody>_grade (-, (+), +, ++, +++), _assay, _day (days from the CT, <= 0).",
        *(f"{entry.column}: {_describe(entry)}" for entry in covariates.covariates),
        f"{endpoint.time_column}: days from the index CT to the event or last contact. "
        f"{endpoint.event_column}: {', '.join(events)}.",
        "Only inputs known on the day of the CT. Columns that begin with x_ are yours and are not read.",
    ]
    header = ["case_id", "patient_id", "scan", "site", "pattern"]
    header += [entry.column for entry in antibodies.antibodies]
    header += [entry.column for entry in covariates.covariates]
    header += [endpoint.time_column, endpoint.event_column]
    return "\n".join([*(f"# {note}" for note in notes), ",".join(header), ""])


def _describe(entry: CovariateEntry) -> str:
    if entry.levels:
        return f"{entry.name}; one of {', '.join(entry.levels)}"
    others = [f"{entry.key}_{unit}" for unit in entry.other_units]
    low, high = entry.plausible_range
    return f"{entry.name}; {low:g} to {high:g}" + (f"; or {', '.join(others)}" if others else "")


def run(args: argparse.Namespace) -> ExitCode:
    """Write the template; never over an existing file."""
    out: Path = args.out
    if out.exists():
        raise OutputFolderError(f"{out} exists already; choose another name, so that no table of yours is lost")
    text = template_text(
        load_antibody_vocabulary(args.antibodies), load_covariate_vocabulary(args.covariates),
        load_endpoint(args.endpoint),
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    return ExitCode.OK


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "template",
        help="write an empty, commented case table",
        description="Write an empty case table with one column per antibody, covariate and outcome.",
        epilog="example: python -m data_pipeline template --out cases.csv",
    )
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--antibodies", default="antibodies", help="shipped vocabulary or your YAML file")
    parser.add_argument("--covariates", default="covariates", help="shipped vocabulary or your YAML file")
    parser.add_argument("--endpoint", default="course", help="shipped endpoint or your YAML file")
    parser.set_defaults(run=run)
