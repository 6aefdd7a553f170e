"""Workers on a Ray cluster, for an archive that one machine is too small for. Needs the ``cluster`` extra.

Volumes never travel: each actor reads its study from the shared disk and gives back the small typed result, so the
object store stays empty. ``RAY_ADDRESS`` names a running cluster; without it Ray is started on this machine.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from domain.errors import InputError
from domain.records import CaseResult, StudyTask
from inference.failures import crashed, failed_result, killed_for_memory, out_of_memory, timed_out
from inference.local_engine import (
    MAX_START_FAILURES,
    Limits,
    NumberedStudy,
    OnResult,
    Source,
    WorkerStartError,
    take_studies,
)
from inference.memory_watch import GIB, resident_bytes
from inference.worker import MakeWorker, Worker, guarded

logger = logging.getLogger(__name__)

POLL_S = 0.5
MEMORY_POLL_S = 0.2
MAX_ATTEMPTS = 3  # a study whose process or node dies this often is at fault itself
RAY_NEEDED = "--engine ray needs the cluster extra: pip install 'myolung[cluster]'"


class RemoteWorker:
    """The actor: makes its worker once, then runs one study at a time, and watches its own memory meanwhile."""

    def __init__(self, make_worker: MakeWorker, memory_gib: float) -> None:
        self._worker: Worker = make_worker()
        self._memory_gib = memory_gib

    def is_ready(self) -> bool:
        """Answered once the model is loaded."""
        return True

    def work(self, task: StudyTask) -> tuple[CaseResult, bool]:
        """One study, to one result; only a crash of the process escapes.

        Returns:
            The result, and whether this actor is spent: the study took too much memory and may still be running.
        """
        start, results = time.perf_counter(), list[CaseResult]()
        thread = threading.Thread(target=lambda: results.append(guarded(task, lambda: self._worker(task))), daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(MEMORY_POLL_S)
            if thread.is_alive() and resident_bytes(os.getpid()) > self._memory_gib * GIB:
                failure = out_of_memory(self._memory_gib)
                return failed_result(task, failure, time.perf_counter() - start), True
        (result,) = results
        seconds = {"total": time.perf_counter() - start} | result.seconds
        return result.model_copy(update={"seconds": seconds}), False


@dataclass(slots=True)
class _Job:
    """A study in the hands of an actor."""

    index: int
    task: StudyTask
    actor: Any
    since: float


class RayEngine:
    """Runs studies on actors; the driver alone writes results, in its own thread, as they come.

    Args:
        make_worker: Called once per actor.
        num_workers: Actors; 0 for one per CPU of the cluster, or one per GPU where GPUs are wanted and present.
        limits: Of one study. Its time is watched here, its memory in the actor.
        wants_gpu: ``auto`` and ``cuda`` devices.
    """

    def __init__(self, make_worker: MakeWorker, num_workers: int, limits: Limits, *, wants_gpu: bool) -> None:
        self._make_worker = make_worker
        self._num_workers = num_workers
        self._limits = limits
        self._wants_gpu = wants_gpu
        self._attempts: Counter[int] = Counter()
        self._waiting: deque[NumberedStudy] = deque()
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}  # readiness of an actor -> the actor
        self._start_failures = 0
        self._is_searching = False  # as in the local engine
        self._jobs: dict[Any, _Job] = {}

    def run(self, studies: Iterable[NumberedStudy | None], on_result: OnResult) -> None:
        """Run all studies; ``on_result`` is called in this thread, in the order of completion.

        Raises:
            InputError: Ray is not installed, or no cluster answers.
            WorkerStartError: The model does not load on an actor.
        """
        ray = _connected_ray()
        self._remote = ray.remote(RemoteWorker).options(**self._resources(ray))
        source = iter(studies)
        try:
            while self._hand_out(source) or self._jobs:
                self._collect(ray, on_result)
                self._enforce_timeout(ray, on_result)
        finally:
            for actor in [*self._idle, *self._starting.values(), *(job.actor for job in self._jobs.values())]:
                ray.kill(actor)

    def _resources(self, ray: ModuleType) -> dict[str, Any]:
        cluster = ray.cluster_resources()
        num_gpus = int(cluster.get("GPU", 0)) if self._wants_gpu else 0
        if not self._num_workers:
            self._num_workers = num_gpus or max(1, int(cluster.get("CPU", 1)))
        share = min(1.0, num_gpus / self._num_workers) if num_gpus else 0
        return {"num_cpus": 1, "num_gpus": share, "max_restarts": 0, "max_concurrency": 1}

    def _hand_out(self, source: Source) -> bool:
        self._is_searching = take_studies(source, self._waiting, self._num_workers)
        while self._waiting and self._idle:
            actor = self._idle.pop()
            index, task = self._waiting.popleft()
            self._jobs[actor.work.remote(task)] = _Job(index, task, actor, time.monotonic())
        # An actor whose node is gone may wait long for room elsewhere; the others go on meanwhile.
        wanted = min(self._num_workers, len(self._jobs) + len(self._waiting))
        while len(self._jobs) + len(self._idle) + len(self._starting) < wanted:
            actor = self._remote.remote(self._make_worker, self._limits.memory_gib)
            self._starting[actor.is_ready.remote()] = actor
        return bool(self._waiting) or self._is_searching

    def _collect(self, ray: ModuleType, on_result: OnResult) -> None:
        asked = [*self._jobs, *self._starting]
        done, _ = ray.wait(asked, num_returns=1, timeout=0 if self._is_searching else POLL_S) if asked else ([], [])
        for reference in done:
            if reference in self._starting:
                self._welcome(ray, reference)
                continue
            job = self._jobs.pop(reference)
            try:
                result, is_spent = ray.get(reference)
            except (ray.exceptions.RayError, ConnectionError) as error:
                self._lose(job, error, on_result)
            else:
                if is_spent:
                    ray.kill(job.actor)
                else:
                    self._idle.append(job.actor)
                on_result(job.index, result)

    def _welcome(self, ray: ModuleType, reference: Any) -> None:
        """An actor is ready, or died while it started."""
        actor = self._starting.pop(reference)
        try:
            ray.get(reference)
        except ray.exceptions.RayError as error:
            self._start_failures += 1
            if self._start_failures >= MAX_START_FAILURES:
                raise WorkerStartError(f"a worker cannot be made on the cluster: {error}") from error
        else:
            self._start_failures = 0
            self._idle.append(actor)

    def _enforce_timeout(self, ray: ModuleType, on_result: OnResult) -> None:
        for reference, job in list(self._jobs.items()):
            spent = time.monotonic() - job.since
            if spent > self._limits.timeout_s:
                del self._jobs[reference]
                ray.kill(job.actor)
                on_result(job.index, failed_result(job.task, timed_out(self._limits.timeout_s), spent))

    def _lose(self, job: _Job, error: Exception, on_result: OnResult) -> None:
        """The actor or its node died under a study: it is tried again elsewhere, not for ever."""
        self._attempts[job.index] += 1
        if self._attempts[job.index] < MAX_ATTEMPTS:
            logger.warning("case %s lost its worker (%s); it is run again", job.task.case_key, type(error).__name__)
            self._waiting.appendleft((job.index, job.task))
            return
        failure = killed_for_memory() if type(error).__name__ == "OutOfMemoryError" else crashed()
        on_result(job.index, failed_result(job.task, failure, time.monotonic() - job.since))


def _connected_ray() -> ModuleType:
    """Ray, connected. Its usage statistics are switched off: this project sends nothing anywhere."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise InputError(RAY_NEEDED) from error
    if not ray.is_initialized():
        paths = os.pathsep.join(path for path in sys.path if path)
        try:
            ray.init(
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
                runtime_env={"env_vars": {"PYTHONPATH": paths}},
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(f"no Ray cluster answers at RAY_ADDRESS: {error}") from error
    return ray
