"""Where received DICOM files go: a folder per study and series, names that show nothing, each file whole or absent."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from domain.whole_files import write_whole

NAME_LENGTH = 16  # hex digits of a hashed UID: a hostile UID cannot name a path, and the name tells nothing
RESERVED_BYTES = 1_000_000_000  # kept free on the disk: results must still find room


def instance_path(folder: Path, study_uid: str, series_uid: str, instance_uid: str) -> Path:
    """Place of one instance: the same for the same three UIDs, so a file sent twice is there once."""
    return series_folder(folder, study_uid, series_uid) / f"{_name(instance_uid)}.dcm"


def series_folder(folder: Path, study_uid: str, series_uid: str) -> Path:
    """Place of one series."""
    return folder / _name(study_uid) / _name(series_uid)


def has_room(folder: Path, num_bytes: int = 0) -> bool:
    """The disk can take so many bytes and keep its reserve."""
    return shutil.disk_usage(folder).free - num_bytes > RESERVED_BYTES


def store(path: Path, content: bytes) -> None:
    """Write one received file.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    write_whole(path, content)


def _name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:NAME_LENGTH]
