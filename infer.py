"""A folder of scans and a model in, one row per study out: ``python infer.py SCANS --model MODEL.hrct --out OUT``.

Joins the rooms; nothing is computed here. The parent process stays free of torch: workers load the model.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_pipeline.case_matching import MatchedCase, match_cases
from data_pipeline.discovery import Survey, survey
from data_pipeline.manifest import read_cases
from data_pipeline.quality import load_policy
from data_pipeline.selection import SelectionOverrides
from data_pipeline.volume_reading import read_study
from domain.affine import Affine
from domain.batch_keys import AFFINE, FINDINGS, IMAGE_AFFINE, LUNG_MASK, QUANTITATIVE_TABLE, VOLUME
from domain.command_line import configure_logging, run_command
from domain.config_files import config_path
from domain.errors import ExitCode, ScanFolderError
from domain.patterns import load_pattern_vocabulary
from domain.progress import StepProgress
from domain.records import Case, CaseResult, FindingRecord, Prediction, StudyTask
from domain.settings import InferSettings
from domain.specs import PreprocessSpec, digest_of
from domain.strict_yaml import load_settings
from inference.arguments import parse, settings_of
from inference.dry_run import estimate_run
from inference.incoming import KeepStudies, fetch, keep_all, receive, send_results
from inference.ledger import CASES, DICOM, DICOM_KINDS, PRIVATE, Ledger, dicom_digests
from inference.machine import shares_network
from inference.merging import merge_runs
from inference.output_lock import locked_output
from inference.private_files import case_key, open_log, run_secret, write_keys, write_series
from inference.results import make_result, refused
from inference.run_facts import Results, run_facts
from inference.run_summary import RunEndedError, RunSummary, StudyFinished
from inference.runner import RunOptions, Study, readers_per_worker, run_studies
from inference.shared_stage import MakeHandler, StageClient
from inference.termination import terminate_as_interrupt
from inference.worker import MakeClientWorker, MakeWorker, StagedWorker, StageWork
from models.model_facts import QUANTIFY_SPEC, ModelFacts
from models.stop_watch import StopWatch
from models.table_answers import TableAnswers
from reports import dicom_results, run_outputs
from reports.pictures import write_case_pictures

if TYPE_CHECKING:
    from models.ensemble import NetworkOutput

NO_MODEL = "no model: lungs and quantitative CT only"
logger = logging.getLogger("infer")


# ------------------------------------------------------------------------------------------------ one study


@dataclass(frozen=True, slots=True)
class Places:
    """What every worker is told of the run.

    Attributes:
        cases_dir: Where pictures go.
        dicom_dir: Where DICOM results go; None: none are asked for.
        num_readers: Threads or decoder processes of one worker; its share of the cores.
        policy: Name or path of the quality policy.
    """

    cases_dir: Path
    dicom_dir: Path | None = None
    num_readers: int = 1
    policy: str = "policy"


class HrctWorker(StagedWorker):
    """Reads a study; what is done with the volume is for the two workers below."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.policy = load_policy(places.policy)

    def read(self, task: StudyTask, payload: object = None) -> InHand:
        """Files to HU; the next best series where the chosen one fails.

        Raises:
            StudyError: The series cannot be read, or what was read is no HU volume of a chest.
        """
        del payload
        start = time.perf_counter()
        series, volume = read_study(task.series, policy=self.policy, num_workers=self.places.num_readers)
        return InHand(replace(task, series=series), {VOLUME: volume}, {"read": time.perf_counter() - start})

    def draw(self, key: str, item: Mapping[str, Any], evidence: Any = None) -> dict[str, str]:
        """Write the pictures of one study: file name -> caption."""
        return write_case_pictures(
            item[VOLUME][0],
            Affine(item[AFFINE]),
            item[LUNG_MASK][0],
            evidence,
            self.places.cases_dir,
            stem=key,
            evidence_affine=None if evidence is None else Affine(item[IMAGE_AFFINE]),
        )


