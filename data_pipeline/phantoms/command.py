"""``python -m data_pipeline phantoms``: a synthetic cohort in the shape of the contract."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_pipeline.phantoms.acquisition import PROTOCOL_NAMES, SIZE_NAMES
from data_pipeline.phantoms.cohort import generate_cohort
from data_pipeline.phantoms.disease_plan import DIFFICULTIES
from data_pipeline.phantoms.hazards import Planted
from domain.errors import ExitCode


def add_parser(subparsers: Any) -> None:
    """Add the command to ``python -m data_pipeline``."""
    parser = subparsers.add_parser(
        "phantoms",
        help="write synthetic patients: DICOM scans, case table, known truth",
        description="Writes DIR/scans (DICOM), DIR/cases.csv and DIR/truth. Test material: no clinical claim follows.",
        epilog="example: python -m data_pipeline phantoms --out runs/cohort --patients 40 --seed 7 --size tiny",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write; must hold no cases.csv yet"
    )
    parser.add_argument("--patients", type=_positive, required=True, metavar="N", help="number of patients")
    parser.add_argument(
        "--without-scan", type=_not_negative, default=0, metavar="N", help="further patients, in the table only"
    )
    parser.add_argument(
        "--seed", type=_not_negative, required=True, metavar="S", help="the same seed gives the same bytes"
    )
    parser.add_argument("--size", choices=SIZE_NAMES, default="tiny", help="96, 224 or 512 rows (default: tiny)")
    parser.add_argument(
        "--preset", choices=["east_asia", "west"], default="east_asia", help="mix of antibodies and courses"
    )
    parser.add_argument(
        "--difficulty", choices=list(DIFFICULTIES), default="realistic", help="how textbook-like the scans are"
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOL_NAMES,
        default="hrct",
        help="varied adds thick, sequential, contrast, prone scans",
    )
    parser.add_argument(
        "--readers", type=int, choices=range(4), default=0, help="noisy pattern columns; 0: the true pattern"
    )
    parser.add_argument(
        "--workers",
        type=_positive,
        default=None,
        help="processes (default: 2 where it pays); the bytes do not depend on it",
    )
    parser.add_argument(
        "--era", choices=["modern", "triple", "stepup"], default="modern", help="treatment of MDA5 disease"
    )
    parser.add_argument("--no-interactions", action="store_true", help="plant no antibody x image interaction")
    parser.add_argument("--no-image-effect", action="store_true", help="the image says nothing of the outcome")
    parser.add_argument(
        "--shortcut", type=_share, default=0.0, metavar="P", help="share whose scanner gives the pattern away"
    )
    parser.add_argument("--follow-up", type=_share, default=0.0, metavar="P", help="share with a second scan")
    parser.add_argument(
        "--scanners",
        type=_names,
        default=(),
        metavar="A,B",
        help="vendors the scans come from, so that a test cohort can come from others (default: all)",
    )
    parser.add_argument("--compression", choices=["none", "jpegls"], default="none", help="of the DICOM pixels")
    parser.set_defaults(run=run)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {value}")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, found {value}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, found {value}")
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def run(args: argparse.Namespace) -> ExitCode:
    """Write the cohort, with progress on the screen."""
    console = Console(stderr=True)
    columns = (TextColumn("synthetic patients"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    planted = Planted(not args.no_image_effect, not args.no_interactions and not args.no_image_effect, args.era)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("patients", total=args.patients)
        folder = generate_cohort(
            args.out,
            num_patients=args.patients,
            seed=args.seed,
            size=args.size,
            preset=args.preset,
            difficulty=args.difficulty,
            num_readers=args.readers,
            workers=args.workers,
            num_without_scan=args.without_scan,
            protocol=args.protocol,
            planted=planted,
            shortcut=args.shortcut,
            follow_up_share=args.follow_up,
            compression=args.compression,
            scanners=args.scanners,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(f"{args.patients} synthetic patients in {folder}: scans/, cases.csv, truth/")
    return ExitCode.OK
