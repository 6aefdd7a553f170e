"""Files that are there whole or not at all: temporary name, fsync, rename. What stands in them is not known here."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

PARTIAL_SUFFIX = ".partial"  # a file of this name is the remains of a run that was stopped while writing


def write_whole(path: Path, content: bytes | str | Iterable[str]) -> None:
    """Write a file so that no reader, and no power cut, ever meets half of it.

    Args:
        path: Where to; an older file of this name is replaced in one step. Missing folders are made.
        content: Text is written as UTF-8, line ends as they are; text in parts is never held as a whole.

    Raises:
        OSError: The disk is full or the place cannot be written; the older file is then untouched.
    """
    parts: Iterable[bytes | str] = (content,) if isinstance(content, bytes | str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        with partial.open("xb") as stream:
            for part in parts:
                stream.write(part.encode("utf-8") if isinstance(part, str) else part)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def copy_whole(source: Path, path: Path) -> None:
    """Copy a file of any size, its time included, so that no reader ever meets half of it.

    Raises:
        OSError: As ``write_whole``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        shutil.copy2(source, partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_path(path: Path) -> Path:
    """Where something is made that will be renamed to ``path`` once it is whole; no two programs get the same."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL_SUFFIX}")


def is_partial(name: str) -> bool:
    """A file or folder of this name is not whole: it is being written, or its writer was killed."""
    return name.startswith(".") and name.endswith(PARTIAL_SUFFIX)


def remove_partial_files(folder: Path) -> int:
    """Remove what runs that were killed while writing left in a folder; gives how many."""
    remains = [path for path in folder.glob(f".*{PARTIAL_SUFFIX}") if path.is_file()]
    for path in remains:
        path.unlink(missing_ok=True)
    return len(remains)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut. Windows has no such call and needs none (NTFS journals names)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
