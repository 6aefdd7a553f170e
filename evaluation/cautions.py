"""What a reader must know before believing the numbers: few events, planted shortcuts, suspicious missingness."""

from __future__ import annotations

import numpy as np

from domain.evaluation_result import Caution
from evaluation.cohort import UNKNOWN_CAUSE, Cohort
from evaluation.intervals import FloatArray
from evaluation.shortcuts import find_outcome_leaks, find_shortcuts

FEW_EVENTS = 50  # a C-index from fewer has a half width of about 0.1 or more


def find_cautions(cohort: Cohort, counts: FloatArray, level: float, seed: int) -> list[Caution]:
    """Every caution of a cohort, most general first.

    Args:
        cohort: Evaluated cases.
        counts: Bootstrap counts, shape (R, N).
        level: Level of intervals.
        seed: Seed of permutations.
    """
    return _few_events(cohort) + find_shortcuts(cohort, counts, level, seed) + find_outcome_leaks(cohort)


def _few_events(cohort: Cohort) -> list[Caution]:
    if not (cohort.cause != UNKNOWN_CAUSE).any():
        return []
    events = int(np.sum(cohort.cause > 0))
    if events >= FEW_EVENTS:
        return []
    message = (
        f"Only {events} events among the evaluated cases: the intervals are wide, and a figure without its interval "
        "says little."
    )
    return [Caution(code="few_events", message=message, facts={"events": float(events)})]
