"""Small workers for the tests of the runner: importable by worker processes, no torch."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from domain.errors import ArtefactError, StudyError
from domain.findings import QualityCode, Stage
from domain.records import CaseResult, CaseStatus, SeriesRef, SeriesTable, SourceIdentity, StudyTask
from inference.worker import StagedWorker, StageWork, Worker


def make_task(folder: Path, key: str, content: str = "ok") -> StudyTask:
    """A study of one small file whose first word says what the worker is to do."""
    path = folder / f"{key}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return task_of(path)


def task_of(path: Path) -> StudyTask:
    """The study of a small file that is there."""
    key = path.stem
    identity = SourceIdentity(study_uid=f"1.2.3.{key}", patient_id=f"PATIENT-{key}", path=str(path))
    series = SeriesRef(f"series-{key}", f"study-{key}", "text", (str(path),), SeriesTable(1, 1), identity=identity)
    return StudyTask(key, series)


def act(task: StudyTask) -> CaseResult:
    """Do what the file says."""
    word, _, argument = Path(task.series.files[0]).read_text().partition(" ")
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif word == "crash_once" and not Path(argument).exists():
        Path(argument).write_text("crashed")
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "hang":
        time.sleep(600)
    elif word == "sleep":
        time.sleep(float(argument))
    elif word == "reject":
        raise StudyError(Stage.READ, QualityCode.MISSING_SLICES, f"slices are missing in {task.series.files[0]}")
    elif word == "raise" or (word == "until" and not Path(argument).exists()):
        raise ValueError(f"secret path {task.series.files[0]}")
    elif word == "allocate":
        block = bytearray(int(argument) * 2**20)
        block[::4096] = b"x" * len(block[::4096])
        time.sleep(600)
    elif word == "nan":
        return CaseResult(case_key=task.case_key, status=CaseStatus.PREDICTED, covariates={"age": float("nan")})
    return CaseResult(
        case_key=task.case_key, status=CaseStatus.PREDICTED, trained_on="nothing", seconds={"network": 0.1}
    )


def make_worker() -> Worker:
    """Called once per process."""
    return act


def make_staged_worker() -> Worker:
    """Two stages."""
    return TwoStages()


def make_broken_worker() -> Worker:
    """A model that does not load."""
    raise ArtefactError("the model has a changed byte")


@dataclass(frozen=True)
class UnsteadyMaker:
    """Picklable maker of workers that cannot be made for a while: ``flags`` files stand for so many failures left."""

    flags: Path

    def __call__(self) -> Worker:
        for flag in sorted(self.flags.glob("fail*")):
            flag.unlink()
            raise OSError("stale file handle")
        return act


def make_hanging_worker() -> Worker:
    """A model on a disk that does not answer."""
    time.sleep(600)
    return act


def make_dying_worker() -> Worker:
    """A library that crashes on import."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return act


class TwoStages(StagedWorker):
    """``read`` sleeps or crashes as the file says, ``finish`` sleeps where the file says ``slow_finish``."""

    @property
    def stages(self) -> tuple[StageWork, ...]:
        return self.read, self.finish

    def read(self, task: StudyTask, payload: object = None) -> object:
        del payload
        text = Path(task.series.files[0]).read_text()
        if not text.startswith("slow_finish"):
            act(task)
        return text

    def finish(self, task: StudyTask, payload: object) -> CaseResult:
        assert isinstance(payload, str)
        if payload.startswith("slow_finish"):
            time.sleep(float(payload.split()[1]))
        return CaseResult(case_key=task.case_key, status=CaseStatus.PREDICTED, scan_facts={"text": payload})


@dataclass(frozen=True)
class CountingWorker:
    """Picklable maker of workers that append the key of each study they see to a file."""

    journal: Path

    def __call__(self) -> Worker:
        def work(task: StudyTask) -> CaseResult:
            with self.journal.open("a") as stream:
                stream.write(f"{task.case_key}\n")
            return act(task)

        return work
