"""A digest of what a study is made from, cheap enough for a million of them. Voxels are not decoded here."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from domain.archive_members import split_source
from domain.records import Case, StudyTask
from domain.specs import DIGEST_LENGTH, digest_of

BLOCK_BYTES = 4096  # read at the head, the middle and the tail of each file: header, pixels, last row


def input_digest(task: StudyTask) -> str:
    """Digest of the files of the series, the sizes of its alternatives and the row of the case table.

    Files count by size and by three blocks of their bytes, not by name or date: a copied folder has the same digest.
    A change elsewhere inside a file is caught by its date (see ``inference.ledger``).

    Raises:
        OSError: A file vanished or cannot be read.
    """
    files = [_file_fingerprint(name) for name in task.series.files]
    others = [[_size(name) for name in other.files] for other in task.series.alternatives]
    return digest_of({"files": files, "alternatives": others, "case": _case_facts(task.case)})


def newest_change(task: StudyTask) -> float:
    """Time of the last change to any source file, seconds since the epoch; 0 without files."""
    names = (name for series in (task.series, *task.series.alternatives) for name in series.files)
    return max((Path(split_source(name)[0]).stat().st_mtime for name in names), default=0.0)


def _case_facts(case: Case | None) -> dict[str, object]:
    """What of a case can change the answer: antibodies and covariates, never the outcome."""
    if case is None:
        return {}
    antibodies = {key: asdict(result) for key, result in case.antibodies.items()}
    return {"antibodies": antibodies, "covariates": dict(case.covariates)}


def _size(name: str) -> str | int:
    """Size of a file; of an archive's member its size and check sum."""
    path = Path(split_source(name)[0])
    return path.stat().st_size if str(path) == name else _file_fingerprint(name)


def _file_fingerprint(name: str) -> str:
    path = Path(split_source(name)[0])
    if str(path) != name:
        stat = path.stat()
        return _archive_members(str(path), stat.st_size, stat.st_mtime_ns)[name[len(str(path)) + 1 :]]
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb", buffering=0) as stream:
        for offset in sorted({0, max(0, size // 2), max(0, size - BLOCK_BYTES)}):
            stream.seek(offset)
            digest.update(stream.read(BLOCK_BYTES))
    return digest.hexdigest()[:DIGEST_LENGTH]


@lru_cache(maxsize=8)
def _archive_members(path: str, size: int, changed_ns: int) -> dict[str, str]:
    """Size and CRC of each member from the archive's own table; the arguments beyond ``path`` keep the cache honest."""
    del size, changed_ns
    with zipfile.ZipFile(path) as archive:
        return {item.filename: f"{item.file_size}:{item.CRC:08x}" for item in archive.infolist()}
