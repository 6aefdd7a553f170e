"""The error of pixels that cannot be had, with its typed reason, and what becomes of it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import StudyError
from domain.findings import QualityCode, Stage


class PixelError(Exception):
    """The pixels of one image cannot be had; a series of such images is refused."""

    def __init__(self, code: QualityCode, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)

    def __reduce__(self) -> tuple[type[PixelError], tuple[QualityCode, str]]:
        """Cross process borders whole."""
        return type(self), (self.code, self.message)


# The storage is ill, not the file: a network share that is away, too many open files, no memory for a buffer.
PASSING_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        "EIO", "ESTALE", "ETIMEDOUT", "ENETDOWN", "ENETUNREACH", "ECONNRESET", "ECONNABORTED", "EHOSTDOWN",
        "EHOSTUNREACH", "ENOTCONN", "EREMOTEIO", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EINTR", "EBUSY",
    )
    if hasattr(errno, name)
)  # fmt: skip


def cannot_read(error: OSError | PixelError) -> PixelError:
    """The typed form of a file that cannot be read; an error that is typed already comes back as it is.

    A fault of the storage is ``internal_error``, which the next run tries again; everything else (no such file, no
    permission, damaged compression) is ``unreadable``.
    """
    if isinstance(error, PixelError):
        return error
    if error.errno in PASSING_ERRORS:
        name = errno.errorcode[error.errno or 0]
        message = f"the storage failed while a file was read ({name}); the next run tries this study again"
        return PixelError(QualityCode.INTERNAL_ERROR, message)
    return PixelError(QualityCode.UNREADABLE, f"a file cannot be read: {type(error).__name__}")


@contextmanager
def reading() -> Iterator[None]:
    """What the block meets in a file is the study's: a ``StudyError`` of the stage ``read``."""
    try:
        yield
    except (PixelError, OSError) as error:
        problem = cannot_read(error)
        raise StudyError(Stage.READ, problem.code, problem.message) from error
