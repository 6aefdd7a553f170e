"""The parent's side of one worker process: what it was given, since when, and how to end it."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from domain.records import StudyTask
from inference.memory_watch import resident_bytes
from inference.worker_messages import WorkerSetup
from inference.worker_process import worker_main

SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with threads or CUDA is not safe
STOP_GRACE_S = 5.0


@dataclass(slots=True)
class StudyClock:
    """Time a study has been worked on, waiting left out, s."""

    spent_s: float = 0.0
    since: float | None = None

    def start(self) -> None:
        """Work on it goes on."""
        self.since = time.monotonic()

    def stop(self) -> None:
        """It waits."""
        self.spent_s = self.elapsed_s
        self.since = None

    @property
    def elapsed_s(self) -> float:
        """Seconds so far."""
        return self.spent_s + (time.monotonic() - self.since if self.since is not None else 0.0)


class WorkerHandle:
    """One worker process. ``clocks`` holds the studies it was given and has not answered, oldest first."""

    def __init__(self, setup: WorkerSetup) -> None:
        self.setup = setup
        self.is_ready = False
        self._started = time.monotonic()
        self.capacity = 1
        self.clocks: dict[int, StudyClock] = {}
        self.connection: Connection[Any, Any]
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=worker_main, args=(theirs, setup, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def has_room(self) -> bool:
        """It can be given one more study."""
        return self.is_ready and len(self.clocks) < self.capacity

    @property
    def age_s(self) -> float:
        """Seconds since its process was started."""
        return time.monotonic() - self._started

    @property
    def memory_bytes(self) -> int:
        """Memory its process holds."""
        return resident_bytes(self.process.pid or 0)

    def give(self, index: int, task: StudyTask) -> None:
        """Hand out one study. A worker that died meanwhile is noticed by its closed pipe."""
        self.clocks[index] = StudyClock()
        try:
            self.connection.send((index, task))
        except (BrokenPipeError, ConnectionResetError):
            return  # the study stays in ``clocks``: it is found again when the death is handled

    def overdue(self, limit_s: float) -> int | None:
        """Index of a study that has been worked on for too long."""
        return next((index for index, clock in self.clocks.items() if clock.elapsed_s > limit_s), None)

    def kill(self) -> int | None:
        """End the process now; gives its exit code."""
        self.process.kill()
        return self.wait()

    def wait(self) -> int | None:
        """Wait for a process that is ending; gives its exit code."""
        self.process.join(STOP_GRACE_S)
        code = self.process.exitcode
        self.connection.close()
        return code

    def stop(self) -> None:
        """Ask it to end, and make it."""
        try:
            self.connection.send(None)
            self.process.join(STOP_GRACE_S)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.kill()
