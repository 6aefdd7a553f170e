"""What the runner knows of the work: a callable from a study to a result, in one stage or in two that overlap."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from domain.errors import StudyError
from domain.records import CaseResult, StudyTask
from inference.failures import failed_result, failure_of

logger = logging.getLogger(__name__)

Worker = Callable[[StudyTask], CaseResult]
MakeWorker = Callable[[], Worker]


class StagedWorker(ABC):
    """A worker whose reading overlaps with its computing: the next study is read while this one is computed.

    At most one study is being read (or waits, read) and one computed, so memory holds two studies per process.
    """

    @abstractmethod
    def read(self, task: StudyTask) -> object:
        """Files to memory. Runs in a thread of its own, so it should spend its time outside the interpreter lock.

        Raises:
            StudyError: The study cannot be used.
        """

    @abstractmethod
    def finish(self, task: StudyTask, payload: object) -> CaseResult:
        """What ``read`` gave, to a result.

        Raises:
            StudyError: The study cannot be used.
        """

    def __call__(self, task: StudyTask) -> CaseResult:
        """Both stages in a row."""
        return self.finish(task, self.read(task))


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
