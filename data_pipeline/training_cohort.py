"""A case table and a folder of scans as training cases and samples; what cannot be used is listed with its reason."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from data_pipeline.case_matching import MatchedCase, match_cases
from data_pipeline.dataset import GraphDataset, Sample
from data_pipeline.discovery import survey
from domain.batch_keys import IMAGE
from domain.errors import InputError, StudyError
from domain.findings import QualityCode
from domain.patterns import vote_probabilities
from domain.quantities import READER_EXTENTS
from domain.records import Case
from domain.specs import PreprocessSpec, digest_of

ROWS_WORTH_A_PROCESS = 16  # starting a process costs some seconds of imports

Progress = Callable[[str, int, int], None]  # what is going on, units done, units in all


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A case that training cannot use."""

    case_id: str
    code: QualityCode
    message: str


@dataclass(frozen=True, eq=False)
class TrainingCohort:
    """Usable cases and their samples, row by row.

    Attributes:
        cases: In the order of the table.
        samples: One per case; ``case_index`` is its row here.
        excluded: Rows whose scan cannot be used. Rows that name no scan are in neither.
        digest: Of the voxels of all samples.
    """

    cases: tuple[Case, ...]
    samples: tuple[Sample, ...]
    excluded: tuple[Exclusion, ...]
    digest: str = ""


def load_training_cohort(
    cases: Sequence[Case],
    scans: Path,
    spec: PreprocessSpec,
    *,
    cache_dir: Path,
    progress: Progress | None = None,
    num_processes: int | None = None,
) -> TrainingCohort:
    """Find each case's scan and send it through the graph once, into the cache.

    Args:
        cases: Rows of the case table.
        scans: Folder that ``Case.scan`` is relative to.
        spec: The graph.
        cache_dir: Where the items are kept for training.
        progress: Told the cases done.
        num_processes: For cohorts large enough to be worth it; as many as there are cores when None.

    Raises:
        ScanFolderError: ``scans`` does not exist.
        InputError: No case is usable, or two patients have one scan.
    """
    matched = match_cases(cases, survey(scans).series, scans)
    rows = [row for row in matched if row.case is not None and row.case.scan is not None]
    kept: list[tuple[Case, Sample]] = []
    auxiliary = dict(zip((case.case_id for case in cases), auxiliary_targets(cases), strict=True))
    excluded: list[Exclusion] = []
    patients: dict[str, Case] = {}
    digests: list[str] = []
    answers = _fill_cache(rows, spec, cache_dir, num_processes)
    for done, (row, answer) in enumerate(zip(rows, answers, strict=True), start=1):
        assert row.case is not None
        if isinstance(answer, StudyError):
            excluded.append(Exclusion(row.case.case_id, answer.code, answer.message))
        elif row.series is not None:
            digests.append(answer)
            first = patients.setdefault(answer, row.case)
            if first.patient_id != row.case.patient_id:
                raise InputError(_same_scan(first, row.case))
            target = vote_probabilities(row.case.pattern_votes)
            kept.append((row.case, Sample(len(kept), row.series, target, auxiliary[row.case.case_id])))
        if progress is not None:
            progress("reading scans", done, len(rows))
    if not kept:
        reasons = sorted({exclusion.code.value for exclusion in excluded})
        raise InputError(f"none of the {len(rows)} cases has a usable scan below {scans}: {', '.join(reasons)}")
    return TrainingCohort(
        cases=tuple(case for case, _ in kept),
        samples=tuple(sample for _, sample in kept),
        excluded=tuple(excluded),
        digest=digest_of(digests),
    )


def auxiliary_targets(cases: Sequence[Case]) -> list[tuple[float, ...]]:
    """What readers scored beside the pattern, one row of numbers per case, NaN where unknown.

    Extents in percent, in the order of ``READER_EXTENTS``, where any case has one. An ordinal grade becomes one number
    per level above the lowest that occurs, 1 where the grade reaches it and 0 below: its order counts, and nothing is
    assumed about the distance between levels.
    """
    extents = READER_EXTENTS if any(case.extents_percent for case in cases) else ()
    steps = [
        (name, level)
        for name in sorted({name for case in cases for name in case.grades})
        for level in sorted({case.grades[name] for case in cases if name in case.grades})[1:]
    ]
    return [
        (
            *(case.extents_percent.get(name, math.nan) for name in extents),
            *(float(case.grades[name] >= level) if name in case.grades else math.nan for name, level in steps),
        )
        for case in cases
    ]


def _fill_cache(
    rows: Sequence[MatchedCase], spec: PreprocessSpec, cache_dir: Path, num_processes: int | None
) -> Iterator[StudyError | str]:
    """Send every scan through the graph, in order; gives a digest of each row's voxels, or its problem."""
    work = partial(_through_the_graph, spec=spec, cache_dir=cache_dir)
    processes = min(num_processes or os.cpu_count() or 1, len(rows) // ROWS_WORTH_A_PROCESS)
    if processes < 2:
        yield from map(work, rows)
        return
    # spawn: a fork of a process that runs torch's threads may hang
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, rows)


def _same_scan(first: Case, second: Case) -> str:
    return (
        f"cases {first.case_id!r} and {second.case_id!r} have the same scan and different patient_id: one would "
        "be trained on and the other judged by it; give both one patient_id, or correct the scan column"
    )


def _through_the_graph(row: MatchedCase, *, spec: PreprocessSpec, cache_dir: Path) -> StudyError | str:
    if row.problem is not None:
        return row.problem
    assert row.series is not None, "a row that names a scan has a series or a problem"
    try:
        item = GraphDataset([Sample(0, row.series, vote_probabilities(()))], spec, cache_dir=cache_dir)[0]
    except StudyError as problem:
        return problem
    return hashlib.sha256(np.ascontiguousarray(item[IMAGE]).tobytes()).hexdigest()