@dataclass(frozen=True, slots=True)
class InHand:
    """A study between two stages.

    Attributes:
        task: With the series that was read.
        item: What is known of it (``domain.batch_keys``).
        seconds: Per stage so far.
    """

    task: StudyTask
    item: dict[str, Any]
    seconds: dict[str, float]


class ModelWorker(HrctWorker):
    """Pattern and prognosis. Made once per worker process, where it loads and tests the model.

    Args:
        model: Model folder.
        device: Of the network.
        places: What every worker is told.
        client: Line to the process that runs the network; None: it is run here.
    """

    def __init__(self, model: Path, device: str, places: Places, client: StageClient | None = None) -> None:
        from models.artefact import load_artefact

        super().__init__(places)
        self.client = client
        self.artefact = load_artefact(model, device=device, with_network=client is None)

    @property
    def stages(self) -> tuple[StageWork, ...]:
        """Where the network runs elsewhere, the next study is prepared meanwhile."""
        if self.client is None:
            return self.read, lambda task, payload: self.answer(task, self.prepare(task, payload))
        return self.read, self.prepare, self.answer

    def prepare(self, task: StudyTask, payload: Any) -> InHand:
        """HU to lungs, quantitative CT and the network's input.

        Raises:
            StudyError: No lungs are found.
        """
        del task
        start = time.perf_counter()
        item = self.artefact.prepare(payload.item[VOLUME])
        return InHand(payload.task, item, payload.seconds | {"graph": time.perf_counter() - start})

    def answer(self, task: StudyTask, payload: Any) -> CaseResult:
        """Network, prognosis, pictures."""
        task, item = payload.task, payload.item
        case = task.case or Case(task.case_key, task.case_key)
        watch = StopWatch()
        output = self._run_network(item)
        watch.lap("network")
        analysis = self.artefact.conclude(item, output, antibodies=case.antibodies, covariates=case.covariates)
        watch.lap("prognosis")
        pictures = self.draw(task.case_key, item, analysis.pattern and analysis.pattern.evidence)
        watch.lap("pictures")
        seconds = payload.seconds | watch.seconds
        result = make_result(task.case_key, analysis.prediction, task, self.artefact.trained_on, seconds, pictures)
        if self.places.dicom_dir is not None:
            lungs, affine = item[LUNG_MASK][0], Affine(item[AFFINE])
            names = dicom_results.write(result, lungs, affine, task.series, self.places.dicom_dir)
            result = result.model_copy(update={"digests": result.digests | dicom_digests(names)})
        return result

    def _run_network(self, item: Mapping[str, Any]) -> NetworkOutput:
        from models.ensemble import NetworkOutput, network_part

        if self.client is None:
            return self.artefact.run_network([item])[0]
        part = {key: np.asarray(values) for key, values in network_part(item).items()}
        return NetworkOutput.from_arrays(self.client.ask(part))


