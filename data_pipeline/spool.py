"""What is too much for memory, kept in a nameless temporary file until it is asked for."""

from __future__ import annotations

import json
import logging
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, overload

from domain.findings import QualityCode
from domain.records import FileRecord, FileStatus

logger = logging.getLogger(__name__)

Place = tuple[int, int]  # first byte and length
RECORDS_IN_MEMORY = 20_000  # 3 MB


class Spool:
    """JSON values in a file without a name, which the system removes with the last handle."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0

    def write(self, value: Any) -> Place:
        """Append a value.

        Raises:
            OSError: The temporary folder is full.
        """
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="survey")  # noqa: SIM115 - closed with this object
            weakref.finalize(self, self._file.close)
        data = json.dumps(value, separators=(",", ":")).encode()
        self._file.seek(self._end)
        self._file.write(data)
        self._file.flush()
        place = (self._end, len(data))
        self._end += len(data)
        return place

    def read(self, place: Place) -> Any:
        """A value written before."""
        if self._file is None:
            raise ValueError("nothing was written to this spool")
        self._file.seek(place[0])
        return json.loads(self._file.read(place[1]))


class FileListing(Sequence[FileRecord]):
    """What became of each file, in order: the newest in memory, the others on disk. Add with ``extend``."""

    def __init__(self, records: Iterable[FileRecord] = (), *, limit: int = RECORDS_IN_MEMORY) -> None:
        self._limit = limit
        self._spool = Spool()
        self._blocks: list[Place] = []
        self._newest: list[FileRecord] = []
        self._length = 0
        self.extend(records)

    def extend(self, records: Iterable[FileRecord]) -> None:
        """Add records at the end."""
        for record in records:
            self._newest.append(record)
            self._length += 1
            if len(self._newest) >= self._limit:
                self._put_away()

    def _put_away(self) -> None:
        rows = [[record.path, record.status.value, record.code and record.code.value] for record in self._newest]
        try:
            self._blocks.append(self._spool.write(rows))
        except OSError as error:
            logger.warning("the temporary folder takes no more (%s): the list of files stays in memory", error.strerror)
            self._limit = 1 << 62
            return
        self._newest = []

    def __len__(self) -> int:
        """Number of records."""
        return self._length

    def __iter__(self) -> Iterator[FileRecord]:
        """All records, a block at a time."""
        for place in self._blocks:
            for path, status, code in self._spool.read(place):
                yield FileRecord(path, FileStatus(status), None if code is None else QualityCode(code))
        yield from self._newest

    @overload
    def __getitem__(self, place: int) -> FileRecord: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[FileRecord, ...]: ...
    def __getitem__(self, place: int | slice) -> FileRecord | tuple[FileRecord, ...]:
        """One record, or some; walks over all of them."""
        return tuple(self)[place]
