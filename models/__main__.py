"""`python -m models verify|card|predict|export MODEL.hrct`: check a model folder, print its card, use it on a table."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from domain.command_line import configure_logging, run_command
from domain.errors import ExitCode
from domain.whole_files import write_whole

REFERENCE_MODEL = Path(__file__).parent / "reference" / "synthetic.hrct"


def verify(arguments: argparse.Namespace) -> ExitCode:
    """Check hashes, load, run the self-test."""
    from models.artefact import load_artefact, versions_text

    started = time.monotonic()
    artefact = load_artefact(arguments.model, device=arguments.device)
    manifest = artefact.manifest
    network = "none: a prognostic head alone, without self-test"
    if manifest.model is not None:
        network = f"{manifest.model.backbone.name}, {len(artefact.predictor.members)} member(s)"
    print(f"{arguments.model}: intact, and its self-test agrees ({time.monotonic() - started:.1f} s)")
    print(f"  trained on       {manifest.trained_on}")
    print(f"  network          {network}")
    print(f"  prognosis        {', '.join(artefact.prognostic_models) or 'none'}")
    print(f"  written with     {versions_text(manifest)}")
    print(f"  digest           {manifest.digest}")
    return ExitCode.OK


def card(arguments: argparse.Namespace) -> ExitCode:
    """Print the model card."""
    from models.artefact_format import CARD_NAME, read_manifest

    folder = Path(arguments.model)
    read_manifest(folder)
    print((folder / CARD_NAME).read_text(encoding="utf-8"))
    return ExitCode.OK


def predict(arguments: argparse.Namespace) -> ExitCode:
    """Prognosis of the rows of a case table, without any scan."""
    from models.artefact import load_artefact
    from models.prognosis.table_predictions import predict_table

    artefact = load_artefact(arguments.model, device="cpu", with_self_test=False)
    manifest = artefact.manifest
    table = predict_table(
        artefact.prognostic_models,
        arguments.cases,
        arguments.features,
        arguments.endpoint,
        antibodies=manifest.antibodies,
        covariates=manifest.covariates,
    )
    table.insert(1, "trained_on", manifest.trained_on)
    write_whole(Path(arguments.out), table.to_csv(index=False))
    print(f"{arguments.out}: {len(table)} patients ({manifest.trained_on})")
    for note in table.attrs["notes"]:
        print(f"note: {note}")
    return ExitCode.OK


def export(arguments: argparse.Namespace) -> ExitCode:
    """Write a MONAI bundle or ONNX."""
    from models.artefact import load_artefact
    from models.export import ONNX_NAME, export_bundle, export_onnx

    artefact = load_artefact(arguments.model, device="cpu")
    out = Path(arguments.out)
    if "bundle" in arguments.formats:
        worst = export_bundle(artefact, out / "bundle")
        print(f"{out / 'bundle'}: MONAI bundle, probabilities within {worst:.1g} of the model")
        print(f"  python -m monai.bundle run --config_file {out}/bundle/configs/inference.json \\")
        print(f"      --bundle_root {out}/bundle --scan SCAN")
    if "onnx" in arguments.formats:
        worst = export_onnx(artefact, out / ONNX_NAME)
        print(f"{out / ONNX_NAME}: ONNX, probabilities within {worst:.1g} of the model (onnxruntime)")
    return ExitCode.OK


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m models",
        description="Look at a trained model folder.",
        epilog="example: python -m models verify runs/demo/training/model.hrct",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    verify_parser = commands.add_parser(
        "verify",
        help="check hashes and self-test",
        epilog="examples: python -m models verify (the installation), python -m models verify model.hrct",
    )
    verify_parser.add_argument(
        "model",
        metavar="MODEL.hrct",
        nargs="?",
        default=str(REFERENCE_MODEL),
        help="default: the small synthetic model that ships with the program, to verify an installation",
    )
    verify_parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    verify_parser.set_defaults(run=verify)
    card_parser = commands.add_parser(
        "card", help="print the model card", epilog="example: python -m models card model.hrct"
    )
    card_parser.add_argument("model", metavar="MODEL.hrct")
    card_parser.set_defaults(run=card)
    predict_parser = commands.add_parser(
        "predict",
        help="prognosis of the rows of a case table, no scan needed",
        epilog="example: python -m models predict model.hrct --cases cases.csv --out predictions.csv",
    )
    predict_parser.add_argument("model", metavar="MODEL.hrct")
    predict_parser.add_argument("--cases", required=True, type=Path, metavar="cases.csv")
    predict_parser.add_argument("--features", type=Path, help="stored image features, or an output folder of infer.py")
    predict_parser.add_argument("--endpoint", default="", help="the model's first one where not given")
    predict_parser.add_argument("--out", required=True, metavar="predictions.csv")
    predict_parser.set_defaults(run=predict)
    export_parser = commands.add_parser(
        "export",
        help="write a MONAI bundle and ONNX",
        epilog="example: python -m models export model.hrct --out exported",
    )
    export_parser.add_argument("model", metavar="MODEL.hrct")
    export_parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder that receives bundle/ and model.onnx"
    )
    export_parser.add_argument("--formats", nargs="+", choices=("bundle", "onnx"), default=["bundle", "onnx"])
    export_parser.set_defaults(run=export)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; errors of the user are one message and exit code 2."""
    arguments = make_parser().parse_args(argv)
    configure_logging()
    return run_command(lambda: arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
