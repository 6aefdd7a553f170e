from __future__ import annotations

import numpy as np
import pytest

from evaluation import intervals


def test_row_zero_is_the_sample_and_patients_stay_together() -> None:
    counts = intervals.bootstrap_counts(["a", "a", "b", "c"], 200, seed=1)
    assert counts.shape == (201, 4)
    assert (counts[0] == 1).all()
    assert (counts[:, 0] == counts[:, 1]).all()
    draws_per_resample = counts[1:, [0, 2, 3]].sum(axis=1)  # patients drawn
    assert (draws_per_resample == 3).all()


def test_the_same_seed_gives_the_same_draws_and_another_seed_others() -> None:
    names = [str(i) for i in range(30)]
    first, again, other = (intervals.bootstrap_counts(names, 50, seed) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_a_huge_cohort_gets_fewer_resamples_instead_of_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "MAX_CELLS", 10_000)
    counts = intervals.bootstrap_counts([str(i) for i in range(100)], 1000, seed=0)
    assert len(counts) - 1 == 100


def test_interval_of_a_mean_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=400)
    counts = intervals.bootstrap_counts([str(i) for i in range(400)], 4000, seed=0)
    limits = intervals.interval(counts @ values / counts.sum(axis=1), 0.95)
    half_width = 1.96 * values.std() / 20
    assert limits.value == pytest.approx(values.mean())
    assert limits.lo == pytest.approx(values.mean() - half_width, abs=0.012)
    assert limits.hi == pytest.approx(values.mean() + half_width, abs=0.012)


def test_clustered_draws_widen_the_interval_when_cases_of_a_patient_agree() -> None:
    per_patient = np.random.default_rng(0).normal(size=60)
    values = np.repeat(per_patient, 5)
    patients = np.repeat([str(i) for i in range(60)], 5).tolist()
    widths = []
    for clusters in (patients, [str(i) for i in range(300)]):
        counts = intervals.bootstrap_counts(clusters, 1000, seed=0)
        limits = intervals.interval(counts @ values / counts.sum(axis=1), 0.9)
        widths.append(limits.hi - limits.lo)
    assert widths[0] > 1.8 * widths[1]  # sqrt(5) in theory


def test_no_interval_when_too_many_resamples_have_no_value() -> None:
    replicates = np.r_[0.7, np.full(50, np.nan), np.full(50, 0.6)]
    limits = intervals.interval(replicates, 0.95)
    assert limits.value == 0.7
    assert np.isnan([limits.lo, limits.hi]).all()


def test_share_above_zero_counts_ties_half() -> None:
    assert intervals.share_above_zero(np.array([9.0, 1.0, 0.0, -1.0, np.nan])) == pytest.approx(0.5)


def test_dividing_by_nothing_is_not_a_number_and_no_warning() -> None:
    divided = intervals.safe_divide(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    assert np.isnan(divided[0])
    assert divided[1] == 0.5
