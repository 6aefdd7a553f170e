"""The inside of the process that runs a shared stage: requests of many workers in, batches through the handler.

While one batch is worked on the next requests gather, so batches are full exactly when this stage is the slower one.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from inference.shared_arrays import Arrays, ArraysHandle, BufferReader, SharedBuffer
from inference.shared_stage import BatchHandler, MakeHandler, Reply, StageAddress
from inference.worker_messages import Say
from inference.worker_process import begin_process, make_or_say_why_not

logger = logging.getLogger(__name__)

HARMLESS = frozenset({"OutOfMemoryError", "MemoryError", "StudyError", "ValueError"})  # the device is as before


@dataclass(frozen=True, slots=True)
class StageSetup:
    """What the process is started with.

    Attributes:
        make_handler: Called once, in the process.
        address: Where it listens.
        gpu: Value of CUDA_VISIBLE_DEVICES; None leaves it.
    """

    make_handler: MakeHandler
    address: StageAddress
    gpu: str | None = None


@dataclass(slots=True)
class _Caller:
    """One worker's connection, with memory for the answers to it."""

    connection: Connection[Any, Any]
    requests: BufferReader = field(default_factory=BufferReader)
    answers: SharedBuffer = field(default_factory=SharedBuffer)

    def say(self, *message: object) -> None:
        """Send; a worker that is gone needs no answer."""
        with suppress(OSError):
            self.connection.send(message)


@dataclass(frozen=True, slots=True)
class _Request:
    caller: _Caller
    arrays: Arrays
    alone: bool  # it was in a process that died


def stage_main(connection: Connection[Any, Any], setup: StageSetup, parent_pid: int) -> None:
    """Entry point of the process: make the handler, then serve until the parent is gone or says stop."""
    pipe = begin_process(connection, parent_pid, setup.gpu)
    handler = make_or_say_why_not(setup.make_handler, pipe)
    if handler is None:
        return
    if sys.platform == "darwin":
        Path(setup.address.name).unlink(missing_ok=True)  # of a process before this one
    listener = Listener(setup.address.name, authkey=setup.address.key, backlog=128)
    line: queue.SimpleQueue[_Request] = queue.SimpleQueue()
    threading.Thread(target=_accept, args=(listener, line), daemon=True).start()
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    pipe.say(Say.READY)
    try:
        while True:
            batch = next_batch(line, handler.batch_size)
            pipe.say(Say.BEGAN)
            serve_batch(handler, batch)
            pipe.say(Say.WAITS)
    except Exception:
        logger.exception("the shared stage ends; another process takes over")
        os._exit(1)


def _end_with_parent(connection: Connection[Any, Any]) -> None:
    with suppress(EOFError, OSError):
        connection.recv()  # anything, or the end of the pipe: stop
    os._exit(0)  # the device's libraries may hang on an ordinary exit while a kernel runs


def _accept(listener: Listener, line: queue.SimpleQueue[_Request]) -> None:
    while True:
        try:
            connection = listener.accept()
        except Exception:  # noqa: BLE001 - a stranger without the key must not end the stage
            logger.info("a connection to the shared stage was refused")
            continue
        threading.Thread(target=_hear, args=(_Caller(connection), line), daemon=True).start()


def _hear(caller: _Caller, line: queue.SimpleQueue[_Request]) -> None:
    with suppress(EOFError, OSError):
        while True:
            handle, alone = caller.connection.recv()
            assert isinstance(handle, ArraysHandle)
            line.put(_Request(caller, caller.requests.get(handle), alone))


def next_batch(line: queue.SimpleQueue[_Request], size: int) -> list[_Request]:
    """Wait for a request, then take what else is there, up to ``size``; one that must be alone is a batch."""
    batch = [line.get()]
    while len(batch) < size and not batch[-1].alone:
        try:
            request = line.get_nowait()
        except queue.Empty:
            break
        if request.alone:
            line.put(request)  # its turn comes; the rest of the line is not held up by it
            break
        batch.append(request)
    return batch


def serve_batch(handler: BatchHandler, batch: Sequence[_Request]) -> None:
    """Answer a batch; if it fails, each of its requests alone.

    Raises:
        Exception: What a single request raised, after that was told, where the device may have suffered from it: the
            process is then better ended, and the parent starts another.
    """
    for request in batch:
        request.caller.say(Reply.BEGAN)
    try:
        answers = handler([request.arrays for request in batch])
    except Exception as error:
        if len(batch) > 1 and type(error).__name__ in HARMLESS:
            for request in batch:
                serve_batch(handler, [request])
            return
        if len(batch) == 1:
            logger.info("the shared stage cannot answer a request", exc_info=error)
            batch[0].caller.say(Reply.FAILED, type(error).__name__, str(error))
        if type(error).__name__ not in HARMLESS:
            raise  # callers that have no answer yet ask again, alone
        return
    for request, answer in zip(batch, answers, strict=True):
        request.caller.say(Reply.DONE, request.caller.answers.put(answer))
