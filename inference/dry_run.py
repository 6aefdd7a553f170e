"""What a run would do and how long it would take. Nothing is run and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from domain.records import CaseResult
from domain.settings import InferSettings
from inference.input_digest import input_digest, newest_change
from inference.ledger import Ledger, read_timings
from inference.runner import RunOptions, Study, num_processes, select_shard

# Used while nothing has been timed in the output folder: docs/benchmarks/batch.md, one core of a small server.
SECONDS_PER_STUDY = 0.5
SECONDS_PER_SLICE = 0.025
START_SECONDS = 5.0  # a process loads its libraries and its model
WHOLE = RunOptions()
WRITE_BYTES_PER_STUDY = 700_000  # result and pictures, as measured on a real scan


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """A run before it is begun.

    Attributes:
        num_studies: Found.
        num_done: Of them, with a result that stays.
        num_refused: Of them, decided without being read.
        num_to_run: The rest.
        num_slices: In the studies to run.
        num_workers: Processes.
        seconds: Expected duration, s.
        basis: What the duration is worked out from.
        write_bytes: Expected size of new results and pictures.
    """

    num_studies: int
    num_done: int
    num_refused: int
    num_to_run: int
    num_slices: int
    num_workers: int
    seconds: float
    basis: str
    write_bytes: int

    def sentences(self) -> tuple[str, ...]:
        """For the screen."""
        return (
            f"{self.num_studies} studies: {self.num_done} done before, {self.num_refused} refused, "
            f"{self.num_to_run} to run ({self.num_slices} slices) in {self.num_workers} process(es)",
            f"about {duration_text(self.seconds)}, {self.write_bytes / 1e6:.0f} MB to write; from {self.basis}",
        )


def estimate_run(
    studies: Sequence[Study],
    out_dir: Path,
    settings: InferSettings,
    digests: dict[str, str],
    options: RunOptions = WHOLE,
) -> RunEstimate:
    """What ``run_studies`` would do with the same arguments.

    Raises:
        InputError: The shard is out of range.
    """
    mine = select_shard(studies, options.shard)
    ledger = Ledger(out_dir, digests)
    refused = sum(isinstance(study, CaseResult) for study in mine)
    to_run = [study for study in mine if not isinstance(study, CaseResult) and not _is_done(ledger, study)]
    slices = sum(study.series.table.num_slices for study in to_run if not isinstance(study, CaseResult))
    workers = num_processes(to_run, settings)
    work, basis = _working_seconds(out_dir, len(to_run), slices)
    return RunEstimate(
        num_studies=len(mine),
        num_done=len(mine) - refused - len(to_run),
        num_refused=refused,
        num_to_run=len(to_run),
        num_slices=slices,
        num_workers=workers,
        seconds=(START_SECONDS + work / workers) if to_run else 0.0,
        basis=basis,
        write_bytes=WRITE_BYTES_PER_STUDY * len(to_run),
    )


def duration_text(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _is_done(ledger: Ledger, study: Study) -> bool:
    if isinstance(study, CaseResult):
        return False
    try:
        return ledger.find_done(study.case_key, input_digest(study), newest_change(study)) is not None
    except Exception:  # noqa: BLE001 - whatever a damaged file raises
        return False  # it will become a row of its own


def _working_seconds(out_dir: Path, num_to_run: int, num_slices: int) -> tuple[float, str]:
    timed = [stages["total"] for stages in read_timings(out_dir).values() if "total" in stages]
    if timed:
        return mean(timed) * num_to_run, f"{len(timed)} studies timed in this folder"
    guess = SECONDS_PER_STUDY * num_to_run + SECONDS_PER_SLICE * num_slices
    return guess, "a small server's figures (docs/benchmarks/batch.md); nothing was timed in this folder yet"
