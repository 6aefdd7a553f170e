"""Fetch studies from a PACS by DICOMweb (QIDO-RS, WADO-RS), store results back (STOW-RS). Needs the ``pacs`` extra."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from domain.errors import InputError
from domain.whole_files import partial_path, write_whole
from inference.incoming_files import has_room, instance_path, remove_remains, series_folder, store

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PACS_NEEDED = "DICOMweb needs the pacs extra: pip install 'myolung[pacs]'"
MODALITY = "CT"
AS_STORED = (("application/dicom", "*"),)  # any transfer syntax: the server converts nothing
COMPLETE_MARK = "complete.txt"  # beside the files of a series that came whole: number of instances
NUM_TRIES = 3
FIRST_PAUSE_S = 1.0  # doubled after each failure
STUDY_UID, SERIES_UID = "0020000D", "0020000E"


@dataclass(frozen=True, slots=True)
class FetchSummary:
    """What came.

    Attributes:
        num_series: Found by the query.
        num_fetched: Came now.
        num_kept: Were there whole from an earlier call.
        failures: One line per series that did not come; no UID in it.
    """

    num_series: int
    num_fetched: int
    num_kept: int
    failures: tuple[str, ...]


def parse_query(items: Sequence[str]) -> dict[str, str]:
    """``["StudyDate=20240101-20240131"]`` as filters of a search.

    Raises:
        InputError: An item is not ``Attribute=value``.
    """
    filters: dict[str, str] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name.isalnum() or not value:
            raise InputError(f"--query {item!r} is not of the form Attribute=value, StudyDate=20240101-20240131 say")
        filters[name] = value
    return filters


def fetch_series(url: str, filters: Mapping[str, str], folder: Path) -> FetchSummary:
    """Fetch every CT series a query finds; called again, it fetches what is missing.

    Args:
        url: DICOMweb root, ``http://pacs:8042/dicom-web`` for instance.
        filters: Attribute -> value; see ``parse_query``.
        folder: Receives ``<study>/<series>/<instance>.dcm``.

    Raises:
        InputError: The extra is not installed, the server does not answer the search, or the disk is full.
    """
    client = _client(url)
    folder.mkdir(parents=True, exist_ok=True)
    remove_remains(folder)
    found = _searched(client, {"Modality": MODALITY, **filters}, url)
    fetched, kept, failures = 0, 0, []
    for number, series in enumerate(found, start=1):
        try:
            if _fetch_missing(client, _value(series, STUDY_UID), _value(series, SERIES_UID), folder):
                fetched += 1
            else:
                kept += 1
        except InputError as error:
            raise InputError(f"{error}; {fetched} series came, run again to go on") from error
        except Exception as error:  # a server's odd answer to one series must not cost the others
            logger.exception("series %d could not be fetched", number)
            failures.append(f"series {number} of {len(found)} did not come: {type(error).__name__}")
    return FetchSummary(len(found), fetched, kept, tuple(failures))


def send_back(url: str, files: Sequence[Path]) -> int:
    """Store DICOM results (SR, SEG) in the PACS; gives how many.

    Raises:
        InputError: The extra is not installed, or the server refuses.
    """
    client = _client(url)
    import pydicom

    try:
        for path in files:
            _with_retries(lambda path=path: client.store_instances([pydicom.dcmread(path)]))  # type: ignore[misc]
    except (OSError, ValueError) as error:
        raise InputError(f"{url} does not take results: {error}") from error
    return len(files)


def _client(url: str) -> Any:
    try:
        from dicomweb_client import DICOMwebClient
    except ImportError as error:
        raise InputError(PACS_NEEDED) from error
    client = DICOMwebClient(url)
    client.set_http_retry_params(retry=False)  # its own would wait a minute and a half for a server that is off
    return client


def _searched(client: Any, filters: dict[str, str], url: str) -> list[dict[str, Any]]:
    try:
        found = list(_all_pages(client, filters))
    except (OSError, ValueError) as error:
        raise InputError(f"{url} does not answer the search: {error}") from error
    return sorted(found, key=lambda series: (_value(series, STUDY_UID), _value(series, SERIES_UID)))


def _all_pages(client: Any, filters: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A server may answer a part at a time, and one that knows no offset gives the first part again and again."""
    met, num_listed = set[str](), 0
    while True:
        offset = num_listed or None
        page = _with_retries(lambda start=offset: client.search_for_series(search_filters=filters, offset=start))  # type: ignore[misc]
        fresh = {json.dumps(series, sort_keys=True): series for series in page}
        fresh = {text: series for text, series in fresh.items() if text not in met}
        if not fresh:
            return
        yield from fresh.values()
        met.update(fresh)
        num_listed += len(page)


def _fetch_missing(client: Any, study_uid: str, series_uid: str, folder: Path) -> bool:
    """Fetch a series unless it is there whole; True when it came now."""
    if not (study_uid and series_uid):
        raise ValueError("the server lists a series without its UIDs")
    place = series_folder(folder, study_uid, series_uid)
    if _is_whole(place):
        return False
    if not has_room(folder):
        raise InputError(f"{folder}: the disk is nearly full")
    _with_retries(lambda: _fetch_one(client, study_uid, series_uid, place))
    return True


def _fetch_one(client: Any, study_uid: str, series_uid: str, place: Path) -> None:
    """One series, instance by instance: a volume is never in memory twice, and half a series never in its place."""
    coming = partial_path(place)
    try:
        for data in client.iter_series(study_uid, series_uid, media_types=AS_STORED):
            store(coming / instance_path(place, study_uid, series_uid, str(data.SOPInstanceUID)).name, _encoded(data))
        if not coming.exists():
            raise ValueError("the server sent no instance")
        _put(coming, place)
    finally:
        shutil.rmtree(coming, ignore_errors=True)
    write_whole(place / COMPLETE_MARK, f"{_num_instances(place)}\n")


def _put(coming: Path, place: Path) -> None:
    """Move a series that came whole to its place; what a listener has put there before stays."""
    if not place.exists():
        coming.rename(place)
        return
    (place / COMPLETE_MARK).unlink(missing_ok=True)
    for path in coming.iterdir():
        path.replace(place / path.name)


def _encoded(data: Any) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _is_whole(place: Path) -> bool:
    mark = place / COMPLETE_MARK
    return mark.is_file() and mark.read_text(encoding="ascii").strip() == str(_num_instances(place))


def _num_instances(place: Path) -> int:
    return len(list(place.glob("*.dcm")))


def _with_retries(call: Callable[[], Answer]) -> Answer:
    """A network call that may fail now and then. ``requests`` raises kinds of OSError."""
    pause = FIRST_PAUSE_S
    for _ in range(NUM_TRIES - 1):
        try:
            return call()
        except OSError as error:
            logger.warning("a DICOMweb request failed (%s); it is tried again", type(error).__name__)
            time.sleep(pause)
            pause *= 2
    return call()


def _value(series: Mapping[str, Any], tag: str) -> str:
    values = series.get(tag, {}).get("Value") or [""]
    return str(values[0])
