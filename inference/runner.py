"""One call for a whole archive: skips what is done, runs the rest in isolation, writes each result as it comes."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from domain.errors import InputError, OutputFolderError
from domain.findings import QualityCode, Stage
from domain.records import CaseResult, CaseStatus, StudyTask
from domain.result_json import DamagedResultError
from domain.settings import InferSettings
from domain.specs import digest_of
from inference.failures import Failure, failed_result
from inference.input_digest import input_digest, newest_change
from inference.ledger import INPUT, Ledger
from inference.local_engine import Limits, LocalEngine, NumberedStudy, WorkerStartError
from inference.machine import choose_num_workers, num_cores, planned_gib, visible_gpus
from inference.output_lock import locked_output
from inference.ray_engine import RayEngine
from inference.run_summary import RunEndedError, RunSummary, StudyFinished
from inference.shared_stage import MakeHandler
from inference.termination import terminate_as_interrupt
from inference.worker import MakeClientWorker, MakeWorker, guarded

logger = logging.getLogger(__name__)


Progress = Callable[[StudyFinished], None]
# To be run, or decided before any worker runs: no usable series, a row without a scan, a result of an earlier run.
Study = StudyTask | CaseResult


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How one run differs from the next on the same archive.

    Attributes:
        shard: ``(i, n)``, i from 1: run the i-th of n parts. Shards may share an output folder.
        in_process: Run in this process: no isolation, no limits, nothing to start. For tests and debugging.
        make_handler: Of a stage that one process per GPU runs for all local workers; workers are then made with their
            line to it.
    """

    shard: tuple[int, int] | None = None
    in_process: bool = False
    make_handler: MakeHandler | None = None

    @property
    def shard_name(self) -> str:
        """Name of the part in file names; empty for the whole."""
        return f"{self.shard[0]}-of-{self.shard[1]}" if self.shard else ""


@dataclass(slots=True)
class _Run:
    """The state of one run: what is finished, and how to finish one more."""

    studies: Sequence[Study]
    ledger: Ledger
    progress: Progress | None
    statuses: dict[int, CaseStatus] = field(default_factory=dict)
    input_digests: dict[int, str] = field(default_factory=dict)
    stage_seconds: Counter[str] = field(default_factory=Counter)
    num_resumed: int = 0

    def undone(self) -> Iterator[NumberedStudy | None]:
        """Studies that need a run; None for each that does not, so that the workers are heard in between."""
        for index, task in enumerate(self.studies):
            if isinstance(task, CaseResult):
                self._take_settled(index, task)
                yield None
                continue
            try:
                digest, changed = input_digest(task), newest_change(task)
            except Exception:  # the isolation border: what a damaged file raises must not end the run
                logger.warning("case %s: its files cannot be read", task.case_key, exc_info=True)
                self.input_digests[index] = ""
                message = "A file of this study vanished or cannot be read."
                self.finish(index, failed_result(task, Failure(Stage.READ, QualityCode.UNREADABLE, message)))
                yield None
                continue
            self.input_digests[index] = digest
            done = self.ledger.find_done(task.case_key, digest, changed)
            if done is None:
                yield index, task
            else:
                self.num_resumed += 1
                self._count(index, done, was_done=True)
                yield None

    def _take_settled(self, index: int, result: CaseResult) -> None:
        if INPUT in result.digests:  # it comes from the ledger
            self.num_resumed += 1
            self._count(index, result, was_done=True)
            return
        digest = digest_of(result.model_dump(mode="json", exclude={"seconds"}))
        done = self.ledger.find_done(result.case_key, digest, newest_change=0.0)
        if done is None:
            self.input_digests[index] = digest
            self.finish(index, result)
        else:
            self.num_resumed += 1
            self._count(index, done, was_done=True)

    def finish(self, index: int, result: CaseResult) -> None:
        """Write the result of one study."""
        digest = self.input_digests.pop(index)
        try:
            written = self._write(index, result, digest)
        except OSError as error:
            raise OutputFolderError(
                f"{self.ledger.out_dir} cannot be written any more ({error.strerror}); {len(self.statuses)} of "
                f"{len(self.studies)} studies are done and kept: free some space and run the same command again"
            ) from error
        self.stage_seconds.update(written.seconds)
        self._count(index, written, was_done=False)

    def _write(self, index: int, result: CaseResult, digest: str) -> CaseResult:
        try:
            return self.ledger.record(result, digest)
        except DamagedResultError:
            logger.exception("case %s gave a result that cannot be written", result.case_key)
            return self.ledger.record(_unwritable(result), digest)

    def _count(self, index: int, result: CaseResult, *, was_done: bool) -> None:
        self.statuses[index] = result.status
        if self.progress is not None:
            self.progress(StudyFinished(result, was_done, len(self.statuses), len(self.studies)))


