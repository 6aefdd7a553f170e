"""What the runner knows of the work: a callable from a study to a result, in one stage or in several that overlap."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from domain.errors import StudyError
from domain.records import CaseResult, StudyTask
from inference.failures import failed_result, failure_of
from inference.shared_stage import StageClient

logger = logging.getLogger(__name__)

Worker = Callable[[StudyTask], CaseResult]
MakeWorker = Callable[[], Worker]
MakeClientWorker = Callable[[StageClient], Worker]  # a worker with a line to a stage that all workers share


StageWork = Callable[[StudyTask, Any], object]  # a study and what the stage before gave; the last gives a CaseResult


class StagedWorker(ABC):
    """A worker whose stages overlap: while one study is computed the next is read, and one more may wait for a GPU.

    Each stage works on one study at a time, so memory holds as many studies per process as there are stages.
    """

    @property
    @abstractmethod
    def stages(self) -> tuple[StageWork, ...]:
        """In order. Each runs in a thread of its own, so it should spend its time outside the interpreter lock.

        A stage raises ``StudyError`` for a study that cannot be used.
        """

    def __call__(self, task: StudyTask) -> CaseResult:
        """All stages in a row."""
        payload: object = None
        for stage in self.stages:
            payload = stage(task, payload)
        assert isinstance(payload, CaseResult)
        return payload


def guarded(task: StudyTask, work: Callable[[], CaseResult]) -> CaseResult:
    """Run a piece of work on a study; whatever it raises becomes the study's one typed row."""
    start = time.perf_counter()
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - the isolation border: a bug must not end the run
        log_failure(task, error)
        return failed_result(task, failure_of(error), time.perf_counter() - start)


def log_failure(task: StudyTask, error: Exception) -> None:
    """Note why a study stopped; where in the code only for what we did not raise on purpose."""
    failure = failure_of(error)
    unexpected = None if isinstance(error, StudyError) else error
    logger.info("case %s stopped at %s: %s", task.case_key, failure.stage, failure.code, exc_info=unexpected)
