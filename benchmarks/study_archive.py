"""Studies for the batch benchmarks: a few phantoms under many keys, or copied as studies of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from data_pipeline.discovery import survey
from data_pipeline.phantoms import generate_cohort
from domain.records import StudyTask

UID = re.compile(rb"(2\.25\.\d{20,36})(\d{4})(?!\d)")  # of the phantom writer: 2.25 and a random number
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


def distinct_copies(originals: Path, archive: Path, num_studies: int) -> list[Path]:
    """Studies of their own made from a few phantoms: other UIDs and other pixels, one folder each."""
    folders = sorted(path for path in (originals / "scans").iterdir() if path.is_dir())
    targets = []
    for index in range(num_studies):
        target = archive / f"{index:05d}"
        target.mkdir(parents=True)
        for path in sorted(folders[index % len(folders)].rglob("*.dcm")):
            (target / path.name).write_bytes(as_another_study(path.read_bytes(), index))
        targets.append(target)
    return targets


def as_another_study(content: bytes, index: int) -> bytes:
    """An uncompressed phantom slice with every UID of its own moved by ``index``, and its last two pixels too."""
    changed = bytearray(UID.sub(lambda found: found[1] + _moved(found[2], index), content))
    last = np.frombuffer(changed, dtype="<i2", count=2, offset=len(changed) - 4)
    changed[-4:] = (last + np.array([index % 32, index // 32 % 32])).astype("<i2").tobytes()
    return bytes(changed)


def _moved(digits: bytes, index: int) -> bytes:
    return f"{(int(digits) + 7919 * index) % 10000:04d}".encode()  # 7919 is prime: no two of 10,000 copies meet


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
