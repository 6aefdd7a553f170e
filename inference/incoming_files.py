"""Where received DICOM files go: a folder per study and series, names that show nothing, each file whole or absent."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import time
from pathlib import Path

from domain.whole_files import PARTIAL_SUFFIX, write_whole

logger = logging.getLogger(__name__)

NAME_LENGTH = 16  # hex digits of a hashed UID: a hostile UID cannot name a path, and the name tells nothing
RESERVED_BYTES = 1_000_000_000  # kept free on the disk: results must still find room
REMAINS = re.compile(rf"\..+\.\d+-[0-9a-f]+{re.escape(PARTIAL_SUFFIX)}")  # as ``partial_path`` names them, no other
REMAINS_AGE_S = 3600.0  # unchanged for so long, no program writes to it any more: two may receive into one folder


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


def remove_remains(folder: Path) -> int:
    """Remove what a killed listener or fetch left anywhere below a folder; gives how many.

    What is younger than ``REMAINS_AGE_S`` stays: it may be another program's, and is never taken for a scan anyway.
    """
    remains = [path for path in folder.rglob(f".*{PARTIAL_SUFFIX}") if REMAINS.fullmatch(path.name) and _is_old(path)]
    for path in remains:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if remains:
        logger.info("removed %d half-received file(s) or series of an earlier run", len(remains))
    return len(remains)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > REMAINS_AGE_S
    except OSError:
        return False  # its writer has just renamed it


def _name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:NAME_LENGTH]
