"""Patient-level folds: a patient, and where asked a site, never stands on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from domain.errors import InputError
from domain.records import Case


def grouped_folds(
    cases: Sequence[Case], *, num_folds: int, seed: int, group_by_site: bool = False
) -> NDArray[np.int64]:
    """Fold of each case: stratified by pattern label, grouped by patient or by site.

    Args:
        cases: The cohort. Unlabelled cases form a stratum of their own.
        num_folds: Number of folds, at least 2.
        seed: Shuffles patients before they are dealt.
        group_by_site: Keep whole sites together instead of patients; a patient seen at two sites joins them.

    Returns:
        Fold index per case, 0..num_folds - 1. Shape (N,).

    Raises:
        InputError: Fewer groups than folds.
    """
    groups = _linked_groups(cases) if group_by_site else np.array([case.patient_id for case in cases])
    num_groups = len(set(groups))
    if num_groups < num_folds:
        kind = "sites" if group_by_site else "patients"
        fix = "set split.num_folds lower" if num_groups > 1 else "more patients are needed"
        if group_by_site:
            fix = "set split.group_by_site: false" + (f", or split.num_folds: {num_groups}" if num_groups > 1 else "")
        raise InputError(f"{num_folds} folds need at least {num_folds} {kind}, found {num_groups}; {fix}")
    strata = np.array([_stratum(case) for case in cases])
    if np.unique(strata, return_counts=True)[1].max() < num_folds:
        strata[:] = ""  # no pattern has a case for every fold: nothing can be stratified
    folds = np.zeros(len(cases), dtype=np.int64)
    # Rare strata are dealt as evenly as groups allow.
    dealer = StratifiedGroupKFold(n_splits=num_folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(dealer.split(np.zeros(len(cases)), strata, groups)):
        folds[held_out] = fold
    return folds


def repeated_folds(
    cases: Sequence[Case], *, num_folds: int, num_repeats: int, seed: int, group_by_site: bool = False
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(rows to train on, rows held out) of every fold of every repeat, one repeat after the other.

    Args:
        cases: The cohort.
        num_folds: Folds of a repeat.
        num_repeats: How often the cohort is dealt anew.
        seed: Of the first repeat; the others follow from it.
        group_by_site: As of ``grouped_folds``.
    """
    pairs = []
    for repeat in range(num_repeats):
        folds = grouped_folds(cases, num_folds=num_folds, seed=seed + 7919 * repeat, group_by_site=group_by_site)
        pairs += [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(num_folds)]
    return pairs


def _stratum(case: Case) -> str:
    votes = list(case.pattern_votes.values())
    return max(sorted(set(votes)), key=votes.count).value if votes else "unlabelled"


def _linked_groups(cases: Sequence[Case]) -> NDArray[np.str_]:
    """Site of each case, sites that share a patient merged under one name."""
    merged = {case.site: case.site for case in cases}
    for _ in range(len(merged)):
        for patient in {case.patient_id for case in cases}:
            sites = {merged[case.site] for case in cases if case.patient_id == patient}
            merged = {site: min(sites) if name in sites else name for site, name in merged.items()}
    return np.array([merged[case.site] for case in cases])
