"""Every file below a folder, archives opened up. Reads no file's content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from data_pipeline.sources import MAX_RATIO, RATIO_FREE_BYTES, open_archive, refused_member
from domain.archive_members import MEMBER_SEPARATOR
from domain.findings import QualityCode
from domain.records import FileRecord, FileStatus

MAX_MEMBERS = 1_000_000


def list_sources(scans: Path) -> Iterator[str | FileRecord]:
    """Every file below a folder (or the one file given), archives opened up; what cannot be listed as a record.

    Links to folders are followed once; a link back up is not. Devices, pipes and sockets are passed over.
    """
    if scans.is_file():
        yield from _expand(str(scans))
        return
    seen = {_identity(scans)}
    folders = [str(scans)]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            yield FileRecord(folder, FileStatus.UNREADABLE, QualityCode.UNREADABLE)
            continue
        for entry in entries:
            if entry.is_dir():
                identity = _identity(Path(entry.path)) if entry.is_symlink() else None
                if identity is None or identity not in seen:
                    seen |= {identity} if identity else set()
                    folders.append(entry.path)
            elif entry.is_file():
                yield from _expand(entry.path)
            else:
                status = FileStatus.UNREADABLE if entry.is_symlink() else FileStatus.IGNORED
                yield FileRecord(entry.path, status, QualityCode.UNREADABLE)


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _expand(path: str) -> Iterator[str | FileRecord]:
    if not path.lower().endswith(".zip"):
        yield path
        return
    try:
        members = open_archive(path, Path(path).stat().st_mtime_ns).infolist()
    except OSError:
        yield FileRecord(path, FileStatus.UNREADABLE, QualityCode.UNREADABLE)
        return
    declared = sum(info.file_size for info in members)
    if len(members) > MAX_MEMBERS or declared > max(MAX_RATIO * Path(path).stat().st_size, RATIO_FREE_BYTES):
        yield FileRecord(path, FileStatus.UNREADABLE, QualityCode.UNSAFE_ARCHIVE)
        return
    for info in members:
        if info.is_dir():
            continue
        source = f"{path}{MEMBER_SEPARATOR}{info.filename}"
        yield FileRecord(source, FileStatus.UNREADABLE, QualityCode.UNSAFE_ARCHIVE) if refused_member(info) else source
