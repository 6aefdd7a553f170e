"""A stage that one process runs for all workers, in batches: the network on a GPU. What a worker sees of it is here.

The process itself is in ``stage_process``, its parent's side in ``stage_owners``.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from inference.shared_arrays import Arrays, BufferReader, SharedBuffer

CONNECT_S = 300.0  # a model may take long to load, and a process that died is started again
CONNECT_PAUSE_S = 0.05
MAX_DEATHS = 2  # of the process while it works on one request: among others, then alone


class BatchHandler(Protocol):
    """Answers several requests at once.

    Attributes:
        batch_size: Requests it likes to be given at a time, at most.
    """

    batch_size: int

    def __call__(self, requests: Sequence[Arrays]) -> Sequence[Mapping[str, NDArray[Any]]]:
        """One answer per request, in their order; an answer depends on its own request only."""


MakeHandler = Callable[[], BatchHandler]


@dataclass(frozen=True, slots=True)
class StageAddress:
    """Where the process of a shared stage listens, and the key that lets in."""

    name: str
    key: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> StageAddress:
        """An address nobody has; on Linux without a file that a killed run would leave behind."""
        name = f"myolung-{os.getpid()}-{secrets.token_hex(8)}"
        where = {"linux": f"\0{name}", "win32": rf"\\.\pipe\{name}"}.get(sys.platform)
        return cls(where or str(Path(tempfile.gettempdir()) / name), secrets.token_bytes(32))


class Reply(StrEnum):
    """First item of a message from the stage to a worker."""

    BEGAN = "began"  # the request is being worked on
    DONE = "done"  # handle: ArraysHandle
    FAILED = "failed"  # name: str, text: str of what was raised


class SharedStageError(RuntimeError):
    """The shared process raised, or died, over this request."""


class StageMemoryError(MemoryError):
    """The device of the shared process has too little memory for this request."""


class StageClient:
    """A worker's line to a shared stage: one request at a time. A process that died is waited for and asked again."""

    def __init__(self, address: StageAddress) -> None:
        self._address = address
        self._connection: Connection[Any, Any] | None = None
        self._request, self._answer = SharedBuffer(), BufferReader()

    def ask(self, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
        """Send a request and wait for its answer.

        Raises:
            StageMemoryError: The device is too small for it.
            SharedStageError: It cannot be answered.
        """
        handle = self._request.put(arrays)
        deaths = 0
        while True:
            began = False
            try:
                connection = self._connected()
                connection.send((handle, deaths > 0))
                said, *rest = connection.recv()
                while said is Reply.BEGAN:
                    began = True
                    said, *rest = connection.recv()
            except (EOFError, OSError):
                self._connection = None
                deaths += began  # waiting in line for another's request costs nothing
                if deaths >= MAX_DEATHS:
                    raise SharedStageError("the process that runs the network died over this study twice") from None
                continue
            if said is Reply.FAILED:
                raise _as_error(*rest)
            return {name: values.copy() for name, values in self._answer.get(rest[0]).items()}

    def _connected(self) -> Connection[Any, Any]:
        deadline = time.monotonic() + CONNECT_S
        while self._connection is None:
            try:
                self._connection = Client(self._address.name, authkey=self._address.key)
            except (OSError, EOFError):
                if time.monotonic() > deadline:
                    raise SharedStageError("the process that runs the network cannot be reached") from None
                time.sleep(CONNECT_PAUSE_S)
        return self._connection


def _as_error(name: str, text: str) -> Exception:
    if name in {"OutOfMemoryError", "MemoryError"}:
        return StageMemoryError(text)
    return SharedStageError(f"{name}: {text}")
