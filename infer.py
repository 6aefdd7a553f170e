"""A folder of scans and a model in, one row per study out: ``python infer.py SCANS --model MODEL.hrct --out OUT``.

Joins the rooms; nothing is computed here. The parent process stays free of torch: workers load the model.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from data_pipeline.case_matching import MatchedCase, match_cases
from data_pipeline.discovery import Survey, survey
from data_pipeline.manifest import read_cases
from data_pipeline.quality import load_policy
from data_pipeline.selection import SelectionOverrides
from data_pipeline.volume_reading import read_study
from domain.affine import Affine
from domain.antibodies import AntibodyVocabulary, load_antibody_vocabulary
from domain.batch_keys import AFFINE, FINDINGS, IMAGE_AFFINE, LUNG_MASK, QUANTITATIVE_TABLE, VOLUME
from domain.command_line import configure_logging, run_command
from domain.config_files import config_path
from domain.covariates import CovariateVocabulary, load_covariate_vocabulary
from domain.errors import ExitCode, InputError, ScanFolderError, StudyError
from domain.findings import Decision, Finding, Stage, decide
from domain.patterns import load_pattern_vocabulary
from domain.progress import StepProgress
from domain.records import Case, CaseResult, FindingRecord, Prediction, SeriesRef, StudyTask
from domain.settings import InferSettings
from domain.specs import PreprocessSpec, digest_of
from domain.strict_yaml import load_settings
from domain.volume import Volume
from inference.arguments import parse, settings_of
from inference.dry_run import estimate_run
from inference.ledger import CASES, PRIVATE
from inference.merging import merge_runs
from inference.private_files import case_key, open_log, run_secret, write_keys, write_series
from inference.results import make_result, refused
from inference.run_facts import Results, run_facts
from inference.runner import RunOptions, RunSummary, Study, StudyFinished, run_studies
from inference.watching import WatchTimes, follow
from inference.worker import StagedWorker, Worker
from models.artefact_format import read_manifest
from reports import run_outputs
from reports.pictures import write_case_pictures

if TYPE_CHECKING:
    from models.artefact import Artefact

QUANTIFY_SPEC = "preprocess/quantify_only.yaml"
NO_MODEL = "no model: lungs and quantitative CT only"
logger = logging.getLogger("infer")
KeepStudies = Callable[[list[Study]], list[Study]]


# ------------------------------------------------------------------------------------------------ one study


class HrctWorker(StagedWorker):
    """Reads a study; what is done with the volume is for the two workers below."""

    def __init__(self, cases_dir: Path, dicom_dir: Path | None = None, policy: str = "policy") -> None:
        self.cases_dir = cases_dir
        self.policy = load_policy(policy)
        self.dicom_dir = dicom_dir  # None: no DICOM results are asked for

    def read(self, task: StudyTask) -> tuple[Volume, SeriesRef, float]:
        """Files to HU, the series that was read (the next best where the chosen one fails), and the seconds it took.

        Raises:
            StudyError: The series cannot be read, or what was read is no HU volume of a chest.
        """
        start = time.perf_counter()
        series, volume = read_study(task.series, policy=self.policy)
        if decide(volume.findings) is Decision.REJECT:
            raise refusal(volume.findings)
        return volume, series, time.perf_counter() - start

    def draw(self, key: str, item: Mapping[str, Any], evidence: Any = None) -> dict[str, str]:
        """Write the pictures of one study: file name -> caption."""
        return write_case_pictures(
            item[VOLUME][0],
            Affine(item[AFFINE]),
            item[LUNG_MASK][0],
            evidence,
            self.cases_dir,
            stem=key,
            evidence_affine=None if evidence is None else Affine(item[IMAGE_AFFINE]),
        )


class ModelWorker(HrctWorker):
    """Pattern and prognosis. Made once per worker process, where it loads and tests the model."""

    def __init__(
        self, model: Path, device: str, cases_dir: Path, dicom_dir: Path | None = None, policy: str = "policy"
    ) -> None:
        from models.artefact import load_artefact

        super().__init__(cases_dir, dicom_dir, policy)
        self.artefact = load_artefact(model, device=device)

    def finish(self, task: StudyTask, payload: object) -> CaseResult:
        """HU to result and pictures.

        Raises:
            StudyError: No lungs are found.
        """
        volume, series, read_seconds = cast("tuple[Volume, SeriesRef, float]", payload)
        task = replace(task, series=series)
        case = task.case or Case(task.case_key, task.case_key)
        analysis = self.artefact.analyse(volume, antibodies=case.antibodies, covariates=case.covariates)
        assert analysis.item is not None
        start = time.perf_counter()
        pictures = self.draw(task.case_key, analysis.item, analysis.pattern and analysis.pattern.evidence)
        seconds = {"read": read_seconds} | analysis.seconds | {"pictures": time.perf_counter() - start}
        result = make_result(task.case_key, analysis.prediction, task, self.artefact.trained_on, seconds, pictures)
        if self.dicom_dir is not None:
            write_dicom(result, task.series, analysis.item, self.dicom_dir)
        return result


def write_dicom(result: CaseResult, series: SeriesRef, item: Mapping[str, Any], folder: Path) -> None:
    """Structured report and lung segmentation of one study; a study that did not come as DICOM files has none."""
    from reports import dicom_seg, dicom_sr

    if series.reader != "dicom" or not all(Path(name).is_file() for name in series.files):
        logger.info("case %s did not come as DICOM files: no DICOM result", result.case_key)
        return
    sources = [Path(name) for name in series.files]
    try:
        dicom_sr.write(result, sources, folder / f"{result.case_key}_sr.dcm")
        dicom_seg.write(item[LUNG_MASK][0], Affine(item[AFFINE]), sources, folder / f"{result.case_key}_seg.dcm")
    except InputError as error:
        logger.warning("case %s has no DICOM result: %s", result.case_key, error)


class QuantifyWorker(HrctWorker):
    """Lungs and quantitative CT, without any trained network."""

    def __init__(self, cases_dir: Path, policy: str = "policy") -> None:
        from data_pipeline.graph import build_preprocess

        super().__init__(cases_dir, policy=policy)
        self.graph = build_preprocess(load_settings(PreprocessSpec, config_path(QUANTIFY_SPEC)))

    def finish(self, task: StudyTask, payload: object) -> CaseResult:
        """HU to measures and pictures.

        Raises:
            StudyError: No lungs are found.
        """
        from data_pipeline.graph import run_graph

        volume, series, read_seconds = cast("tuple[Volume, SeriesRef, float]", payload)
        task = replace(task, series=series)
        start = time.perf_counter()
        item = run_graph(self.graph, volume)
        graph_seconds = time.perf_counter() - start
        measures = {name: value if value == value else None for name, value in item[QUANTITATIVE_TABLE].items()}
        prediction = Prediction(
            quantitative=measures, findings=tuple(FindingRecord.of(finding) for finding in item[FINDINGS])
        )
        pictures = self.draw(task.case_key, item)
        seconds = {"read": read_seconds, "graph": graph_seconds}
        return make_result(task.case_key, prediction, task, NO_MODEL, seconds, pictures)


def refusal(findings: Sequence[Finding]) -> StudyError:
    """The first rejecting finding as the study's reason."""
    first = next(finding for finding in findings if decide([finding]) is Decision.REJECT)
    return StudyError(Stage.QUALITY, first.code, first.message)


