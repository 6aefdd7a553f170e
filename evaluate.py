"""Two tables in, numbers and a page out: ``python evaluate.py PREDICTIONS --cases cases.csv --out OUT``.

Needs no torch and no GPU: an outside cohort can be scored from two tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_pipeline.manifest import read_cases
from domain.antibodies import load_antibody_vocabulary
from domain.command_line import RESEARCH_NOTICE, configure_logging, run_command
from domain.covariates import load_covariate_vocabulary
from domain.endpoints import Endpoint, load_endpoint
from domain.errors import ExitCode, InputError, OutputFolderError
from domain.patterns import load_pattern_vocabulary
from domain.records import Case, is_synthetic
from domain.settings import EvaluateSettings
from domain.strict_yaml import validate
from evaluation.evaluate_predictions import default_context, evaluate
from reports import evaluation_page

EXAMPLE = """examples:
  python evaluate.py out/predictions.csv --cases cases.csv --out out/evaluation
  python evaluate.py out/predictions.csv --cases cases.csv --training-cases training.csv \\
      --training-predictions runs/mine/out_of_fold.csv --out out/evaluation
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line of the contract."""
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description=f"Discrimination, calibration and comparators with intervals. {RESEARCH_NOTICE}",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("predictions", type=Path, help="predictions.csv or .parquet of infer.py")
    parser.add_argument("--cases", type=Path, required=True, help="case table with patterns and outcomes")
    parser.add_argument("--out", type=Path, required=True, help="receives report.html, evaluation.json, metrics.csv")
    parser.add_argument(
        "--training-cases", type=Path, help="table to fit the comparators on; else they are cross-fitted"
    )
    parser.add_argument("--training-predictions", type=Path, help="out_of_fold.csv of train.py, for image comparators")
    parser.add_argument("--endpoint", default="course", help="shipped endpoint or your YAML file")
    parser.add_argument("--antibodies", default="antibodies", help="shipped vocabulary or your YAML file")
    parser.add_argument("--covariates", default="covariates", help="shipped vocabulary or your YAML file")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples behind the intervals")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="say more on screen")
    return parser.parse_args(arguments)


def read_predictions(path: Path) -> pd.DataFrame:
    """A predictions table, CSV or Parquet; ``case_key`` stays text.

    Raises:
        InputError: Missing, unreadable, or not a predictions table.
    """
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"case_key": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a predictions table: {error}") from error
    if "case_key" not in table.columns:
        raise InputError(f"{path}: has no column case_key; is it the predictions.csv of infer.py?")
    return table


def read_table(path: Path, args: argparse.Namespace, endpoint: Endpoint) -> tuple[Case, ...]:
    """A case table in the vocabularies of the command line."""
    antibodies, covariates = load_antibody_vocabulary(args.antibodies), load_covariate_vocabulary(args.covariates)
    return read_cases(path, antibodies, covariates, load_pattern_vocabulary(), endpoints=(endpoint,))


def make_folder(path: Path) -> None:
    """The folder of the results: whether it can be made is known before anything is computed.

    Raises:
        OutputFolderError: It is a file, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "is a file" if path.is_file() else f"cannot be made ({error.strerror})"
        raise OutputFolderError(f"--out {path}: {why}; give a folder for the results") from error


def main(arguments: Sequence[str]) -> ExitCode:
    """Evaluate and write; say on screen where to look."""
    args = parse(arguments)
    configure_logging(verbose=args.verbose)
    endpoint = load_endpoint(args.endpoint)
    choices = {"endpoint": args.endpoint, "num_bootstrap": args.bootstrap, "seed": args.seed}
    settings = validate(EvaluateSettings, choices, source="command line")
    predictions = read_predictions(args.predictions)
    cases = read_table(args.cases, args, endpoint)
    training = read_table(args.training_cases, args, endpoint) if args.training_cases else None
    words = predictions.get("trained_on", pd.Series(dtype=str)).dropna().unique()
    trained_on = ", ".join(sorted(map(str, words)))
    context = default_context(
        antibodies=load_antibody_vocabulary(args.antibodies),
        covariates=load_covariate_vocabulary(args.covariates),
        training_cases=training,
        training_predictions=read_predictions(args.training_predictions) if args.training_predictions else None,
        trained_on=trained_on,
        is_synthetic=is_synthetic(trained_on),
    )
    make_folder(args.out)
    result = evaluate(predictions, cases, endpoint, settings, context)
    evaluation_page.write(result, args.out / "report.html")
    for name, figure in result.headline().items():
        print(f"{name}: {figure}")
    print(f"look at {args.out / 'report.html'}")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
