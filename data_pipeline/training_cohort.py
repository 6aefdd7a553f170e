"""A case table and a folder of scans as training cases and samples; what cannot be used is listed with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.case_matching import MatchedCase, match_cases
from data_pipeline.dataset import GraphDataset, Sample
from data_pipeline.discovery import survey
from domain.errors import InputError, StudyError
from domain.findings import QualityCode
from domain.patterns import vote_probabilities
from domain.records import Case
from domain.specs import PreprocessSpec

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
    """

    cases: tuple[Case, ...]
    samples: tuple[Sample, ...]
    excluded: tuple[Exclusion, ...]


def load_training_cohort(
    cases: Sequence[Case],
    scans: Path,
    spec: PreprocessSpec,
    *,
    cache_dir: Path,
    progress: Progress | None = None,
) -> TrainingCohort:
    """Find each case's scan and send it through the graph once, into the cache.

    Args:
        cases: Rows of the case table.
        scans: Folder that ``Case.scan`` is relative to.
        spec: The graph.
        cache_dir: Where the items are kept for training.
        progress: Told the cases done.

    Raises:
        ScanFolderError: ``scans`` does not exist.
        InputError: No case is usable.
    """
    matched = match_cases(cases, survey(scans).series, scans)
    rows = [row for row in matched if row.case is not None and row.case.scan is not None]
    kept: list[tuple[Case, Sample]] = []
    excluded: list[Exclusion] = []
    for done, row in enumerate(rows, start=1):
        assert row.case is not None
        try:
            sample = _sample(row, row.case, len(kept))
            GraphDataset([sample], spec, cache_dir=cache_dir)[0]
            kept.append((row.case, sample))
        except StudyError as problem:
            excluded.append(Exclusion(row.case.case_id, problem.code, problem.message))
        if progress is not None:
            progress("reading scans", done, len(rows))
    if not kept:
        reasons = sorted({exclusion.code.value for exclusion in excluded})
        raise InputError(f"none of the {len(rows)} cases has a usable scan below {scans}: {', '.join(reasons)}")
    return TrainingCohort(tuple(case for case, _ in kept), tuple(sample for _, sample in kept), tuple(excluded))


def _sample(row: MatchedCase, case: Case, index: int) -> Sample:
    if row.problem is not None:
        raise row.problem
    assert row.series is not None, "a row that names a scan has a series or a problem"
    return Sample(index, row.series, vote_probabilities(case.pattern_votes))
