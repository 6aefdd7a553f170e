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
from multiprocessing.connection import Connection

from domain.errors import InputError
from domain.records import CaseResult, StudyTask
from inference.failures import failed_result, failure_of
from inference.worker import StagedWorker, Worker, guarded, log_failure
from inference.worker_messages import Pipe, PipeHandler, Say, WorkerSetup

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h: the signal a process gets when its parent dies
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

ReadStudy = tuple[int, StudyTask, object, float]  # index, task, payload, seconds spent reading


def worker_main(connection: Connection, setup: WorkerSetup, parent_pid: int) -> None:
    """Entry point of the process: make the worker, then serve studies until told to stop or the parent is gone."""
    _die_with(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; only the parent decides
    _set_environment(setup)
    pipe = Pipe(connection)
    logging.getLogger().handlers = [PipeHandler(pipe)]
    logging.getLogger().setLevel(logging.INFO)
    try:
        worker = setup.make_worker()
    except Exception as error:
        if not isinstance(error, InputError):  # the user's mistake is told once, by the parent
            logger.exception("the worker could not be made")
        pipe.say(Say.BROKEN, str(error) or type(error).__name__, isinstance(error, InputError))
        return
    try:
        pipe.say(Say.READY, isinstance(worker, StagedWorker))
        if isinstance(worker, StagedWorker):
            _serve_staged(connection, pipe, worker)
        else:
            _serve(connection, pipe, worker)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


def _die_with(parent_pid: int) -> None:
    """Ask the system to kill this process when its parent dies: a killed run leaves nothing working behind it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before the request
            os._exit(1)


def _set_environment(setup: WorkerSetup) -> None:
    """Before any numerical library is imported in this process: they read these once."""
    if setup.num_threads:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(setup.num_threads)))
    if setup.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = setup.gpu


def _serve(connection: Connection, pipe: Pipe, worker: Worker) -> None:
    """One study at a time."""
    while (message := connection.recv()) is not None:
        index, task = message
        pipe.say(Say.BEGAN, index)
        start = time.perf_counter()
        result = guarded(task, lambda task=task: worker(task))  # type: ignore[misc]
        pipe.say(Say.DONE, index, _with_seconds(result, {"total": time.perf_counter() - start}))


def _serve_staged(connection: Connection, pipe: Pipe, worker: StagedWorker) -> None:
    """A thread reads ahead while this one computes; the parent never hands out more than two studies at once."""
    ready: queue.SimpleQueue[ReadStudy | None] = queue.SimpleQueue()
    threading.Thread(target=_read_ahead, args=(connection, pipe, worker, ready), daemon=True).start()
    while (study := ready.get()) is not None:
        index, task, payload, read_seconds = study
        pipe.say(Say.BEGAN, index)
        start = time.perf_counter()
        result = guarded(task, lambda task=task, payload=payload: worker.finish(task, payload))  # type: ignore[misc]
        del study, payload  # frees the volume before the next one is waited for
        total = read_seconds + time.perf_counter() - start
        pipe.say(Say.DONE, index, _with_seconds(result, {"read": read_seconds, "total": total}))


def _read_ahead(
    connection: Connection, pipe: Pipe, worker: StagedWorker, ready: queue.SimpleQueue[ReadStudy | None]
) -> None:
    try:
        while (message := connection.recv()) is not None:
            index, task = message
            pipe.say(Say.BEGAN, index)
            start = time.perf_counter()
            try:
                payload = worker.read(task)
            except Exception as error:  # noqa: BLE001 - the isolation border: a bug must not end the run
                log_failure(task, error)
                failed = failed_result(task, failure_of(error), time.perf_counter() - start)
                pipe.say(Say.DONE, index, failed)
                continue
            pipe.say(Say.WAITS, index)
            ready.put((index, task, payload, time.perf_counter() - start))
            del payload
    except (EOFError, OSError):
        pass  # the parent is gone: the other thread ends as well
    ready.put(None)


def _with_seconds(result: CaseResult, seconds: dict[str, float]) -> CaseResult:
    """Add timings the worker did not take itself."""
    return result.model_copy(update={"seconds": seconds | result.seconds})
