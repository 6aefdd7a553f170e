"""Headers of many files, by threads where they are waited for. Judges no series."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import PurePath

from data_pipeline.dicom_header import HeaderError, read_header
from data_pipeline.dicom_images import Instance
from data_pipeline.readers.nifti_header import READ_BYTES, is_nifti_start
from data_pipeline.sources import read_start
from domain.archive_members import split_source
from domain.findings import QualityCode
from domain.records import FileRecord, FileStatus

logger = logging.getLogger(__name__)

CHUNK_FILES = 128
FIRST_CHUNK_FILES = 16  # a share that answers in 10 ms costs 0.2 s before it is noticed
MAX_SCAN_THREADS = 16
WAITING_RATIO = 3.0  # wall over processor time, above which files are waited for
NIFTI_SUFFIXES = (".nii", ".nii.gz")
APPLE_DOUBLE = b"\x00\x05\x16\x07"
METAIMAGE_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")

Progress = Callable[[int], None]
ScanItem = Instance | FileRecord


def scan_headers(
    sources: Iterable[str | FileRecord], progress: Progress | None, num_threads: int | None
) -> Iterator[ScanItem]:
    """Headers of all sources, in order.

    A warm disk is scanned quickest by one thread; a hospital's share is slow because it is waited for, which threads
    do side by side. So it starts with one and goes over to many as soon as waiting outweighs work.

    Args:
        sources: Files, or records of what is none.
        progress: Called with the number of files scanned so far.
        num_threads: A fixed number; chosen as above when None.
    """
    iterator, done = iter(sources), 0
    if num_threads is None or num_threads == 1:
        for items, count, is_waiting in _scan_here(iterator):
            yield from items
            done += count
            if progress:
                progress(done)
            if is_waiting and num_threads is None:
                break
    for items, count in _scan_in_threads(iterator, num_threads or min(MAX_SCAN_THREADS, 2 * (os.cpu_count() or 1))):
        yield from items
        done += count
        if progress:
            progress(done)


def _scan_here(iterator: Iterator[str | FileRecord]) -> Iterator[tuple[list[ScanItem], int, bool]]:
    """Chunks scanned in this thread, with their size and whether files were waited for."""
    size = FIRST_CHUNK_FILES
    while True:
        wall, work = time.perf_counter(), time.thread_time()
        chunk = list(islice(iterator, size))
        if not chunk:
            return
        items = scan_chunk(chunk)
        wall, work = time.perf_counter() - wall, time.thread_time() - work
        yield items, len(chunk), wall > WAITING_RATIO * work
        size = CHUNK_FILES


def _scan_in_threads(iterator: Iterator[str | FileRecord], num_threads: int) -> Iterator[tuple[list[ScanItem], int]]:
    """Chunks scanned by threads, in order; only a few are under way at a time, however many files there are."""
    with ThreadPoolExecutor(num_threads) as pool:
        pending: deque[tuple[Future[list[ScanItem]], int]] = deque()
        while True:
            chunk = list(islice(iterator, CHUNK_FILES)) if len(pending) < 4 * num_threads else []
            if chunk:
                pending.append((pool.submit(scan_chunk, chunk), len(chunk)))
            elif pending:
                future, count = pending.popleft()
                yield future.result(), count
            else:
                return


def scan_chunk(sources: list[str | FileRecord]) -> list[ScanItem]:
    """Headers of some sources: an instance per image, a record for everything else."""
    found: list[ScanItem] = []
    for source in sources:
        if isinstance(source, FileRecord):
            found.append(source)
        else:
            found += scan_source(source)
    return found


def scan_source(source: str) -> list[ScanItem]:
    """Header of one source. A volume file (NIfTI, MetaImage) comes back as a record marked as used."""
    try:
        if source.lower().endswith(NIFTI_SUFFIXES + METAIMAGE_SUFFIXES):
            is_shadow = _is_apple_double(source)
            return [FileRecord(source, FileStatus.IGNORED, QualityCode.NOT_DICOM) if is_shadow else _used(source)]
        return _scan_dicom(source)
    except OSError as error:
        logger.debug("a file cannot be read: %s", type(error).__name__)
        return [FileRecord(source, FileStatus.UNREADABLE, QualityCode.UNREADABLE)]


def _used(source: str) -> FileRecord:
    return FileRecord(source, FileStatus.USED)


def _is_apple_double(source: str) -> bool:
    """What macOS writes beside each file on foreign disks: the file's name after ``._``, and nothing of its content."""
    path, member = split_source(source)
    return PurePath(member or path).name.startswith("._") and read_start(source, 4)[0] == APPLE_DOUBLE


def _scan_dicom(source: str) -> list[ScanItem]:
    try:
        return list(read_header(source).instances)
    except HeaderError as error:
        if error.code is QualityCode.NOT_DICOM and is_nifti_start(read_start(source, READ_BYTES)[0]):
            return [_used(source)]  # under another name, or the header of a pair
        logger.debug("a file gives no image: %s", error)
        status = FileStatus.IGNORED if error.is_ignored else FileStatus.UNREADABLE
        return [FileRecord(source, status, error.code)]
