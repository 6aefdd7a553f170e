"""A folder of scans and a model in, one row per study out: ``python infer.py SCANS --model MODEL.hrct --out OUT``.

Joins the rooms; nothing is computed here. The parent process stays free of torch: workers load the model.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from data_pipeline import read_volume
from data_pipeline.case_matching import MatchedCase, match_cases
from data_pipeline.discovery import Survey, survey
from data_pipeline.manifest import read_cases
from domain.antibodies import AntibodyStatus, AntibodyVocabulary, load_antibody_vocabulary
from domain.command_line import RESEARCH_NOTICE, configure_logging, run_command
from domain.covariates import CovariateVocabulary, load_covariate_vocabulary
from domain.errors import ExitCode, InputError, ScanFolderError, StudyError
from domain.findings import Decision, Finding, Stage, decide
from domain.patterns import load_pattern_vocabulary
from domain.progress import StepProgress
from domain.records import Case, CaseResult, CaseStatus, FindingRecord, SeriesRef, StudyTask
from domain.settings import InferSettings
from domain.strict_yaml import validate
from domain.volume import Volume
from domain.whole_files import write_whole
from inference.ledger import CASES
from inference.merging import merge_runs
from inference.private_files import case_key, open_log, run_secret, write_keys, write_series
from inference.runner import RunOptions, RunSummary, StudyFinished, run_studies
from inference.worker import StagedWorker
from models.artefact_format import ArtefactManifest, read_manifest
from reports import csv_table, failures_table, html_report, parquet_table
from reports.pictures import write_case_pictures

if TYPE_CHECKING:
    from models.artefact import Analysis

EXAMPLE = """examples:
  python infer.py scans --model runs/demo/training/model.hrct --out out
  python infer.py scans --model model.hrct --cases cases.csv --out out --device cuda
  python infer.py scans --model model.hrct --out out --shard 3/16     (one of 16 array jobs)
  python infer.py --merge out --out out                               (once all of them have ended)

exit codes: 0 every study has a prediction (abstentions included); 1 some were rejected or failed, all listed in
failures.csv; 2 nothing was run; 130 interrupted, run the same command again to go on
"""


# ------------------------------------------------------------------------------------------------ one study


class StudyWorker(StagedWorker):
    """Turns one study into one result. Made once per worker process, where it loads and tests the model.

    Args:
        model: The ``.hrct`` folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        cases_dir: Receives the pictures of each case.
    """

    def __init__(self, model: Path, device: str, cases_dir: Path) -> None:
        from models.artefact import load_artefact

        self.artefact = load_artefact(model, device=device)
        self.cases_dir = cases_dir

    def read(self, task: StudyTask) -> tuple[Volume, float]:
        """Files to HU.

        Raises:
            StudyError: The series cannot be read, or what was read is no HU volume of a chest.
        """
        start = time.perf_counter()
        volume = read_volume(task.series)
        if decide(volume.findings) is Decision.REJECT:
            raise refusal(volume.findings)
        return volume, time.perf_counter() - start

    def finish(self, task: StudyTask, payload: object) -> CaseResult:
        """HU to result and pictures.

        Raises:
            StudyError: No lungs are found.
        """
        volume, read_seconds = cast("tuple[Volume, float]", payload)
        case = task.case or Case(task.case_key, task.case_key)
        analysis = self.artefact.analyse(volume, antibodies=case.antibodies, covariates=case.covariates)
        start = time.perf_counter()
        pictures = self._write_pictures(task.case_key, analysis)
        seconds = {"read": read_seconds} | analysis.seconds | {"pictures": time.perf_counter() - start}
        return make_result(
            task.case_key,
            analysis,
            self.artefact.manifest,
            case=task.case,
            series=task.series,
            pictures=pictures,
            seconds=seconds | {"total": sum(seconds.values())},
        )

    def _write_pictures(self, key: str, analysis: Analysis) -> dict[str, str]:
        from domain import batch_keys
        from domain.affine import Affine

        assert analysis.item is not None
        evidence = None if analysis.pattern is None else analysis.pattern.evidence
        return write_case_pictures(
            analysis.item[batch_keys.VOLUME][0],
            Affine(analysis.item[batch_keys.AFFINE]),
            analysis.item[batch_keys.LUNG_MASK][0],
            evidence,
            self.cases_dir,
            stem=key,
            evidence_affine=None if evidence is None else Affine(analysis.item[batch_keys.IMAGE_AFFINE]),
        )


def refusal(findings: Sequence[Finding]) -> StudyError:
    """The first rejecting finding as the study's reason."""
    first = next(finding for finding in findings if decide([finding]) is Decision.REJECT)
    return StudyError(Stage.QUALITY, first.code, first.message)


