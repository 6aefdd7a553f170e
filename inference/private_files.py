"""What may identify a person or a source: the secret, tables of keys and series, the log. All under ``private/``."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from domain.errors import OutputFolderError
from domain.records import FileRecord, SeriesRef
from domain.series_rows import FILE_COLUMNS, SERIES_COLUMNS, Cell, file_row, series_row
from domain.whole_files import copy_whole, write_whole

PRIVATE = "private"
SECRET_FILE = "secret.txt"
KEYS_FILE, SERIES_FILE, FILES_FILE = "keys.csv", "series.csv", "files.csv"
LOG_FILE = "run.log"
KEY_LENGTH = 16  # hex digits of a case key; 64 bits: a million studies collide with a chance of 3e-8
SHORTEST_SECRET = 16  # characters; a shorter one could be guessed and the keys turned back into UIDs
KEY_COLUMNS = ("case_key", "study_uid", "series_uid", "patient_id", "study_date", "series_key", "path")
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run_secret(out_dir: Path, given: str | None = None, *, is_kept: bool = True) -> str:
    """The secret that keys are made with: as given, else the one kept in ``private/``, made there when missing.

    Args:
        out_dir: ``OUT``.
        given: Set it to the content of another run's ``private/secret.txt`` and both runs share keys.
        is_kept: False writes nothing: a folder without a secret gets one that is forgotten again.

    Raises:
        OutputFolderError: The given secret is too short, differs from the kept one, or nothing can be written.
    """
    path = out_dir / PRIVATE / SECRET_FILE
    if given is not None and len(given.strip()) < SHORTEST_SECRET:
        raise OutputFolderError(f"a key secret has at least {SHORTEST_SECRET} characters, found {len(given.strip())}")
    if not is_kept and not path.exists():
        return given.strip() if given else secrets.token_hex(32)
    try:
        _create_once(path, (given.strip() if given else secrets.token_hex(32)) + "\n")
    except OSError as error:
        raise OutputFolderError(f"{out_dir} cannot be written ({error.strerror}); choose another --out") from error
    kept = path.read_text(encoding="utf-8").strip()
    if len(kept) < SHORTEST_SECRET:
        raise OutputFolderError(f"{path} is damaged; restore it, or remove it and start with an empty --out")
    if given is not None and given.strip() != kept:
        raise OutputFolderError(f"{path} holds another secret than the one given; keys of one folder share one secret")
    return kept


def _create_once(path: Path, text: str) -> None:
    """Write a file unless it is there; of two runs that start at once, one makes it, and nobody meets half of it."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    write_whole(draft, text)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:  # a disk without hard links
        draft.replace(path)
    draft.unlink(missing_ok=True)


def case_key(secret: str, study_uid: str) -> str:
    """A key that cannot be turned back into the UID without the secret, the same for the same two.

    Args:
        secret: Of ``run_secret``.
        study_uid: StudyInstanceUID, or whatever stands for the study where it has none.
    """
    return hmac.new(secret.encode(), study_uid.encode(), hashlib.sha256).hexdigest()[:KEY_LENGTH]


def write_keys(out_dir: Path, keyed: Iterable[tuple[str, SeriesRef]]) -> None:
    """``private/keys.csv``: the only way back from a case key to a person.

    Args:
        out_dir: ``OUT``.
        keyed: Case key, and the series that was chosen for it, or refused.
    """
    rows = []
    for key, series in keyed:
        identity = series.identity
        facts = (identity.study_uid, identity.series_uid, identity.patient_id, identity.study_date)
        rows.append(dict(zip(KEY_COLUMNS, (key, *facts, series.series_key, identity.path), strict=True)))
    _write_table(out_dir / PRIVATE / KEYS_FILE, KEY_COLUMNS, rows)


def write_series(out_dir: Path, series: Iterable[SeriesRef], files: Iterable[FileRecord] = ()) -> None:
    """``private/series.csv`` and ``private/files.csv``: everything that was found, and what became of it."""
    _write_table(out_dir / PRIVATE / SERIES_FILE, SERIES_COLUMNS, (series_row(item) for item in series))
    _write_table(out_dir / PRIVATE / FILES_FILE, FILE_COLUMNS, (file_row(item) for item in files))


def join_private(parts: Sequence[Path], out_dir: Path) -> None:
    """Give a merged folder the way back to the persons: keys of all parts, secret and tables of the first.

    Every part of one run lists all its scans, so one part's tables are those of the whole.

    Args:
        parts: Output folders; of two rows for one key the first part's counts.
        out_dir: Where to; may be one of them. A secret that it has stays, and so do keys that no part knows.
    """
    rows: dict[str, dict[str, str]] = {}
    for folder in (*parts, out_dir):
        for row in _read_keys(folder / PRIVATE / KEYS_FILE):
            rows.setdefault(row["case_key"], row)
    if rows:
        _write_table(out_dir / PRIVATE / KEYS_FILE, KEY_COLUMNS, rows.values())
    for name in (SECRET_FILE, SERIES_FILE, FILES_FILE):
        source = next((part / PRIVATE / name for part in parts if (part / PRIVATE / name).is_file()), None)
        target = out_dir / PRIVATE / name
        if source is not None and not (name == SECRET_FILE and target.exists()):
            copy_whole(source, target)


def _read_keys(path: Path) -> Iterator[dict[str, str]]:
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as stream:
            yield from ({name: row.get(name) or "" for name in KEY_COLUMNS} for row in csv.DictReader(stream))


def open_log(out_dir: Path, *, level: int = logging.INFO) -> logging.Handler:
    """Append log records of this process and its workers to ``private/run.log``.

    Returns:
        The handler, added to the root logger; the caller removes and closes it.
    """
    path = out_dir / PRIVATE / LOG_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    handler.setLevel(level)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(min(level, logging.getLogger().level or level))
    return handler


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Cell]]) -> None:
    write_whole(path, _lines(columns, rows))


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, Cell]]) -> Iterator[str]:
    """Line by line: a tree of a million files makes a table that is not held as a whole."""
    line = io.StringIO()
    writer = csv.DictWriter(line, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _readable(value) for name, value in row.items()})
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()


def _readable(value: Cell) -> Cell:
    """Lone surrogates stand for bytes of a path that are no UTF-8: shown, not crashed over."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(value, str) else value
