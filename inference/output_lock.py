"""One run at a time in an output folder; shards of one run may share it. What a run writes is not known here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from domain.errors import OutputFolderError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

RUN_LOCK = "run.lock"

# What the blocks around the present one hold (folder, shard): the system would refuse even its holder a second lock.
_held: ContextVar[frozenset[tuple[Path, str]]] = ContextVar("_held", default=frozenset())


@contextmanager
def locked_output(out_dir: Path, *, shard: str = "") -> Iterator[None]:
    """Hold the output folder while the block runs. The system gives the lock back when the process dies, however.

    A block inside, in the same thread, may ask for what is held already: the outer one keeps it until its own end.

    Args:
        out_dir: Made when missing.
        shard: Name of a part (``3-of-8``): parts share the folder, but two of the same name, or a part and a whole
            run, do not.

    Raises:
        OutputFolderError: Another run holds the folder, or it cannot be written.
    """
    with ExitStack() as stack:
        try:
            private = out_dir / "private"
            private.mkdir(parents=True, exist_ok=True)
            mine = out_dir.resolve(), shard
            if mine not in _held.get():
                _take(stack, private / RUN_LOCK, out_dir, shared=bool(shard))
                if shard:
                    _take(stack, private / f"shard-{shard}.lock", out_dir, shared=False)
                stack.callback(_held.reset, _held.set(_held.get() | {mine}))
        except OSError as error:
            raise OutputFolderError(f"{out_dir} cannot be written ({error.strerror}); choose another --out") from error
        yield


def _take(stack: ExitStack, path: Path, out_dir: Path, *, shared: bool) -> None:
    stream = stack.enter_context(path.open("a+b"))
    if not _try_lock(stream, shared=shared):
        raise OutputFolderError(
            f"another run is writing to {out_dir}; wait for it, stop it, or choose another --out "
            "(parts of one run share a folder with --shard i/n)"
        )


def _try_lock(stream: IO[bytes], *, shared: bool) -> bool:
    try:
        if sys.platform == "win32":  # whole-file sharing is not offered there: shards need their own --out
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