def run_studies(
    tasks: Iterable[Study],
    make_worker: MakeWorker | MakeClientWorker,
    out_dir: Path,
    settings: InferSettings,
    digests: Mapping[str, str],
    *,
    progress: Progress | None = None,
    options: RunOptions = RunOptions(),
) -> RunSummary:
    """Run every study that has no result yet, each isolated from the others.

    Args:
        tasks: Studies in the order of the tables; a case key may occur once. A result among them was decided before
            (rejected at selection, for instance): it is written as it is. One from the ledger stands as it was written.
        make_worker: Picklable; called once per worker process, gives the callable that turns a study into a result.
        out_dir: ``OUT``: results go to ``OUT/cases``, timings and locks to ``OUT/private``.
        settings: Engine, number of workers and limits of one study.
        digests: Of model and graph; a result made with others is made again.
        progress: Called after each study, in this thread.
        options: Part of the archive, and where to run it.

    Returns:
        What was done. A study that crashes, hangs or raises is one row in it.

    Raises:
        InputError: Two studies have the same key, or workers cannot be made.
        RunEndedError: Workers cannot be made any more, after some studies were done.
        OutputFolderError: The folder is held by another run, or cannot be written (any more).
    """
    everything = _checked(tasks)
    mine = select_shard(everything, options.shard)
    start = time.perf_counter()
    run = _Run(mine, Ledger(out_dir, digests, shard=options.shard_name), progress)
    num_workers = 0 if options.in_process else num_processes(mine, settings)
    was_interrupted, ended = False, None
    with locked_output(out_dir, shard=options.shard_name), terminate_as_interrupt():
        if options.shard is None:
            run.ledger.clean()
        _note_order(run.ledger, everything)
        try:
            _execute(run, make_worker, settings, num_workers, options.make_handler)
        except KeyboardInterrupt:
            was_interrupted = True
        except WorkerStartError as error:
            if len(run.statuses) == run.num_resumed:
                raise  # nothing new to tell: tables of an earlier run stay as they are
            ended = error
    summary = RunSummary(
        out_dir=out_dir,
        case_keys=tuple(mine[index].case_key for index in sorted(run.statuses)),
        counts=Counter(run.statuses.values()),
        num_resumed=run.num_resumed,
        stage_seconds=dict(run.stage_seconds),
        wall_seconds=time.perf_counter() - start,
        num_workers=num_workers,
        was_interrupted=was_interrupted,
    )
    if ended is not None:
        done = f"{len(run.statuses)} of {len(mine)} studies are done and kept: run the same command again to go on"
        raise RunEndedError(f"{ended}; {done}", summary) from ended
    return summary


def select_shard(studies: Sequence[Study], shard: tuple[int, int] | None) -> Sequence[Study]:
    """Every n-th study from the i-th on, i from 1: parts of equal size whatever the order.

    Raises:
        InputError: i is not within 1..n.
    """
    if shard is None:
        return studies
    part, num_parts = shard
    if not 1 <= part <= num_parts:
        raise InputError(f"--shard {part}/{num_parts}: the part must be between 1 and {num_parts}")
    return studies[part - 1 :: num_parts]


def _execute(
    run: _Run,
    make_worker: MakeWorker | MakeClientWorker,
    settings: InferSettings,
    num_workers: int,
    make_handler: MakeHandler | None,
) -> None:
    if not num_workers:
        _run_here(run, make_worker)  # type: ignore[arg-type]
        return
    limits = Limits(settings.study_timeout_s, settings.study_memory_gib)
    if settings.engine == "ray":
        wants_gpu = settings.device != "cpu"
        ray = RayEngine(make_worker, settings.num_workers, limits, wants_gpu=wants_gpu)  # type: ignore[arg-type]
        ray.run(run.undone(), run.finish)
        return
    gpus = visible_gpus(settings.device)
    engine = LocalEngine(make_worker, num_workers, limits, gpus=gpus, make_handler=make_handler)
    engine.run(run.undone(), run.finish)


def _run_here(run: _Run, make_worker: MakeWorker) -> None:
    worker = None
    for index, task in filter(None, run.undone()):
        worker = worker or make_worker()
        begin = time.perf_counter()
        result = guarded(task, lambda task=task, worker=worker: worker(task))  # type: ignore[misc]
        seconds = {"total": time.perf_counter() - begin} | result.seconds
        run.finish(index, result.model_copy(update={"seconds": seconds}))


def num_processes(studies: Sequence[Study], settings: InferSettings) -> int:
    """As many as are chosen, never more than there is work for: the cores are shared out among them."""
    tasks = [study for study in studies if isinstance(study, StudyTask)]
    return max(
        1, min(choose_num_workers(settings.num_workers, planned_gib(tasks, settings.study_memory_gib)), len(tasks))
    )


def readers_per_worker(studies: Sequence[Study], settings: InferSettings) -> int:
    """Cores a worker may read with: its share of this machine; one on a cluster, where others plan."""
    return 1 if settings.engine == "ray" else max(1, num_cores() // num_processes(studies, settings))


def _note_order(ledger: Ledger, studies: Sequence[Study]) -> None:
    try:
        ledger.write_order(study.case_key for study in studies)
    except OSError as error:
        raise OutputFolderError(
            f"{ledger.out_dir} cannot be written ({error.strerror}); choose another --out"
        ) from error


def _unwritable(result: CaseResult) -> CaseResult:
    return CaseResult(
        case_key=result.case_key,
        status=CaseStatus.FAILED,
        series_key=result.series_key,
        failure_stage=Stage.WRITE,
        failure_code=QualityCode.INTERNAL_ERROR,
        failure_message="The result holds a value that cannot be written; please report it.",
        seconds=result.seconds,
    )


def _checked(tasks: Iterable[Study]) -> list[Study]:
    listed = list(tasks)
    twice = sorted(key for key, count in Counter(task.case_key for task in listed).items() if count > 1)
    if twice:
        raise InputError(f"{len(twice)} case key(s) stand for two studies each, the first is {twice[0]!r}")
    return listed
