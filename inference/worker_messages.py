"""What a worker process and its parent say to each other. No process is started here."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection

from inference.worker import MakeWorker

NUM_THREADS = 1  # of the numerical libraries in a process: sums over more threads come out in other last bits


class Say(StrEnum):
    """First item of a message from a worker; the rest stands beside it.

    The process of a shared stage says BEGAN and WAITS of each batch, with nothing beside it.
    """

    READY = "ready"  # num_stages: int
    BROKEN = "broken"  # text: str, is_users_mistake: bool; the worker could not be made
    BEGAN = "began"  # index: int; the study's clock runs
    WAITS = "waits"  # index: int; between two stages, its clock stands
    DONE = "done"  # index: int, result: CaseResult
    LOG = "log"  # level: int, logger: str, text: str, traceback: str (empty without)


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker process is started with.

    Attributes:
        make_worker: Called once, in the process.
        gpu: Value of CUDA_VISIBLE_DEVICES for the process; None leaves it.
    """

    make_worker: MakeWorker
    gpu: str | None = None


class Pipe:
    """The worker's sending end, shared by the threads of its process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def say(self, *message: object) -> None:
        """Send one message.

        Raises:
            OSError: The parent is gone.
        """
        with self._lock:
            self._connection.send(message)


class PipeHandler(logging.Handler):
    """Sends log records to the parent, which owns the one log file."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(logging.INFO)
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a parent that is gone is noticed elsewhere."""
        try:
            traceback = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
            self._pipe.say(Say.LOG, record.levelno, record.name, record.getMessage(), traceback)
        except OSError:
            self.handleError(record)