# ------------------------------------------------------------------------------------------------ one run


@dataclass(frozen=True)
class ModelFacts:
    """What a run needs to know of its model without loading it."""

    trained_on: str
    digests: dict[str, str]
    antibodies: AntibodyVocabulary
    covariates: CovariateVocabulary

    @classmethod
    def of(cls, model: Path | None) -> ModelFacts:
        """From the model's manifest; the shipped vocabularies where there is no model.

        Raises:
            ArtefactError: The folder is missing, changed, or of an unknown format.
        """
        antibodies, covariates = load_antibody_vocabulary(), load_covariate_vocabulary()
        if model is None:
            spec = load_settings(PreprocessSpec, config_path(QUANTIFY_SPEC))
            return cls(NO_MODEL, {"model": "none", "graph": spec.digest}, antibodies, covariates)
        manifest = read_manifest(model)
        digests = {"model": manifest.digest, "graph": manifest.preprocess.digest}
        return cls(manifest.trained_on, digests, manifest.antibodies, manifest.covariates)


@dataclass
class Session:
    """One invocation: the command line, the model, and the key secret."""

    args: argparse.Namespace
    settings: InferSettings
    facts: ModelFacts
    secret: str
    progress: StepProgress

    def make_worker(self) -> Callable[[], Worker]:
        """What each worker process calls once."""
        cases_dir = self.args.out / CASES
        if self.args.quantify_only:
            return partial(QuantifyWorker, cases_dir, self.args.policy)
        dicom_dir = self.args.out / PRIVATE / "dicom" if "dicom" in self.settings.formats else None
        return partial(ModelWorker, self.args.model, self.settings.device, cases_dir, dicom_dir, self.args.policy)

    def find_studies(self) -> tuple[Survey, list[Study]]:
        """All headers and the case table, as one entry per study and per row; what is decided already is a result.

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
        artefact = TableArtefact(args.model)
        return found, [self._study(row, artefact) for row in match_cases(cases, found.series, args.scans)]

    def _read_table(self) -> tuple[Case, ...]:
        return read_cases(self.args.cases, self.facts.antibodies, self.facts.covariates, load_pattern_vocabulary())

    def _study(self, row: MatchedCase, artefact: TableArtefact) -> Study:
        key = row.case.case_id if row.case else case_key(self.secret, study_name(row))
        if row.problem is not None:
            return refused(key, row.problem, self.facts.trained_on)
        if row.series is not None:
            return StudyTask(key, row.series, row.case)
        assert row.case is not None
        return artefact.answer(row.case)

    def run(self, keep: KeepStudies = lambda studies: studies) -> RunSummary:
        """Find, run, report.

        Args:
            keep: Which of the studies found are to be run now.
        """
        args = self.args
        found, studies = self.find_studies()
        studies = keep(studies)
        if args.shard is None:
            write_series(args.out, found.series, found.files)
            write_keys(args.out, [study for study in studies if isinstance(study, StudyTask)])
        log = open_log(args.out)
        try:
            summary = run_studies(
                studies,
                self.make_worker(),
                args.out,
                self.settings,
                self.facts.digests,
                progress=self._show,
                options=RunOptions(shard=args.shard),
            )
        finally:
            logging.getLogger().removeHandler(log)
            log.close()
        if args.shard is None:  # parts may share a folder; `--merge` writes their tables once all are there
            write_reports(args.out, summary, self.settings)
        return summary

    def run_round(self, keep: KeepStudies) -> None:
        """One look at a folder that scans arrive in; an empty folder is no error here."""
        try:
            summary = self.run(keep)
        except ScanFolderError:
            return
        self.progress.say(sentence(summary))

    def _show(self, finished: StudyFinished) -> None:
        self.progress("studies", finished.num_done, finished.num_studies)


class TableArtefact:
    """Answers rows without a scan; loads the model when the first one comes.

    Args:
        model: None when there is no model: such rows then have nothing to say.
    """

    def __init__(self, model: Path | None) -> None:
        self.model = model
        self._artefact: Artefact | None = None

    def answer(self, case: Case) -> CaseResult:
        """Prognosis of one row."""
        if self.model is None:
            return make_result(case.case_id, Prediction(), case, NO_MODEL, {}, {})
        if self._artefact is None:
            from models.artefact import load_artefact

            self._artefact = load_artefact(self.model, device="cpu", with_self_test=False)
        analysis = self._artefact.analyse(None, antibodies=case.antibodies, covariates=case.covariates)
        return make_result(case.case_id, analysis.prediction, case, self._artefact.trained_on, analysis.seconds, {})


def study_name(row: MatchedCase) -> str:
    """What names a study without a row in the table: its UID, or its key where it has none."""
    assert row.study is not None
    return row.study.series[0].identity.study_uid or row.study.study_key


def write_reports(out: Path, summary: RunSummary, settings: InferSettings) -> None:
    """Tables, page and run manifest from the results on disk."""
    run_outputs.write(Results(summary), run_facts(summary, settings), settings.formats, out, out / CASES)


# ------------------------------------------------------------------------------------------------ the command


def sentence(summary: RunSummary) -> str:
    """What a run did, in one line."""
    counts = ", ".join(f"{count} {status.value}" for status, count in sorted(summary.counts.items()))
    return f"{counts or 'no study'} in {summary.wall_seconds:.1f} s ({summary.num_resumed} from an earlier run)"


def receive(session: Session) -> None:
    """Follow SCANS until Ctrl-C, with a DICOM listener that writes into it where one was asked for."""
    args = session.args
    times = WatchTimes(args.poll_s, args.quiet_s)

    def look() -> None:
        follow(args.scans, lambda watch: session.run_round(watch.complete), times)

    if args.listen is None:
        look()
        return
    from inference.dicom_listener import ListenerSettings, listening

    with listening(args.scans, ListenerSettings(ae_title=args.ae_title, host=args.listen_host, port=args.listen)):
        session.progress.say(f"listening as {args.ae_title} on {args.listen_host}:{args.listen}; Ctrl-C ends it")
        look()


def fetch(args: argparse.Namespace) -> None:
    """Bring what a query finds on a DICOMweb server into SCANS."""
    from inference.dicomweb import fetch_series, parse_query

    came = fetch_series(args.from_dicomweb, parse_query(args.query), args.scans)
    print(f"{came.num_series} series found, {came.num_fetched} fetched, {came.num_kept} there before")
    for failure in came.failures:
        print(f"  {failure}")


def send_results(args: argparse.Namespace) -> None:
    """Store the DICOM results on the server that the studies came from."""
    from inference.dicomweb import send_back

    files = sorted((args.out / PRIVATE / "dicom").glob("*.dcm"))
    print(f"{send_back(args.from_dicomweb, files)} DICOM results stored on {args.from_dicomweb}")


def main(arguments: Sequence[str]) -> ExitCode:
    """Run the command; say on screen what was done and where to look."""
    args = parse(arguments)
    configure_logging(verbose=args.verbose)
    settings = settings_of(args)
    if args.merge:
        summary = merge_runs(args.merge, args.out)
        write_reports(args.out, summary, settings)
    else:
        if args.from_dicomweb:
            fetch(args)
        facts = ModelFacts.of(args.model)
        facts.digests["policy"] = digest_of(load_policy(args.policy).model_dump(mode="json"))
        with StepProgress() as progress:
            session = Session(args, settings, facts, run_secret(args.out, args.secret), progress)
            if args.dry_run:
                _, studies = session.find_studies()
                options = RunOptions(shard=args.shard)
                print("\n".join(estimate_run(studies, args.out, settings, facts.digests, options).sentences()))
                return ExitCode.OK
            if args.watch or args.listen is not None:
                receive(session)
            summary = session.run()
        if args.send_back:
            send_results(args)
    print(sentence(summary))
    print(f"look at {args.out / ('report.html' if 'html' in settings.formats else 'cases')}")
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
