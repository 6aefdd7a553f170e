"""``python -m data_pipeline COMMAND``: hands the arguments to the command's module. Does no work itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from domain.command_line import RESEARCH_NOTICE, configure_logging, run_command

COMMANDS = {
    "inspect": "data_pipeline.inspect_command",
    "export": "data_pipeline.export_command",
    "phantoms": "data_pipeline.phantoms.command",
    "template": "data_pipeline.template_command",
}


def build_parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of the command that is asked for, or of all of them: each brings its own libraries."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipeline",
        description="From scan folders to volumes, synthetic patients and case tables.",
        epilog=f"{RESEARCH_NOTICE} Example: python -m data_pipeline inspect /data/hospital",
    )
    parser.add_argument("--verbose", action="store_true", help="say more on the error stream; never names a patient")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = [name for name in arguments if name in COMMANDS][:1] or list(COMMANDS)
    for name in asked:
        import_module(COMMANDS[name]).add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    parsed = build_parser(given).parse_args(given)
    configure_logging(verbose=parsed.verbose)
    return run_command(lambda: parsed.run(parsed))


if __name__ == "__main__":
    sys.exit(main())
