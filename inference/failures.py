"""From an exception, a signal or a limit to one typed row. Nothing that identifies a source gets into the message."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from domain.errors import StudyError
from domain.findings import RUN_CODES, QualityCode, Stage
from domain.records import CaseResult, CaseStatus, StudyTask

REDACTED = "(withheld)"
SHORTEST_SECRET = 4  # characters; redacting "1" or "CT" would only garble the sentence

REFUSING_STAGES = frozenset({Stage.DISCOVER, Stage.SELECT, Stage.READ, Stage.QUALITY})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a study has no prediction: the columns of ``failures.csv`` but the key."""

    stage: Stage
    code: QualityCode
    message: str


def failure_of(error: Exception) -> Failure:
    """The typed form of whatever a study raised. An unknown exception is named, its text stays in the private log."""
    if isinstance(error, StudyError):
        return Failure(error.stage, error.code, error.message)
    name = type(error).__name__
    if (
        isinstance(error, MemoryError) or name == "OutOfMemoryError"
    ):  # the second is torch's, which is not imported here
        return Failure(Stage.NETWORK, QualityCode.OUT_OF_MEMORY, "The study needs more memory than there is.")
    message = f"An unexpected {name} stopped this study; the log in private/ has the details. Please report it."
    return Failure(Stage.NETWORK, QualityCode.INTERNAL_ERROR, message)


def failure_of_exit(exit_code: int | None) -> Failure:
    """What a worker process that died under a study says of it.

    Args:
        exit_code: As ``multiprocessing.Process.exitcode``: negative for a signal.
    """
    return killed_for_memory() if exit_code == -getattr(signal, "SIGKILL", 9) else crashed()


def killed_for_memory() -> Failure:
    """The system, not this program, ended the process."""
    message = "The system killed the process that worked on this study, most likely for lack of memory."
    return Failure(Stage.READ, QualityCode.OUT_OF_MEMORY, message)


def crashed() -> Failure:
    """The process died by itself. How (the signal) stands in the private log: every engine gives the same row."""
    message = "The process that worked on this study crashed each time, most likely while decoding damaged pixel data."
    return Failure(Stage.READ, QualityCode.DECODER_CRASHED, message)


def timed_out(limit_s: float) -> Failure:
    """The study took longer than the setting allows."""
    message = f"The study took longer than {limit_s:g} s (setting study_timeout_s) and was stopped."
    return Failure(Stage.READ, QualityCode.TIMED_OUT, message)


def out_of_memory(limit_gib: float) -> Failure:
    """The study took more memory than the setting allows."""
    message = f"The study needed more than {limit_gib:g} GiB of memory (setting study_memory_gib) and was stopped."
    return Failure(Stage.READ, QualityCode.OUT_OF_MEMORY, message)


def failed_result(task: StudyTask, failure: Failure, seconds: float = 0.0) -> CaseResult:
    """The row of a study without a prediction: rejected when the scan is the reason, failed when the run is."""
    is_rejection = failure.stage in REFUSING_STAGES and failure.code not in RUN_CODES
    return CaseResult(
        case_key=task.case_key,
        status=CaseStatus.REJECTED if is_rejection else CaseStatus.FAILED,
        series_key=task.series.series_key,
        failure_stage=failure.stage,
        failure_code=failure.code,
        failure_message=redact(failure.message, task),
        seconds={"total": seconds},
    )


def redact(message: str, task: StudyTask) -> str:
    """Take out of a message whatever identifies the patient or the source of a study."""
    secrets: set[str] = set()
    for series in (task.series, *task.series.alternatives):
        identity = series.identity
        secrets |= {identity.study_uid, identity.series_uid, identity.patient_id, identity.path, *series.files}
    if task.case is not None:
        secrets |= {task.case.patient_id, task.case.scan or ""}
    for secret in sorted((text for text in secrets if len(text) >= SHORTEST_SECRET), key=len, reverse=True):
        message = message.replace(secret, REDACTED)
    return re.sub(r"(?:(?<=\s)|^)(?:/|[A-Za-z]:\\)[^\s:;,'\"]+", REDACTED, message)
