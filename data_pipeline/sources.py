"""Where bytes come from: files and members of zip archives, read in place. Knows no format's content.

A source is a string: a path, or ``archive.zip!member``. Members are never written to disk, so a member's name cannot
lead anywhere; names that try to are refused all the same, because such an archive was not made by a hospital.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from functools import lru_cache
from io import FileIO
from pathlib import Path, PurePosixPath

from domain.archive_members import MEMBER_SEPARATOR, split_source

MAX_MEMBER_BYTES = 4 << 30  # of one archive member; the largest enhanced CT object is about 2 GiB
MAX_RATIO = 250  # deflate reaches 1,000:1 on constant bytes; CT reaches 2:1 to 20:1
RATIO_FREE_BYTES = 4 << 20  # small members may be all padding

ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError)


class UnsafeArchiveError(OSError):
    """An archive member that may not be read: a bomb, a link or a name that leads out of the archive."""


def is_member(source: str) -> bool:
    """The source is inside an archive."""
    return split_source(source)[1] != ""


def read_start(source: str, count: int) -> tuple[bytes, int]:
    """First bytes of a source and its whole size.

    Raises:
        OSError: It cannot be read; ``UnsafeArchiveError`` for a refused archive member.
    """
    if MEMBER_SEPARATOR in source:
        path, member = split_source(source)
        if member:
            return _read_member(path, member, count)
    descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return os.read(descriptor, count), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def read_span(source: str, offset: int, length: int) -> bytes:
    """Bytes ``offset`` to ``offset + length`` of a source, or as many of them as there are.

    Raises:
        OSError: It cannot be read.
    """
    path, member = split_source(source)
    if member:
        return _read_member(path, member, offset + length)[0][offset:]
    with FileIO(path) as stream:
        there = os.fstat(stream.fileno()).st_size - offset  # a read allocates what it is asked for
        stream.seek(max(offset, 0))
        return stream.read(max(0, min(length, there)))


def _read_member(path: str, member: str, count: int) -> tuple[bytes, int]:
    archive = open_archive(path, Path(path).stat().st_mtime_ns)
    try:
        info = archive.getinfo(member)
        if reason := refused_member(info):
            raise UnsafeArchiveError(reason)
        with archive.open(info) as stream:
            return stream.read(min(count, info.file_size)), info.file_size
    except KeyError as error:
        raise FileNotFoundError("no such archive member") from error
    except ARCHIVE_ERRORS as error:
        raise OSError(f"archive member cannot be read: {type(error).__name__}") from error


@lru_cache(maxsize=8)
def open_archive(path: str, modified_ns: int) -> zipfile.ZipFile:  # the time is part of the cache key
    """An archive, opened once for all its members; again when the file has changed.

    Raises:
        OSError: It is no readable zip archive.
    """
    try:
        return zipfile.ZipFile(path)
    except ARCHIVE_ERRORS as error:
        raise OSError(f"not readable as a zip archive: {type(error).__name__}") from error


def refused_member(info: zipfile.ZipInfo) -> str:
    """Why an archive member may not be read; empty when it may."""
    name = info.filename.replace("\\", "/")
    if name.startswith("/") or ".." in PurePosixPath(name).parts or name[1:2] == ":" or "\0" in info.orig_filename:
        return "its name leads out of the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "it is a link"
    if info.flag_bits & 0x1:
        return "it is encrypted"
    if info.file_size > MAX_MEMBER_BYTES:
        return f"it declares {info.file_size} bytes"
    if info.file_size > RATIO_FREE_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return f"it declares {info.file_size} bytes in {info.compress_size}"
    return ""


# First bytes of what holds files and is not opened; a zip is opened by its name, so one met here has none or is nested.
_ARCHIVE_STARTS = (
    (b"\x1f\x8b", "gzip"), (b"PK\x03\x04", "zip"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07", "rar"),
    (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"),
)  # fmt: skip
_DOCUMENT_MARKS = (b"[Content_Types].xml", b"mimetype", b"META-INF/")  # office documents and programs are zips too


def archive_kind(start: bytes) -> str:
    """Kind of archive that a file's first bytes are of, empty for none; office documents do not count."""
    if start[257:262] == b"ustar":
        return "tar"
    for magic, kind in _ARCHIVE_STARTS:
        if start.startswith(magic):
            return "" if kind == "zip" and start[30:60].startswith(_DOCUMENT_MARKS) else kind
    return ""