def make_result(
    key: str,
    analysis: Analysis,
    manifest: ArtefactManifest,
    *,
    case: Case | None,
    series: SeriesRef | None = None,
    pictures: Mapping[str, str] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> CaseResult:
    """An analysis as the record that is written; what header and volume showed stands together, each code once."""
    prediction = analysis.prediction
    noticed = [FindingRecord.of(finding) for finding in (series.findings if series else ())]
    findings = {finding.code: finding for finding in (*prediction.findings, *noticed)}
    abstained = prediction.pattern is not None and prediction.pattern.abstained
    return CaseResult(
        case_key=key,
        status=CaseStatus.ABSTAINED if abstained else CaseStatus.PREDICTED,
        trained_on=manifest.trained_on,
        series_key=series.series_key if series else "",
        series_message=series.message if series else "no scan: prognosis from the case table alone",
        prediction=prediction.model_copy(update={"findings": tuple(findings.values())}),
        antibodies={
            name: result.status.value
            for name, result in (case.antibodies if case else {}).items()
            if result.status is not AntibodyStatus.NOT_TESTED
        },
        covariates=dict(case.covariates) if case else {},
        scan_facts=asdict(series.table) if series else {},
        pictures=dict(pictures or {}),
        seconds=dict(seconds or {}),
    )


# ------------------------------------------------------------------------------------------------ one run


@dataclass(frozen=True)
class Inputs:
    """What a run works on, found and checked before any worker starts."""

    survey: Survey
    rows: tuple[MatchedCase, ...]
    manifest: ArtefactManifest


def find_inputs(args: argparse.Namespace, secret: str, progress: StepProgress) -> Inputs:
    """Read the model's manifest, the case table and all headers.

    Raises:
        InputError: Any of them is wrong.
    """
    manifest = read_manifest(args.model)
    cases = read_table(args.cases, manifest.antibodies, manifest.covariates) if args.cases else ()
    found = survey(args.scans, secret=secret.encode(), progress=lambda done: progress("reading headers", done, done))
    if not found.series:
        unreadable = sum(record.status == "unreadable" for record in found.files)
        raise ScanFolderError(
            f"{args.scans}: holds no CT series ({len(found.files)} files, {unreadable} of them damaged). "
            f"`python -m data_pipeline inspect {args.scans}` lists what became of each file"
        )
    return Inputs(found, match_cases(cases, found.series, args.scans), manifest)


def read_table(path: Path, antibodies: AntibodyVocabulary, covariates: CovariateVocabulary) -> tuple[Case, ...]:
    """The case table, in the vocabularies of the model or, where they hold more, of this version."""
    shipped_antibodies, shipped_covariates = load_antibody_vocabulary(), load_covariate_vocabulary()
    wider_antibodies = shipped_antibodies if set(antibodies.keys) <= set(shipped_antibodies.keys) else antibodies
    wider_covariates = shipped_covariates if set(covariates.keys) <= set(shipped_covariates.keys) else covariates
    return read_cases(path, wider_antibodies, wider_covariates, load_pattern_vocabulary())


def make_tasks(inputs: Inputs, secret: str, args: argparse.Namespace) -> list[StudyTask | CaseResult]:
    """One entry per study and per row of the table, in order; what is already decided is a result."""
    tasks: list[StudyTask | CaseResult] = []
    for row in inputs.rows:
        key = row.case.case_id if row.case else case_key(secret, study_name(row))
        if row.problem is not None:
            tasks.append(refused(key, row.problem, inputs.manifest))
        elif row.series is not None:
            tasks.append(StudyTask(key, row.series, row.case))
        else:
            tasks.append(from_table_alone(key, row.case, args.model, inputs.manifest))
    return tasks


def study_name(row: MatchedCase) -> str:
    """What names a study without a row in the table: its UID, or its key where it has none."""
    assert row.study is not None
    return row.study.series[0].identity.study_uid or row.study.study_key


def refused(key: str, problem: StudyError, manifest: ArtefactManifest) -> CaseResult:
    """A study that was refused before it was read."""
    return CaseResult(
        case_key=key,
        status=CaseStatus.REJECTED,
        trained_on=manifest.trained_on,
        failure_stage=problem.stage,
        failure_code=problem.code,
        failure_message=problem.message,
    )


def from_table_alone(key: str, case: Case | None, model: Path, manifest: ArtefactManifest) -> CaseResult:
    """Prognosis of a row that names no scan."""
    from models.artefact import load_artefact

    assert case is not None
    artefact = load_artefact(model, device="cpu", with_self_test=False)
    analysis = artefact.analyse(None, antibodies=case.antibodies, covariates=case.covariates)
    return make_result(key, analysis, manifest, case=case, seconds=analysis.seconds)


def run(args: argparse.Namespace, settings: InferSettings, progress: StepProgress) -> RunSummary:
    """Find, run, report."""
    secret = run_secret(args.out, args.secret)
    inputs = find_inputs(args, secret, progress)
    tasks = make_tasks(inputs, secret, args)
    if args.shard is None:
        write_series(args.out, inputs.survey.series, inputs.survey.files)
        write_keys(args.out, [task for task in tasks if isinstance(task, StudyTask)])
    log = open_log(args.out)
    try:
        summary = run_studies(
            tasks,
            partial(StudyWorker, args.model, settings.device, args.out / CASES),
            args.out,
            settings,
            {"model": inputs.manifest.digest, "graph": inputs.manifest.preprocess.digest},
            progress=partial(show, progress),
            options=RunOptions(shard=args.shard),
        )
    finally:
        logging.getLogger().removeHandler(log)
        log.close()
    if args.shard is None:  # parts may share a folder; `--merge` writes their tables once all are there
        write_reports(args.out, summary, settings)
    return summary


def merge(args: argparse.Namespace, settings: InferSettings) -> RunSummary:
    """Put the parts of a sharded run together and write the tables and the page over all of them."""
    summary = merge_runs(args.merge, args.out)
    write_reports(args.out, summary, settings)
    return summary


def show(progress: StepProgress, finished: StudyFinished) -> None:
    """One step of the progress bar."""
    progress("studies", finished.num_done, finished.num_studies)


def write_reports(out: Path, summary: RunSummary, settings: InferSettings) -> None:
    """Tables, page and run manifest from the results on disk."""
    facts = run_facts(summary, settings)
    if "csv" in settings.formats:
        csv_table.write(Results(summary), out / "predictions.csv")
        failures_table.write(Results(summary), out / "failures.csv")
    if "parquet" in settings.formats:
        parquet_table.write(Results(summary), out / "predictions.parquet")
    if "html" in settings.formats:
        html_report.write(Results(summary), facts, out / "report.html", out / CASES)
    write_whole(out / "run.json", json.dumps(facts, indent=1) + "\n")


class Results:
    """The results of a run, read from disk again each time they are iterated."""

    def __init__(self, summary: RunSummary) -> None:
        self.summary = summary

    def __iter__(self) -> Any:
        return self.summary.results()


def run_facts(summary: RunSummary, settings: InferSettings) -> dict[str, Any]:
    """What ``run.json`` and the foot of the report say; nothing identifying."""
    first = next(summary.results(), None)
    return {
        "trained on": first.trained_on if first else "",
        "model digest": first.digests.get("model", "") if first else "",
        "graph digest": first.digests.get("graph", "") if first else "",
        "versions": {name: version(name) for name in ("myolung", "numpy", "torch", "monai", "pydicom")},
        "python": platform.python_version(),
        "workers": summary.num_workers,
        "wall seconds": round(summary.wall_seconds, 2),
        "studies": {status.value: count for status, count in sorted(summary.counts.items())},
        "seconds per stage": {stage: round(value, 2) for stage, value in summary.stage_seconds.items()},
        "settings": settings.model_dump(mode="json"),
    }


# ------------------------------------------------------------------------------------------------ command line


def shard(text: str) -> tuple[int, int]:
    """``i/n`` of the command line."""
    part, separator, parts = text.partition("/")
    if not (separator and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected i/n with 1 <= i <= n, found {text!r}")
    return int(part), int(parts)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line of the contract."""
    parser = argparse.ArgumentParser(
        prog="infer.py",
        description=f"Pattern and prognosis of every study in a folder of scans. {RESEARCH_NOTICE}",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "scans", type=Path, help="folder (nested, mixed), DICOM file, zip, NIfTI file or folder of them"
    )
    parser.add_argument("--model", type=Path, help="model folder (*.hrct)")
    parser.add_argument("--out", type=Path, required=True, help="output folder; running again goes on where it stopped")
    parser.add_argument("--cases", type=Path, help="case table with antibodies and covariates (docs/case_table.md)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="processes here, or a Ray cluster")
    parser.add_argument("--workers", type=int, default=0, help="worker processes; 0 chooses from cores and memory")
    parser.add_argument("--shard", type=shard, metavar="i/n", help="run the i-th of n parts (array jobs)")
    parser.add_argument("--merge", type=Path, nargs="+", metavar="OUT", help="put the parts of a sharded run together")
    parser.add_argument("--formats", default="csv,json,html,parquet", help="which outputs, a comma list of these four")
    parser.add_argument("--secret", help="key secret of another run (its private/secret.txt), to share case keys")
    parser.add_argument("--verbose", action="store_true", help="say more on screen")
    return parser.parse_args(arguments)


def check_places(args: argparse.Namespace) -> None:
    """Say what is missing before anything is started.

    Raises:
        InputError: A folder or file of the command line is not there.
    """
    if args.scans is None or args.model is None:
        raise InputError("SCANS and --model are both needed; `python infer.py --help` shows examples")
    if not args.scans.exists():
        raise ScanFolderError(f"{args.scans}: no such file or folder")
    if args.cases is not None and not args.cases.is_file():
        raise InputError(f"{args.cases}: no such case table; `python -m data_pipeline template` writes one to fill")


def main(arguments: Sequence[str]) -> ExitCode:
    """Run the command; say on screen what was done and where to look."""
    args = parse(arguments)
    configure_logging(verbose=args.verbose)
    choices = {"device": args.device, "engine": args.engine, "num_workers": args.workers}
    settings = validate(InferSettings, choices | {"formats": args.formats.split(",")}, source="command line")
    if args.merge:
        summary = merge(args, settings)
    else:
        check_places(args)
        with StepProgress() as progress:
            summary = run(args, settings, progress)
    counts = ", ".join(f"{count} {status.value}" for status, count in sorted(summary.counts.items()))
    print(f"{counts or 'no study'} in {summary.wall_seconds:.1f} s ({summary.num_resumed} from an earlier run)")
    print(f"look at {args.out / 'report.html'}")
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
