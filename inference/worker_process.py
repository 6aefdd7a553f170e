"""The inside of a worker process: take studies from a pipe, work, send results back. The parent's side is elsewhere."""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import TypeVar

from domain.errors import InputError
from domain.records import CaseResult, StudyTask
from inference.failures import failed_result, failure_of
from inference.worker import StagedWorker, StageWork, Worker, log_failure
from inference.worker_messages import NUM_THREADS, Pipe, PipeHandler, Say, WorkerSetup

logger = logging.getLogger(__name__)

Made = TypeVar("Made")

PR_SET_PDEATHSIG = 1  # linux/prctl.h: the signal a process gets when its parent dies
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(slots=True)
class _Held:
    """A study on its way through the stages of this process.

    Attributes:
        payload: What the stage before gave.
        seconds: Working time so far.
    """

    index: int
    task: StudyTask
    payload: object = None
    seconds: float = 0.0


def worker_main(connection: Connection, setup: WorkerSetup, parent_pid: int) -> None:
    """Entry point of the process: make the worker, then serve studies until told to stop or the parent is gone."""
    pipe = begin_process(connection, parent_pid, setup.gpu)
    worker = make_or_say_why_not(setup.make_worker, pipe)
    if worker is None:
        return
    stages = worker.stages if isinstance(worker, StagedWorker) else (partial(_whole, worker),)
    try:
        pipe.say(Say.READY, len(stages))
        _serve(connection, pipe, stages)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


def _whole(worker: Worker, task: StudyTask, payload: object) -> CaseResult:
    """A worker that is not divided, as its own only stage."""
    del payload
    return worker(task)


def begin_process(connection: Connection, parent_pid: int, gpu: str | None) -> Pipe:
    """What every process of a run does first: die with its parent, leave Ctrl-C to it, log to it."""
    _die_with(parent_pid)
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and a batch system reach everyone; only the parent decides
        signal.signal(number, signal.SIG_IGN)
    _set_environment(gpu)
    pipe = Pipe(connection)
    logging.getLogger().handlers = [PipeHandler(pipe)]
    logging.getLogger().setLevel(logging.INFO)
    return pipe


def make_or_say_why_not(make: Callable[[], Made], pipe: Pipe) -> Made | None:
    """Call a maker; where it raises, the parent is told and None comes back."""
    try:
        return make()
    except Exception as error:
        if not isinstance(error, InputError):  # the user's mistake is told once, by the parent
            logger.exception("the worker could not be made")
        pipe.say(Say.BROKEN, str(error) or type(error).__name__, isinstance(error, InputError))
        return None


def _die_with(parent_pid: int) -> None:
    """Ask the system to kill this process when its parent dies: a killed run leaves nothing working behind it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before the request
            os._exit(1)


def _set_environment(gpu: str | None) -> None:
    """Before any numerical library is imported in this process: they read these once."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(NUM_THREADS)))
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def _serve(connection: Connection, pipe: Pipe, stages: Sequence[StageWork]) -> None:
    """Each stage in a thread of its own, the last in this one; a study goes from queue to queue.

    The queues are bounded by the parent: it hands out as many studies as there are stages, and no more.
    """
    lines = [queue.SimpleQueue[_Held | None]() for _ in stages]
    threading.Thread(target=_receive, args=(connection, lines[0]), daemon=True).start()
    for number, stage in enumerate(stages[:-1]):
        work = (pipe, stage, lines[number], lines[number + 1])
        threading.Thread(target=_run_stage, args=work, daemon=True).start()
    while (held := lines[-1].get()) is not None:
        _work_on(held, stages[-1], pipe)
        if isinstance(held.payload, CaseResult):
            pipe.say(Say.DONE, held.index, _with_seconds(held.payload, {"total": held.seconds}))
        del held  # frees the volume before the next one is waited for


def _receive(connection: Connection, line: queue.SimpleQueue[_Held | None]) -> None:
    try:
        while (message := connection.recv()) is not None:
            line.put(_Held(*message))
            del message
    except (EOFError, OSError):
        pass  # the parent is gone: the other threads end as well
    line.put(None)


def _run_stage(
    pipe: Pipe, stage: StageWork, line: queue.SimpleQueue[_Held | None], next_line: queue.SimpleQueue[_Held | None]
) -> None:
    try:
        while (held := line.get()) is not None:
            if _work_on(held, stage, pipe):
                pipe.say(Say.WAITS, held.index)
                next_line.put(held)
            del held
    except OSError:
        pass
    next_line.put(None)


def _work_on(held: _Held, stage: StageWork, pipe: Pipe) -> bool:
    """Run one stage on a study; whatever it raises becomes the study's one typed row. True when there is a next."""
    pipe.say(Say.BEGAN, held.index)
    start = time.perf_counter()
    try:
        held.payload = stage(held.task, held.payload)
    except Exception as error:  # noqa: BLE001 - the isolation border: a bug must not end the run
        log_failure(held.task, error)
        held.payload = None
        pipe.say(Say.DONE, held.index, failed_result(held.task, failure_of(error), time.perf_counter() - start))
        return False
    held.seconds += time.perf_counter() - start
    return True


def _with_seconds(result: CaseResult, seconds: dict[str, float]) -> CaseResult:
    """Add timings the worker did not take itself."""
    return result.model_copy(update={"seconds": seconds | result.seconds})
