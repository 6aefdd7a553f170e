"""Runs decoders in processes of their own and survives their death. What is decoded is known to ``decode_worker``."""

from __future__ import annotations

import atexit
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.dicom_images import Instance
from data_pipeline.readers.pixel_errors import PixelError
from data_pipeline.readers.slice_reading import SliceReport
from domain.findings import QualityCode

BATCH_SLICES = 8  # slices handed to a process at a time: small enough to share the work evenly
SLICE_LIMIT_S = 30.0  # a 512 x 512 slice takes milliseconds
OUT_OF_MEMORY_STATUS = {-9, 137}


class _Worker:
    """One decoder process and its two pipes."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "data_pipeline.readers.decode_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    @property
    def pipes(self) -> tuple[IO[str], IO[str]]:
        """Its input and output."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a decoder process was started without pipes")
        return self.process.stdin, self.process.stdout

    def run(self, job: dict[str, Any]) -> dict[int, SliceReport]:
        """Run one job.

        Raises:
            PixelError: A slice failed, or the process died over one.
        """
        pipe_in, pipe_out = self.pipes
        reports: dict[int, SliceReport] = {}
        try:
            pipe_in.write(json.dumps(job) + "\n")
            pipe_in.flush()
            while len(reports) < len(job["slices"]):
                answer = json.loads(pipe_out.readline() or "null")
                if answer is None:
                    raise self._death()
                if "failed" in answer:
                    raise PixelError(QualityCode(answer["code"]), answer["message"])
                if "done" in answer:
                    lowest, below, checksum = answer["report"]
                    reports[answer["done"]] = SliceReport(lowest, below, checksum)
        except (BrokenPipeError, json.JSONDecodeError) as error:
            raise self._death() from error
        return reports

    def _death(self) -> PixelError:
        self.close()
        status = self.process.returncode
        if status == -getattr(signal, "SIGALRM", 14):
            return PixelError(QualityCode.TIMED_OUT, f"a slice was not decoded within {SLICE_LIMIT_S:g} s")
        if status in OUT_OF_MEMORY_STATUS:
            return PixelError(QualityCode.OUT_OF_MEMORY, "the decoder was ended for lack of memory")
        return PixelError(QualityCode.DECODER_CRASHED, f"the decoder process died (status {status})")

    @property
    def is_alive(self) -> bool:
        """It can take a job."""
        return self.process.poll() is None

    def close(self) -> None:
        """End it."""
        for pipe in self.pipes:
            try:
                pipe.close()
            except OSError:
                continue
        try:
            self.process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _WorkerShelf:
    """Idle decoder processes of this process, kept for the next series. A forked child starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._owner = os.getpid()

    def take(self) -> _Worker:
        """An idle process, or a new one."""
        with self._lock:
            if self._owner != os.getpid():
                self._idle, self._owner = [], os.getpid()
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive:
                    return worker
                worker.close()
        return _Worker()

    def put_back(self, worker: _Worker) -> None:
        """Keep a process that is still alive."""
        with self._lock:
            if worker.is_alive and not worker.pipes[0].closed:
                self._idle.append(worker)

    def close(self) -> None:
        """End all idle processes."""
        with self._lock:
            if self._owner == os.getpid():
                while self._idle:
                    self._idle.pop().close()


_SHELF = _WorkerShelf()
atexit.register(_SHELF.close)


class SharedVoxels:
    """Memory that decoder processes write into: anonymous where the system has it, else a temporary file."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        num_bytes = int(np.prod(shape)) * 2
        self._remove: Callable[[], None] = lambda: None
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("voxels")
            self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        else:
            self._descriptor, self.path = tempfile.mkstemp(suffix=".voxels")
            self._remove = lambda: os.unlink(self.path)  # noqa: PTH108 - a name from mkstemp
        os.ftruncate(self._descriptor, num_bytes)
        self.voxels: NDArray[np.int16] = np.frombuffer(mmap.mmap(self._descriptor, num_bytes), dtype=np.int16).reshape(
            shape
        )

    def close(self) -> None:
        """Forget the name; the voxels stay valid as long as someone holds them."""
        os.close(self._descriptor)
        self._remove()


def decode_in_processes(
    instances: Sequence[Instance], shape: tuple[int, int, int], num_workers: int
) -> tuple[NDArray[np.int16], list[SliceReport]]:
    """Decode slices in decoder processes.

    Args:
        instances: One per slice, in order.
        shape: Slices, rows, columns.
        num_workers: Processes to use at most.

    Returns:
        HU, int16, shape (K, J, I), and a report per slice.

    Raises:
        PixelError: A slice cannot be decoded, or its decoder died or hung.
    """
    shared = SharedVoxels(shape)
    batches = [range(start, min(start + BATCH_SLICES, shape[0])) for start in range(0, shape[0], BATCH_SLICES)]

    def run(batch: range) -> dict[int, SliceReport]:
        slices = [[place, instances[place].source, instances[place].frame_index] for place in batch]
        worker = _SHELF.take()
        try:
            return worker.run({"buffer": shared.path, "shape": shape, "slices": slices, "limit_s": SLICE_LIMIT_S})
        finally:
            _SHELF.put_back(worker)

    reports: dict[int, SliceReport] = {}
    try:
        with ThreadPoolExecutor(max(1, min(num_workers, len(batches)))) as pool:
            for part in pool.map(run, batches):
                reports |= part
    finally:
        shared.close()
    return shared.voxels, [reports[place] for place in range(shape[0])]
