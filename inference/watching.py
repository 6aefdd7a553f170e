"""Follow a folder that scans arrive in: a study is run when it has stopped growing. It does not know what a scan is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from inference.runner import Study

logger = logging.getLogger(__name__)

Arriving = tuple[Study, tuple[Path, ...]]  # a study, and the files of all its series
Fingerprint = tuple[tuple[str, int, int], ...]  # name, size, time of change of every file


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """How often to look, and for how long a study must not have changed.

    Attributes:
        poll_s: Between two looks at the folder.
        quiet_s: A study whose files were the same for so long is complete. A sender that pauses longer between two
            slices has its study run twice, the second time with all slices.
    """

    poll_s: float = 5.0
    quiet_s: float = 30.0


@dataclass(slots=True)
class GrowthWatch:
    """Remembers when each study was last seen to change, by the clock of this machine alone.

    Attributes:
        quiet_s: See ``WatchTimes``.
        clock: Seconds, rising.
    """

    quiet_s: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[Fingerprint, float]] = field(default_factory=dict)
    num_growing: int = 0

    def complete(self, arriving: Iterable[Arriving]) -> list[Study]:
        """The studies that have stopped growing, in their order.

        One that is refused as it stands, for missing slices perhaps, may still be growing too.
        """
        now, ready, growing = self.clock(), [], 0
        for study, files in arriving:
            if self._is_quiet(study.case_key, files, now):
                ready.append(study)
            else:
                growing += 1
        self.num_growing = growing
        return ready

    def _is_quiet(self, key: str, files: Iterable[Path], now: float) -> bool:
        found = fingerprint_of(files)
        before, since = self._seen.get(key, (None, now))
        if found != before:
            since = now
        self._seen[key] = (found, since)
        return not found or now - since >= self.quiet_s


def fingerprint_of(paths: Iterable[Path]) -> Fingerprint:
    """Names, sizes and times of files; a file that vanished meanwhile has size -1."""
    return tuple(_facts(path) for path in paths)


def follow(
    folder: Path,
    run_round: Callable[[GrowthWatch], None],
    times: WatchTimes,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look at a folder again and again until Ctrl-C, or until told to stop.

    Args:
        folder: Where scans arrive.
        run_round: Finds the studies, keeps those the watch calls ``complete``, runs them. What is done is skipped by
            the ledger, so a round in which nothing is new costs only the search.
        times: How often, and how quiet.
        should_stop: Asked before each look.
        sleep: Waits between two looks.
    """
    watch = GrowthWatch(times.quiet_s)
    before: Fingerprint | None = None
    while not should_stop():
        now = fingerprint_of(sorted(path for path in folder.rglob("*") if path.is_file()))
        if now != before or watch.num_growing:
            logger.info("%d file(s) in the folder; looking for complete studies", len(now))
            run_round(watch)
        before = now
        sleep(times.poll_s)


def _facts(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return str(path), -1, 0
    return str(path), stat.st_size, stat.st_mtime_ns
