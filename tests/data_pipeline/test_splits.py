from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.splits import grouped_folds
from domain.errors import InputError
from domain.patterns import PATTERNS
from domain.records import Case


def cohort(num_cases: int) -> list[Case]:
    return [
        Case(f"c{i}", f"p{i // 2}", site=f"s{i % 5}", pattern_votes={"r": PATTERNS[(i // 2) % 4]})
        for i in range(num_cases)
    ]


def test_a_patient_never_stands_in_two_folds() -> None:
    cases = cohort(80)
    folds = grouped_folds(cases, num_folds=4, seed=1)
    assert set(folds) == {0, 1, 2, 3}
    for patient in {case.patient_id for case in cases}:
        assert len({fold for fold, case in zip(folds, cases, strict=True) if case.patient_id == patient}) == 1


def test_each_fold_sees_every_pattern() -> None:
    cases = cohort(80)
    folds = grouped_folds(cases, num_folds=4, seed=1)
    for fold in range(4):
        votes = {case.pattern_votes["r"] for case, f in zip(cases, folds, strict=True) if f == fold}
        assert votes == set(PATTERNS)


def test_sites_that_share_a_patient_stay_together() -> None:
    cases = [Case("a", "p1", site="x"), Case("b", "p1", site="y"), Case("c", "p2", site="z"), Case("d", "p3", site="w")]
    folds = grouped_folds(cases, num_folds=2, seed=0, group_by_site=True)
    assert folds[0] == folds[1]


def test_the_same_seed_gives_the_same_folds() -> None:
    cases = cohort(40)
    first, second = (grouped_folds(cases, num_folds=3, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (grouped_folds(cases, num_folds=3, seed=6) != first).any()


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(InputError, match="at least 3 patients"):
        grouped_folds(cohort(4), num_folds=3, seed=0)


def test_patterns_rarer_than_folds_do_not_stop_a_small_cohort() -> None:
    cases = [Case(f"c{i}", f"p{i}", pattern_votes={"r": PATTERNS[i % 4]}) for i in range(12)]
    assert set(grouped_folds(cases, num_folds=5, seed=0)) == set(range(5))


@pytest.mark.parametrize(("num_sites", "advice"), [(1, "group_by_site: false$"), (3, "num_folds: 3$")])
def test_too_few_sites_are_answered_with_what_helps(num_sites: int, advice: str) -> None:
    cases = [Case(f"c{i}", f"p{i}", site=f"s{i % num_sites}", pattern_votes={"r": PATTERNS[0]}) for i in range(20)]
    with pytest.raises(InputError, match=advice):
        grouped_folds(cases, num_folds=5, seed=0, group_by_site=True)
