"""What a run tells while it goes on and at its end. Results stay on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from domain.errors import ExitCode, InputError
from domain.records import CaseResult, CaseStatus
from inference.ledger import Ledger


@dataclass(frozen=True, slots=True)
class StudyFinished:
    """What a progress display is told after each study.

    Attributes:
        result: As written.
        was_done: It was there from an earlier run.
        num_done: Studies finished so far, earlier runs included.
        num_studies: Of all.
    """

    result: CaseResult
    was_done: bool
    num_done: int
    num_studies: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did. Results stay on disk and are read one at a time.

    Attributes:
        out_dir: ``OUT``.
        case_keys: Of all studies with a result, in the order of the tasks.
        counts: Studies per status.
        num_resumed: Of them, how many were there before.
        stage_seconds: Sum over the studies of this run, s.
        wall_seconds: Duration of this run, s.
        num_workers: Processes used; 0 for none.
        was_interrupted: Stopped before the end; the same command goes on.
    """

    out_dir: Path
    case_keys: tuple[str, ...]
    counts: Mapping[CaseStatus, int]
    num_resumed: int
    stage_seconds: Mapping[str, float]
    wall_seconds: float
    num_workers: int
    was_interrupted: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """As in the contract."""
        if self.was_interrupted:
            return ExitCode.INTERRUPTED
        bad = self.counts.get(CaseStatus.FAILED, 0) + self.counts.get(CaseStatus.REJECTED, 0)
        return ExitCode.SOME_FAILED if bad else ExitCode.OK

    @property
    def sentence(self) -> str:
        """What the run did, in one line."""
        counts = ", ".join(f"{count} {status.value}" for status, count in sorted(self.counts.items()))
        return f"{counts or 'no study'} in {self.wall_seconds:.1f} s ({self.num_resumed} from an earlier run)"

    def results(self) -> Iterator[CaseResult]:
        """Every result, in the order of the tasks, one in memory at a time."""
        return Ledger(self.out_dir, {}).read(self.case_keys)


class RunEndedError(InputError):
    """A run that had done something could not go on.

    Attributes:
        summary: Of what is done and kept, for the tables.
    """

    def __init__(self, message: str, summary: RunSummary) -> None:
        self.summary = summary
        super().__init__(message)
