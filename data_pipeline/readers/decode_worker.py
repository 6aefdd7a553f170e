"""The process that runs pixel decoders, so that one that crashes or hangs takes down nothing else.

Started by ``decoder_process``. Reads one JSON job per line from standard input, writes HU slices into a shared file
and one JSON line per slice to standard output. Ends with its input.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.dicom_header import HeaderError, read_header
from data_pipeline.dicom_images import Instance
from data_pipeline.readers.pixel_errors import PixelError, cannot_read
from data_pipeline.readers.slice_reading import read_slice_into
from domain.archive_members import split_source
from domain.findings import QualityCode

EXTRA_MEMORY_BYTES = 4 << 30  # address space besides the volume: libraries, one compressed file, decoder buffers


def main() -> None:
    """Serve jobs until the input ends."""
    _limit_memory(EXTRA_MEMORY_BYTES)
    for line in sys.stdin:
        job = json.loads(line)
        _limit_memory(EXTRA_MEMORY_BYTES + int(np.prod(job["shape"])) * 2)
        _run(job)


def _run(job: dict[str, Any]) -> None:
    shape = tuple(job["shape"])
    descriptor = os.open(job["buffer"], os.O_RDWR)
    try:
        shared = mmap.mmap(descriptor, int(np.prod(shape)) * 2)
    finally:
        os.close(descriptor)
    voxels = np.frombuffer(shared, dtype=np.int16).reshape(shape)
    for place, source, frame_index in job["slices"]:
        _answer({"start": place})
        _set_alarm(job["limit_s"])
        answer = _read_one(place, source, frame_index, voxels)
        _set_alarm(0)
        _answer(answer)
        if "failed" in answer:
            return  # one bad slice refuses the series: the rest of the job is of no use


def _read_one(place: int, source: str, frame_index: int, voxels: NDArray[np.int16]) -> dict[str, Any]:
    try:
        report = read_slice_into(_instance(source, frame_index), voxels[place])
    except PixelError as error:
        return {"failed": place, "code": error.code.value, "message": error.message}
    except MemoryError:
        message = "decoding needs more memory than it may have"
        return {"failed": place, "code": QualityCode.OUT_OF_MEMORY.value, "message": message}
    return {"done": place, "report": [report.lowest_hu, report.num_below_air, report.checksum]}


def _instance(source: str, frame_index: int) -> Instance:
    try:
        facts = Path(split_source(source)[0]).stat()
        instances = _images_of(source, facts.st_size, facts.st_mtime_ns)
    except HeaderError as error:
        raise PixelError(error.code or QualityCode.UNREADABLE, str(error)) from error
    except OSError as error:
        raise cannot_read(error) from error
    if frame_index >= len(instances):
        raise PixelError(QualityCode.UNREADABLE, "the file changed since it was found")
    return instances[frame_index]


@lru_cache(maxsize=2)
def _images_of(source: str, size: int, changed_ns: int) -> tuple[Instance, ...]:
    """Images of a file, its header parsed once for all its frames; size and time keep the cache honest."""
    del size, changed_ns
    return read_header(source).instances


def _answer(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _set_alarm(seconds: float) -> None:
    """Let the system end this process when a decoder hangs: no Python code would run any more."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(num_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = num_bytes if hard == resource.RLIM_INFINITY else min(num_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


if __name__ == "__main__":
    main()
