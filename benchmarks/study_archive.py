"""Studies for the batch benchmarks: a few phantoms under many keys, or copied as studies of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from data_pipeline.discovery import survey
from data_pipeline.phantoms import generate_cohort
from domain.records import StudyTask

SizeName = Literal["tiny", "small", "full"]


def phantom_tasks(
    place: Path, num_studies: int, size: SizeName = "tiny", num_patients: int = 10, workers: int | None = None
) -> list[StudyTask]:
    """Studies of a few phantoms, each under many keys."""
    if not (place / "cases.csv").exists():
        generate_cohort(place, num_patients=min(num_patients, num_studies), seed=11, size=size, workers=workers)
    return tasks_in(place / "scans", num_studies)


def tasks_in(scans: Path, num_studies: int) -> list[StudyTask]:
    """Selected series of a folder, repeated under new keys until there are enough."""
    chosen = [series for series in survey(scans).series if series.selected]
    if not chosen:
        raise SystemExit(f"no usable study in {scans}")
    return [StudyTask(f"study-{index:05d}", chosen[index % len(chosen)]) for index in range(num_studies)]


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
