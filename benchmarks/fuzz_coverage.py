"""Branch coverage of the room that reads files, cheap enough to guide a fuzzer: which line followed which in each.

``sys.settrace`` sees the parsers, which are Python; the decoders are C in a process of their own, unseen.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

ROOM = str(Path(__file__).resolve().parents[1] / "data_pipeline")
Branch = tuple[int, int, int]  # function, line left, line reached


class BranchCoverage:
    """Branches met so far."""

    def __init__(self) -> None:
        self.met: set[Branch] = set()
        self._codes: dict[Any, int] = {}

    @contextmanager
    def following(self) -> Iterator[Callable[[], bool]]:
        """Follow what runs inside, new threads too; the value tells whether it met a branch never met before."""
        before = len(self.met)
        threading.settrace(self._on_call)
        sys.settrace(self._on_call)
        try:
            yield lambda: len(self.met) > before
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]

    def _on_call(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        del event, argument
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        number = self._codes.setdefault(frame.f_code, len(self._codes))
        last, add = frame.f_lineno, self.met.add

        def on_line(inner: FrameType, event: str, argument: object) -> Callable[..., Any]:
            nonlocal last
            del event, argument
            line = inner.f_lineno
            add((number, last, line))
            last = line
            return on_line

        return on_line
