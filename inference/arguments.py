"""Command line of ``infer.py``. What the options do is in ``infer.py`` and the rooms."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from domain.command_line import RESEARCH_NOTICE
from domain.errors import InputError, ScanFolderError
from domain.settings import InferSettings
from domain.strict_yaml import validate

EXAMPLE = """examples:
  python infer.py scans --model runs/demo/training/model.hrct --out out
  python infer.py scans --model model.hrct --cases cases.csv --out out --device cuda
  python infer.py scans --quantify-only --out out                     (lungs and quantitative CT, no model)
  python infer.py scans --model model.hrct --out out --shard 3/16     (one of 16 array jobs)
  python infer.py --merge out --out out                               (once all of them have ended)
  python infer.py incoming --model model.hrct --out out --listen 11112

exit codes: 0 every study has a prediction (abstentions included); 1 some were rejected or failed, all listed in
failures.csv, or some series could not be fetched; 2 nothing was run; 130 interrupted, run the same command again to
go on
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line of the contract, checked for what contradicts itself.

    Raises:
        InputError: A folder or file is missing, or two options exclude each other.
    """
    parser = argparse.ArgumentParser(
        prog="infer.py",
        description=f"Pattern and prognosis of every study in a folder of scans. {RESEARCH_NOTICE}",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "scans", type=Path, nargs="?", help="folder (nested, mixed), DICOM file, zip, NIfTI file or folder of them"
    )
    parser.add_argument("--model", type=Path, help="model folder (*.hrct)")
    parser.add_argument("--out", type=Path, required=True, help="output folder; running again goes on where it stopped")
    parser.add_argument("--cases", type=Path, help="case table with antibodies and covariates (docs/case_table.md)")
    parser.add_argument("--selection", type=Path, metavar="FILE", help="your own choice of series (docs/ingestion.md)")
    parser.add_argument("--policy", default="policy", metavar="FILE", help="quality policy, a YAML file of your own")
    parser.add_argument("--quantify-only", action="store_true", help="lungs and quantitative CT; needs no model")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--formats",
        default="csv,json,html,parquet",
        help="which outputs, a comma list; dicom adds SR and SEG under OUT/private/dicom (extra dicom-out)",
    )
    parser.add_argument("--secret", help="key secret of another run (its private/secret.txt), to share case keys")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and how long it would take")
    parser.add_argument("--verbose", action="store_true", help="say more on screen")
    _add_scale(parser)
    _add_incoming(parser)
    args = parser.parse_args(arguments)
    _check(args)
    return args


def _add_scale(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("many scans")
    group.add_argument("--engine", choices=("local", "ray"), default="local", help="processes here, or a Ray cluster")
    group.add_argument(
        "--network-process",
        choices=("auto", "each", "shared"),
        default="auto",
        help="each worker runs the network, or one process per GPU does for all, in batches; auto: shared on a GPU",
    )
    group.add_argument("--workers", type=int, default=0, help="worker processes; 0 chooses from cores and memory")
    group.add_argument("--study-timeout-s", type=float, default=600.0, help="a study that takes longer is stopped")
    group.add_argument("--study-memory-gib", type=float, default=8.0, help="a study that needs more is stopped")
    group.add_argument("--shard", type=shard, metavar="i/n", help="run the i-th of n parts (array jobs)")
    group.add_argument("--merge", type=Path, nargs="+", metavar="OUT", help="put the parts of a sharded run together")


def _add_incoming(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scans that arrive")
    group.add_argument("--watch", action="store_true", help="follow SCANS; run a study once it has stopped growing")
    group.add_argument("--quiet-s", type=float, default=30.0, help="unchanged for so long is complete")
    group.add_argument("--poll-s", type=float, default=5.0, help="between two looks at the folder")
    group.add_argument("--listen", type=int, metavar="PORT", help="receive by DICOM C-STORE into SCANS (extra pacs)")
    group.add_argument("--listen-host", default="127.0.0.1", help="address to listen on")
    group.add_argument("--ae-title", default="MYOLUNG", help="our application entity title")
    group.add_argument("--from-dicomweb", metavar="URL", help="fetch into SCANS from a DICOMweb server (extra pacs)")
    group.add_argument(
        "--query", nargs="*", default=[], metavar="A=v", help="which series to fetch, StudyDate=20240101- for instance"
    )
    group.add_argument("--send-back", action="store_true", help="store DICOM results on the --from-dicomweb server")


def shard(text: str) -> tuple[int, int]:
    """``i/n`` of the command line."""
    part, separator, parts = text.partition("/")
    if not (separator and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected i/n with 1 <= i <= n, found {text!r}")
    return int(part), int(parts)


def settings_of(args: argparse.Namespace) -> InferSettings:
    """The settings among the options.

    Raises:
        SettingsError: One of them is out of range.
    """
    values = {
        "device": args.device,
        "engine": args.engine,
        "network_process": args.network_process,
        "num_workers": args.workers,
        "formats": args.formats.split(","),
        "study_timeout_s": args.study_timeout_s,
        "study_memory_gib": args.study_memory_gib,
    }
    return validate(InferSettings, values, source="command line")


def _check(args: argparse.Namespace) -> None:
    if args.merge:
        return
    if args.scans is None or (args.model is None) != args.quantify_only:
        raise InputError(
            "SCANS and either --model or --quantify-only are needed; `python infer.py --help` shows examples"
        )
    receives = args.listen is not None or args.from_dicomweb is not None
    if receives:
        args.scans.mkdir(parents=True, exist_ok=True)
    if not args.scans.exists():
        raise ScanFolderError(f"{args.scans}: no such file or folder")
    if args.cases is not None and not args.cases.is_file():
        raise InputError(f"{args.cases}: no such case table; `python -m data_pipeline template` writes one to fill")
    if args.send_back and (args.from_dicomweb is None or "dicom" not in args.formats.split(",")):
        raise InputError("--send-back needs --from-dicomweb URL and --formats with dicom in it")
    if args.shard is not None and (args.watch or args.listen is not None):
        raise InputError("--shard divides a folder that is complete; it cannot be combined with --watch or --listen")
