"""The error of pixels that cannot be had, with its typed reason."""

from __future__ import annotations

import errno

from domain.findings import QualityCode


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


def cannot_read(error: OSError) -> PixelError:
    """The typed form of a file that cannot be read.

    A fault of the storage is ``internal_error``, which the next run tries again; everything else (no such file, no
    permission, damaged compression) is ``unreadable``.
    """
    if error.errno in PASSING_ERRORS:
        name = errno.errorcode[error.errno or 0]
        message = f"the storage failed while a file was read ({name}); the next run tries this study again"
        return PixelError(QualityCode.INTERNAL_ERROR, message)
    return PixelError(QualityCode.UNREADABLE, f"a file cannot be read: {type(error).__name__}")
