"""A shared stage without a network: says what it was given, and misbehaves where the study's file says so."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import ArtefactError
from domain.records import CaseResult, CaseStatus, StudyTask
from inference.shared_arrays import Arrays
from inference.shared_stage import StageClient
from inference.worker import StagedWorker, StageWork


class Doubler:
    """Doubles a number; its batch sizes are told beside it."""

    batch_size = 4

    def __call__(self, requests: Sequence[Arrays]) -> Sequence[Mapping[str, NDArray[Any]]]:
        time.sleep(0.05)  # so that requests gather
        words = [bytes(request["word"]).decode() for request in requests]
        if "kill" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in words:
            time.sleep(600)
        if "too_big" in words:
            raise MemoryError("the device is too small")
        if "bug" in words:
            raise IndexError("a bug")
        return [{"doubled": 2 * request["number"], "batch": np.array(len(requests))} for request in requests]


class ThreeStages(StagedWorker):
    """Reads a file, sends its number to the shared stage, writes down what came back."""

    def __init__(self, client: StageClient) -> None:
        self.client = client

    @property
    def stages(self) -> tuple[StageWork, ...]:
        return self.read, self.prepare, self.finish

    def read(self, task: StudyTask, payload: object) -> object:
        del payload
        return Path(task.series.files[0]).read_text().split()

    def prepare(self, task: StudyTask, payload: list[str]) -> object:
        del task
        word, number = payload
        big = np.full((50, 1000), int(number), np.int32)
        return {"word": np.frombuffer(word.encode(), np.uint8), "number": big}

    def finish(self, task: StudyTask, payload: Any) -> CaseResult:
        answer = self.client.ask(payload)
        return CaseResult(
            case_key=task.case_key,
            status=CaseStatus.PREDICTED,
            scan_facts={"sum": int(answer["doubled"].sum())},
            seconds={"batch": float(answer["batch"])},
        )


def make_doubler() -> Doubler:
    return Doubler()


def make_three_stages(client: StageClient) -> ThreeStages:
    return ThreeStages(client)


def make_broken_handler() -> Doubler:
    raise ArtefactError("the model has a changed byte")


@dataclass(frozen=True)
class UnsteadyDoublerMaker:
    """Fails the first time."""

    flag: Path

    def __call__(self) -> Doubler:
        if self.flag.exists():
            return Doubler()
        self.flag.touch()
        raise OSError("stale file handle")


def make_hanging_handler() -> Doubler:
    time.sleep(600)
    return Doubler()


def make_dying_handler() -> Doubler:
    os.kill(os.getpid(), signal.SIGKILL)
    return Doubler()