class SharedNetwork:
    """The network in a process of its own, for all workers: gathers their studies into batches. One per GPU."""

    def __init__(self, model: Path, device: str) -> None:
        from models.artefact import load_artefact

        self.artefact = load_artefact(model, device=device)
        self.batch_size = self.artefact.predictor.ensemble.batch_size

    def __call__(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One output per study."""
        return [output.arrays() for output in self.artefact.run_network(requests)]


class QuantifyWorker(HrctWorker):
    """Lungs and quantitative CT, without any trained network."""

    def __init__(self, places: Places) -> None:
        from data_pipeline.graph import build_preprocess

        super().__init__(places)
        self.graph = build_preprocess(load_settings(PreprocessSpec, config_path(QUANTIFY_SPEC)))

    @property
    def stages(self) -> tuple[StageWork, ...]:
        """Reading overlaps with the rest."""
        return self.read, self.measure

    def measure(self, task: StudyTask, payload: Any) -> CaseResult:
        """HU to measures and pictures.

        Raises:
            StudyError: No lungs are found.
        """
        from data_pipeline.graph import run_graph

        task, start = payload.task, time.perf_counter()
        item = run_graph(self.graph, payload.item[VOLUME])
        seconds = payload.seconds | {"graph": time.perf_counter() - start}
        measures = {name: value if value == value else None for name, value in item[QUANTITATIVE_TABLE].items()}
        findings = tuple(FindingRecord.of(finding) for finding in item[FINDINGS])
        prediction = Prediction(quantitative=measures, findings=findings)
        pictures = self.draw(task.case_key, item)
        return make_result(task.case_key, prediction, task, NO_MODEL, seconds, pictures)


# ------------------------------------------------------------------------------------------------ one run


@dataclass
class Session:
    """One invocation: the command line, the model, and the key secret."""

    args: argparse.Namespace
    settings: InferSettings
    facts: ModelFacts
    secret: str
    progress: StepProgress

    def workers(self, studies: Sequence[Study]) -> tuple[MakeWorker | MakeClientWorker, MakeHandler | None]:
        """What each worker process calls once, and what the process of a shared network calls once."""
        model, device, out = self.args.model, self.settings.device, self.args.out
        dicom_dir = out / PRIVATE / DICOM if DICOM in self.settings.formats else None
        places = Places(out / CASES, dicom_dir, readers_per_worker(studies, self.settings), self.args.policy)
        if self.args.quantify_only:
            return partial(QuantifyWorker, places), None
        if shares_network(self.settings):
            return partial(model_client, model, places), partial(SharedNetwork, model, device)
        return partial(ModelWorker, model, device, places), None

    def find_studies(self) -> tuple[Survey, list[MatchedCase]]:
        """All headers and the case table, as one entry per study and per row.

        Raises:
            InputError: The case table is wrong, or there is nothing that could be a scan.
        """
        args = self.args
        cases = self._read_table() if args.cases else ()
        found = survey(
            args.scans,
            secret=self.secret.encode(),
            progress=lambda done: self.progress("reading headers", done, done),
            policy=load_policy(args.policy),
            overrides=load_settings(SelectionOverrides, args.selection) if args.selection else None,
        )
        if not found.series:
            unreadable = sum(record.status == "unreadable" for record in found.files)
            raise ScanFolderError(
                f"{args.scans}: holds no CT series ({len(found.files)} files, {unreadable} of them damaged). "
                f"`python -m data_pipeline inspect {args.scans}` lists what became of each file"
            )
        return found, list(match_cases(cases, found.series, args.scans))

    def _read_table(self) -> tuple[Case, ...]:
        return read_cases(self.args.cases, self.facts.antibodies, self.facts.covariates, load_pattern_vocabulary())

    def key_of(self, row: MatchedCase) -> str:
        """The case table's name of it, else a key that only the secret leads back from."""
        return row.case.case_id if row.case else case_key(self.secret, study_name(row))

    def studies_of(self, rows: Sequence[MatchedCase]) -> list[Study]:
        """What is to be run, in order; what is decided already is a result."""
        answers = TableAnswers(self.args.model)
        return [self._study(row, answers) for row in rows]

    def _study(self, row: MatchedCase, answers: TableAnswers) -> Study:
        key = self.key_of(row)
        if row.problem is not None:
            return refused(key, row.problem, self.facts.trained_on)
        if row.series is not None:
            return StudyTask(key, row.series, row.case)
        assert row.case is not None
        prediction, seconds = answers(row.case)
        return make_result(key, prediction, row.case, self.facts.trained_on, seconds, {})

    def run(self, keep: KeepStudies = keep_all) -> RunSummary:
        """Find, run, report.

        Args:
            keep: Which of the studies found are to be run now.
        """
        args = self.args
        found, rows = self.find_studies()
        studies = keep([(study, row.files) for study, row in zip(self.studies_of(rows), rows, strict=True)])
        # Parts of one run may share a folder: each writes the same tables, whole.
        write_series(args.out, found.series, found.files)
        write_keys(args.out, [(self.key_of(row), row.shown_series) for row in rows if row.shown_series])
        log = open_log(args.out)
        try:
            make_worker, make_handler = self.workers(studies)
            summary = run_studies(
                studies,
                make_worker,
                args.out,
                self.settings,
                self.facts.digests,
                progress=self._show,
                options=RunOptions(shard=args.shard, make_handler=make_handler),
            )
        except RunEndedError as ended:
            self._report(ended.summary)
            raise
        finally:
            logging.getLogger().removeHandler(log)
            log.close()
        self._report(summary)
        return summary

    def _report(self, summary: RunSummary) -> None:
        if self.args.shard is None:  # parts may share a folder; `--merge` writes their tables once all are there
            write_reports(self.args.out, summary, self.settings)

    def run_round(self, keep: KeepStudies) -> None:
        """One look at a folder that scans arrive in; an empty folder is no error here."""
        try:
            summary = self.run(keep)
        except ScanFolderError:
            return
        self.progress.say(summary.sentence)
        if summary.was_interrupted:
            raise KeyboardInterrupt  # what was in hand is not done: the next look would not take it up again

    def _show(self, finished: StudyFinished) -> None:
        self.progress("studies", finished.num_done, finished.num_studies)


def model_client(model: Path, places: Places, client: StageClient) -> ModelWorker:
    """A worker whose network runs elsewhere; it needs no GPU itself."""
    return ModelWorker(model, "cpu", places, client)


def study_name(row: MatchedCase) -> str:
    """What names a study without a row in the table: its UID, or its key where it has none."""
    assert row.study is not None
    return row.study.series[0].identity.study_uid or row.study.study_key


def write_reports(out: Path, summary: RunSummary, settings: InferSettings) -> None:
    """Tables, page and run manifest from the results on disk."""
    run_outputs.write(Results(summary), run_facts(summary, settings), settings.formats, out, out / CASES)


# ------------------------------------------------------------------------------------------------ the command


def main(arguments: Sequence[str]) -> ExitCode:
    """Run the command; say on screen what was done and where to look."""
    args = parse(arguments)
    configure_logging(verbose=args.verbose)
    settings = settings_of(args)
    part = "" if args.merge else RunOptions(shard=args.shard).shard_name
    # From before the first look at the scans to after the report, so that a second run is refused at once.
    with terminate_as_interrupt(), nullcontext() if args.dry_run else locked_output(args.out, shard=part):
        return carry_out(args, settings)


def carry_out(args: argparse.Namespace, settings: InferSettings) -> ExitCode:
    """What the command line asks for, by the one program that may write to OUT."""
    num_missing = 0
    if args.merge:
        summary = merge_runs(args.merge, args.out)
        write_reports(args.out, summary, settings)
    else:
        facts = ModelFacts.of(args.model, without_model=NO_MODEL)
        facts.digests["policy"] = digest_of(load_policy(args.policy).model_dump(mode="json"))
        if DICOM in settings.formats:
            dicom_results.require_extra()
            facts.digests[DICOM] = DICOM_KINDS
        if args.from_dicomweb:
            num_missing = fetch(args.from_dicomweb, args.query, args.scans, print)
        with StepProgress() as progress:
            secret = run_secret(args.out, args.secret, is_kept=not args.dry_run)
            session = Session(args, settings, facts, secret, progress)
            if args.dry_run:
                studies = session.studies_of(session.find_studies()[1])
                options = RunOptions(shard=args.shard)
                print("\n".join(estimate_run(studies, args.out, settings, facts.digests, options).sentences()))
                return ExitCode.OK
            if args.watch or args.listen is not None:
                receive(args, session.run_round, progress.say, Ledger(args.out, facts.digests).find_standing)
            summary = session.run()
        if args.send_back:
            send_results(args.from_dicomweb, summary.results(), args.out, print)
    print(summary.sentence)
    if summary.was_interrupted:
        print("interrupted; what is done is kept: run the same command again to go on")
    print(f"look at {args.out / ('report.html' if 'html' in settings.formats else 'cases')}")
    if num_missing:
        print(f"{num_missing} series did not come from {args.from_dicomweb}: run the same command again to fetch them")
    return ExitCode.SOME_FAILED if num_missing and summary.exit_code is ExitCode.OK else summary.exit_code


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
