"""Follow a folder that scans arrive in: a study is run when it has stopped growing. It does not know what a scan is."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from domain.records import CaseResult
from inference.ledger import may_pass
from inference.runner import Study

logger = logging.getLogger(__name__)

Arriving = tuple[Study, tuple[Path, ...]]  # a study, and the files of all its series
Fingerprint = tuple[tuple[str, int, int], ...]  # name, size, time of change of every file
FindEarlier = Callable[[str], CaseResult | None]  # the result an earlier run gave for a case key

# Of a study whose failure may pass, while its files stay the same: each try may cost its whole time limit.
MAX_TRIES = 2


def find_nothing(case_key: str) -> CaseResult | None:
    """Of a folder without earlier results."""
    del case_key
    return None


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
        find_earlier: Results that stay in the tables while their studies wait.
    """

    quiet_s: float
    clock: Callable[[], float] = time.monotonic
    find_earlier: FindEarlier = find_nothing
    _seen: dict[str, tuple[Fingerprint, float]] = field(default_factory=dict)
    _num_offers: Counter[str] = field(default_factory=Counter)  # of a study as it was last seen
    num_growing: int = 0

    def complete(self, arriving: Iterable[Arriving]) -> list[Study]:
        """The studies that have stopped growing, in their order, and what is known of the others from earlier.

        One that is refused as it stands, for missing slices perhaps, may still be growing too. One that failed again
        and again, for a reason that may pass, keeps its failure, so that it does not hold up the others each time.
        """
        now, ready, growing = self.clock(), list[Study](), 0
        for study, files in arriving:
            is_quiet = self._is_quiet(study.case_key, files, now)
            growing += not is_quiet
            if is_quiet and not self._has_failed_enough(study.case_key):
                self._num_offers[study.case_key] += 1
                ready.append(study)
            elif (earlier := self.find_earlier(study.case_key)) is not None:
                ready.append(earlier)
        self.num_growing = growing
        return ready

    def _has_failed_enough(self, key: str) -> bool:
        if self._num_offers[key] < MAX_TRIES:
            return False
        earlier = self.find_earlier(key)
        return earlier is not None and may_pass(earlier)

    def _is_quiet(self, key: str, files: Iterable[Path], now: float) -> bool:
        found = fingerprint_of(files)
        before, since = self._seen.get(key, (None, now))
        if found != before:
            since = now
            self._num_offers[key] = 0
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
    find_earlier: FindEarlier = find_nothing,
    should_stop: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look at a folder again and again until Ctrl-C, or until told to stop.

    Args:
        folder: Where scans arrive.
        run_round: Finds the studies, keeps those the watch calls ``complete``, runs them. What is done is skipped by
            the ledger, so a round in which nothing is new costs only the search.
        times: How often, and how quiet.
        find_earlier: Result of an earlier run for a case key.
        should_stop: Asked before each look.
        sleep: Waits between two looks.
    """
    watch = GrowthWatch(times.quiet_s, find_earlier=find_earlier)
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
