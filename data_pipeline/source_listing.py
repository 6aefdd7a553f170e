"""Every file below a folder, archives opened up. Reads no file's content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from data_pipeline.sources import MAX_RATIO, RATIO_FREE_BYTES, open_archive, refused_member
from domain.archive_members import MEMBER_SEPARATOR
from domain.findings import QualityCode
from domain.records import FileRecord, FileStatus
from domain.whole_files import is_partial

MAX_MEMBERS = 1_000_000
OUTPUT_MARK = Path("private", "series.csv")  # `export` and `infer.py` write it before anything that looks like a scan
SORTED_ENTRIES = 50_000  # of a folder, sorted at a time


def list_sources(scans: Path) -> Iterator[str | FileRecord]:
    """Every file below a folder (or the one file given), archives opened up; what cannot be listed as a record.

    Links to folders are followed once; a link back up is not. Devices, pipes and sockets are passed over, and so is
    what a listener or a fetch has not finished writing: half a slice would spoil its series. An output folder below the
    one given is no input: the next run would take results for scans.
    """
    if scans.is_file():
        yield from _expand(str(scans))
        return
    root, met = scans.resolve(), set[tuple[int, int]]()
    folders = [str(scans)]
    while folders:
        folder = folders.pop()
        for entry in _entries(folder):
            if isinstance(entry, FileRecord):
                yield entry
                continue
            if is_partial(entry.name):
                yield FileRecord(entry.path, FileStatus.IGNORED, QualityCode.TRUNCATED)
                continue
            kind = _kind(entry)
            if kind == "file":
                yield from _expand(entry.path)
            elif kind == "folder" and _is_output(entry.path):
                yield FileRecord(entry.path, FileStatus.IGNORED)
            elif kind == "folder" and not (entry.is_symlink() and _is_met(Path(entry.path), root, met)):
                folders.append(entry.path)
            elif kind != "folder":
                status = FileStatus.UNREADABLE if entry.is_symlink() else FileStatus.IGNORED
                yield FileRecord(entry.path, status, QualityCode.UNREADABLE)


def _kind(entry: os.DirEntry[str]) -> str:
    """``file``, ``folder`` or ``other``; a link counts as what it leads to, one that leads in a circle to nothing."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:
        return "other"


def _is_output(folder: str) -> bool:
    try:
        return Path(folder, OUTPUT_MARK).is_file()
    except OSError:  # a folder that may not be entered is said to be so where it is listed
        return False


def _is_met(link: Path, root: Path, met: set[tuple[int, int]]) -> bool:
    """A link leads to a folder that is walked anyway, or was already."""
    if link.resolve().is_relative_to(root):
        return True
    facts = link.stat()
    identity = (facts.st_dev, facts.st_ino)
    is_known = identity in met
    met.add(identity)
    return is_known


def _entries(folder: str) -> Iterator[os.DirEntry[str] | FileRecord]:
    """What a folder holds, by name; a folder beyond the limit in runs, each by name: it is never held as a whole."""
    try:
        with os.scandir(folder) as found:
            while run := sorted(islice(found, SORTED_ENTRIES), key=lambda entry: entry.name):
                yield from run
    except OSError:
        yield FileRecord(folder, FileStatus.UNREADABLE, QualityCode.UNREADABLE)


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
    met = set[str]()
    for info in members:
        if info.is_dir():
            continue
        source = f"{path}{MEMBER_SEPARATOR}{info.filename}"
        if refused_member(info) or info.filename in met:  # of members of one name only the last could be read
            yield FileRecord(source, FileStatus.UNREADABLE, QualityCode.UNSAFE_ARCHIVE)
        else:
            met.add(info.filename)
            yield source
