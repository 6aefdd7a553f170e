"""Seconds per step of an analysis."""

from __future__ import annotations

import time


class StopWatch:
    """Laps by name, in seconds.

    Attributes:
        seconds: Name -> time since the lap before.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a lap."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
