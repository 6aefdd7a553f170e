"""Worker processes on this machine: hands studies out, restarts what dies, enforces limits. Nothing is written here."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from typing import Any

from domain.errors import InputError
from domain.records import CaseResult, StudyTask
from inference.failures import Failure, failed_result, failure_of_exit, out_of_memory, timed_out
from inference.machine import gpu_of_worker
from inference.memory_watch import GIB
from inference.shared_stage import MakeHandler, StageAddress, StageClient
from inference.stage_owners import StageOwner, StageOwners
from inference.worker import MakeClientWorker, MakeWorker, Worker
from inference.worker_handle import WorkerHandle
from inference.worker_messages import Say, WorkerSetup

logger = logging.getLogger(__name__)

POLL_S = 0.2  # how often limits are looked at; results are taken as soon as they come
MAX_START_FAILURES = 3  # processes in a row that die before they are ready

START_S = 600.0  # a process that is not ready by then hangs: many at once may load libraries from one slow disk
BATCHES_PER_STUDY = 4  # a batch of the shared stage may take this part of a study's time: see ``_end_hanging``

NumberedStudy = tuple[int, StudyTask]
Source = Iterator[NumberedStudy | None]  # None: a study that needs no run was passed; the workers may want to be heard
OnResult = Callable[[int, CaseResult], None]


class WorkerStartError(InputError):
    """No worker can be made: the model does not load, or the process dies while it does."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one study may take.

    Attributes:
        timeout_s: Working time; waiting for its turn does not count.
        memory_gib: Memory of its process.
        start_s: From the start of a process until it can be given a study.
    """

    timeout_s: float
    memory_gib: float
    start_s: float = START_S


class LocalEngine:
    """Runs studies in ``num_workers`` processes.

    A process that dies takes no study with it: each of its studies is tried once more, alone in a fresh process, so
    that the guilty one is known and a process killed from outside costs nothing.
    """

    def __init__(
        self,
        make_worker: MakeWorker | MakeClientWorker,
        num_workers: int,
        limits: Limits,
        *,
        gpus: tuple[str, ...] | None,
        make_handler: MakeHandler | None = None,
    ) -> None:
        """Set up; nothing is started yet.

        Args:
            make_worker: Called once in each worker process, with its line to the shared stage where there is one.
            num_workers: Processes, at least 1.
            limits: Of one study.
            gpus: Dealt out in turn: to the workers, or to the processes of the shared stage; None leaves them.
            make_handler: Of a stage that one process per GPU runs for all workers; None for none.
        """
        self._make_owners = None if make_handler is None else partial(StageOwners, make_handler, gpus)
        self._owners: StageOwners | None = None
        self._make_worker, self._gpus = make_worker, gpus
        self._limits = limits
        self._workers: list[WorkerHandle | None] = [None] * num_workers
        self._waiting: deque[NumberedStudy] = deque()
        self._suspects: deque[NumberedStudy] = deque()  # were in a process that died: to be tried alone
        self._tried_alone: set[int] = set()
        self._in_hand: dict[int, StudyTask] = {}
        self._start_failures = 0
        self._start_problem = ""  # what the last worker that could not be made said of it
        self._is_searching = False  # the source has not given all that there is room for
        self._on_result: OnResult = _drop

    def run(self, studies: Iterable[NumberedStudy | None], on_result: OnResult) -> None:
        """Run all studies; ``on_result`` is called in this thread, in the order of completion.

        Raises:
            WorkerStartError: Workers cannot be made.
            KeyboardInterrupt: Passed on after the processes were ended.
        """
        self._on_result = on_result
        source = iter(studies)
        try:
            # Only a study to run starts anything: a run whose studies are all done loads no model.
            while self._hand_out(source) or self._in_hand:
                self._listen()
                self._enforce_limits()
            self._end_workers()
        finally:
            for worker in self._living():
                worker.kill()
            if self._owners is not None:
                self._owners.end()

    # ---------------------------------------------------------------------------------------- handing out

    def _hand_out(self, source: Source) -> bool:
        """Give every worker with room a study and start workers as needed; tells whether anything is left to give."""
        self._is_searching = take_studies(source, self._waiting, len(self._workers))
        self._start_workers()
        for worker in self._living():
            while worker.has_room and (study := self._next_for(worker)) is not None:
                index, task = study
                self._in_hand[index] = task
                worker.give(index, task)
        return bool(self._waiting or self._suspects or self._is_searching)

    def _next_for(self, worker: WorkerHandle) -> NumberedStudy | None:
        if self._tried_alone & worker.clocks.keys():
            return None  # a suspect keeps its process to itself
        if self._suspects and not worker.clocks:
            study = self._suspects.popleft()
            self._tried_alone.add(study[0])
            return study
        return self._waiting.popleft() if self._waiting else None

    def _start_workers(self) -> None:
        wanted = min(len(self._workers), len(self._waiting) + len(self._suspects) + len(self._in_hand))
        for place, worker in enumerate(self._workers):
            if len(self._living()) >= wanted:
                return
            if worker is None:
                self._workers[place] = WorkerHandle(self._setup_of(place))

    def _setup_of(self, place: int) -> WorkerSetup:
        if self._make_owners is None:
            return WorkerSetup(self._make_worker, gpu_of_worker(place, self._gpus))  # type: ignore[arg-type]
        self._owners = self._owners or self._make_owners()
        address = self._owners.address_of(place)
        return WorkerSetup(partial(_make_client_worker, self._make_worker, address), gpu="")  # type: ignore[arg-type]

    def _living(self) -> list[WorkerHandle]:
        return [worker for worker in self._workers if worker is not None]

    # ---------------------------------------------------------------------------------------- listening

    def _listen(self) -> None:
        workers = {worker.connection: worker for worker in self._living()}
        owners = self._owners.by_connection() if self._owners is not None else {}
        for connection in wait([*workers, *owners], timeout=0 if self._is_searching else POLL_S):
            if connection in owners:
                _hear_owner(owners[connection])
                continue
            worker = workers[connection]  # type: ignore[index]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                self._bury(worker, worker.wait(), failure=None)
            else:
                self._hear(worker, message)

    def _hear(self, worker: WorkerHandle, message: tuple[Any, ...]) -> None:
        said, *rest = message
        if said is Say.READY:
            worker.is_ready, worker.capacity = True, rest[0]
            self._start_failures = 0
        elif said is Say.BROKEN:  # the process ends by itself: it counts as one that died while it started
            self._start_problem = _start_problem(*rest)
        elif said is Say.BEGAN:
            worker.clocks[rest[0]].start()
        elif said is Say.WAITS:
            worker.clocks[rest[0]].stop()
        elif said is Say.DONE:
            del worker.clocks[rest[0]]
            self._settle(rest[0], rest[1])
        else:
            _relay(*rest)

    def _settle(self, index: int, result: CaseResult) -> None:
        del self._in_hand[index]
        self._tried_alone.discard(index)
        self._on_result(index, result)

    # ---------------------------------------------------------------------------------------- deaths and limits

    def _enforce_limits(self) -> None:
        self._end_hanging()
        for worker in self._living():
            late = worker.overdue(self._limits.timeout_s)
            if late is not None:
                self._fail(worker, late, timed_out(self._limits.timeout_s))
            elif worker.clocks and worker.memory_bytes > self._limits.memory_gib * GIB:
                self._bury(worker, worker.kill(), failure=out_of_memory(self._limits.memory_gib))

    def _end_hanging(self) -> None:
        """End processes that hang where no study is at fault yet; they are heard, and started again, as dead ones.

        The shared stage is given less time than a study: the studies of a batch over which it hangs are then asked
        again, each alone, before their own time is over, and only the guilty one meets the second death.
        """
        for worker in self._living():
            if not worker.is_ready and worker.age_s > self._limits.start_s:
                self._start_problem = f"the worker does not start within {self._limits.start_s:g} s"
                self._bury(worker, worker.kill(), failure=None)
        for owner in self._owners.owners if self._owners is not None else ():
            if owner.is_hanging(self._limits.start_s, self._limits.timeout_s / BATCHES_PER_STUDY):
                logger.warning("the process that runs the network hangs; another takes over")
                if not owner.is_ready:
                    limit = f"{self._limits.start_s:g} s"
                    owner.start_problem = f"the process that runs the network does not start within {limit}"
                owner.kill()

    def _fail(self, worker: WorkerHandle, index: int, failure: Failure) -> None:
        """One study is known to be at fault: its neighbour in the same process goes back to the front of the queue."""
        clock = worker.clocks.pop(index)
        for other in worker.clocks:
            self._waiting.appendleft((other, self._in_hand.pop(other)))
        worker.clocks.clear()
        self._bury(worker, worker.kill(), failure=failure)
        self._settle(index, failed_result(self._in_hand[index], failure, clock.elapsed_s))

    def _bury(self, worker: WorkerHandle, exit_code: int | None, *, failure: Failure | None) -> None:
        """A process is gone. Studies tried alone are settled; others are tried once more, alone.

        Args:
            worker: Whose process it was.
            exit_code: How it ended.
            failure: Why it was ended, where this engine did it.
        """
        self._workers[self._workers.index(worker)] = None
        if not worker.is_ready:
            self._start_failures += 1
            if self._start_failures >= MAX_START_FAILURES:
                died = f"the worker process dies while it starts (exit code {exit_code})"
                raise WorkerStartError(self._start_problem or died)
            self._start_problem = ""
        for index, clock in worker.clocks.items():
            task = self._in_hand[index]
            if index in self._tried_alone:
                self._settle(index, failed_result(task, failure or failure_of_exit(exit_code), clock.elapsed_s))
            else:
                logger.warning("case %s was in a process that ended (%s); it is tried alone", task.case_key, exit_code)
                del self._in_hand[index]
                self._suspects.append((index, task))

    def _end_workers(self) -> None:
        for worker in self._living():
            worker.stop()
        self._workers = [None] * len(self._workers)


def take_studies(source: Source, waiting: deque[NumberedStudy], enough: int) -> bool:
    """Fill the line of waiting studies from the source.

    Returns:
        True where the source asked for a pause: to be called again at once, after the workers were heard. Their clocks
        would else count the search as work.
    """
    while len(waiting) < enough:
        try:
            study = next(source)
        except StopIteration:
            return False
        if study is None:
            return True
        waiting.append(study)
    return False


def _make_client_worker(make_worker: MakeClientWorker, address: StageAddress) -> Worker:
    """In a worker process: a worker with a line to the shared stage."""
    return make_worker(StageClient(address))


def _hear_owner(owner: StageOwner) -> None:
    """What the process of a shared stage says, or that it is gone."""
    try:
        said, *rest = owner.connection.recv()
    except (EOFError, OSError):
        problem, owner.start_problem = owner.start_problem, ""
        if not owner.restart():
            raise WorkerStartError(problem or "the process that runs the network dies while it starts") from None
        return
    if said is Say.READY:
        owner.is_ready, owner.since = True, None
    elif said is Say.BEGAN:
        owner.since = time.monotonic()
    elif said is Say.WAITS:
        owner.since = None
    elif said is Say.BROKEN:
        owner.start_problem = _start_problem(*rest)
    elif said is Say.LOG:
        _relay(*rest)


def _start_problem(text: str, is_users_mistake: bool) -> str:  # noqa: FBT001 - as it comes in the message
    """What to say of a worker that could not be made, should it never be made.

    Raises:
        WorkerStartError: The user has to mend something first: trying again is of no use.
    """
    if is_users_mistake:
        raise WorkerStartError(text)
    return f"the worker cannot be made: {text}; see the private log"


def _relay(level: int, name: str, text: str, traceback: str) -> None:
    """A log record of a worker, as if it were made here; the traceback travels as text."""
    target = logging.getLogger(name)
    if target.isEnabledFor(level):
        record = target.makeRecord(name, level, "(worker)", 0, text, (), None)
        record.exc_text = traceback or None
        target.handle(record)


def _drop(index: int, result: CaseResult) -> None:
    """Stands in until a run has begun."""
    del index, result
