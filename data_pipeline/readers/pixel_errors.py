"""The error of pixels that cannot be had, with its typed reason."""

from __future__ import annotations

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
