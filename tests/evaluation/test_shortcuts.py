from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from domain.antibodies import load_antibody_vocabulary
from domain.endpoints import Endpoint
from domain.patterns import PATTERNS
from evaluation import shortcuts
from evaluation.cohort import Cohort, build_cohort
from evaluation.intervals import bootstrap_counts


def labels_of(cases: Any) -> np.ndarray:
    return np.array([PATTERNS.index(next(iter(case.pattern_votes.values()))) for case in cases])


def cohort_with_sites(
    tables: Callable[..., Any], course: Endpoint, *, follows_label: float, model_reads_site: float, seed: int = 0
) -> Cohort:
    """Sites that agree with the label in a share of cases, and a model pulled towards its site's usual label."""
    predictions, cases = tables(240, seed)
    generator = np.random.default_rng(seed + 1)
    label = labels_of(cases)
    site = np.where(generator.random(240) < follows_label, label, generator.integers(0, 4, 240))
    cases = tuple(replace(case, site=f"site{site[i]}") for i, case in enumerate(cases))
    columns = [f"p_{pattern}" for pattern in PATTERNS]
    logits = np.log(predictions[columns].to_numpy())
    logits[np.arange(240), site] += model_reads_site
    predictions[columns] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return build_cohort(predictions, cases, course, load_antibody_vocabulary())


def cautions(cohort: Cohort) -> set[str]:
    counts = bootstrap_counts(cohort.patients, 200, 0)
    return {caution.code for caution in shortcuts.find_shortcuts(cohort, counts, 0.95, 0)}


def test_a_planted_shortcut_is_flagged(tables: Callable[..., Any], course: Endpoint) -> None:
    cohort = cohort_with_sites(tables, course, follows_label=0.6, model_reads_site=2.0)
    assert cautions(cohort) == {"shortcut_site"}


def test_a_shortcut_is_flagged_even_when_the_site_no_longer_helps(tables: Callable[..., Any], course: Endpoint) -> None:
    cohort = cohort_with_sites(tables, course, follows_label=0.0, model_reads_site=2.0)
    assert cautions(cohort) == {"shortcut_site"}


def test_an_offer_not_taken_is_called_confounding_and_not_a_shortcut(
    tables: Callable[..., Any], course: Endpoint
) -> None:
    cohort = cohort_with_sites(tables, course, follows_label=0.6, model_reads_site=0.0)
    assert cautions(cohort) == {"confounded_site"}


@pytest.mark.parametrize("seed", range(6))
def test_honest_cohorts_are_not_flagged(tables: Callable[..., Any], course: Endpoint, seed: int) -> None:
    cohort = cohort_with_sites(tables, course, follows_label=0.0, model_reads_site=0.0, seed=seed)
    assert cautions(cohort) == set()


def test_a_quality_code_can_be_the_shortcut(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(240)
    label = labels_of(cases)
    soft = (label == 1) | (np.random.default_rng(0).random(240) < 0.2)
    predictions["quality_codes"] = np.where(soft, "soft_kernel|thick_slices", "thick_slices")
    columns = [f"p_{pattern}" for pattern in PATTERNS]
    logits = np.log(predictions[columns].to_numpy())
    logits[soft, 1] += 2.0
    predictions[columns] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cohort = build_cohort(predictions, cases, course, load_antibody_vocabulary())
    assert cautions(cohort) == {"shortcut_quality_code_soft_kernel"}


def test_association_is_zero_for_independent_and_one_for_identical() -> None:
    generator = np.random.default_rng(0)
    label = generator.integers(0, 4, 4000)
    assert shortcuts.association(np.eye(4)[label], generator.integers(0, 3, 4000)) < 0.05
    assert shortcuts.association(np.eye(4)[label], label) == pytest.approx(1.0, abs=0.01)


def test_a_covariate_known_only_of_the_dead_is_a_suspected_leak(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(80)
    leaking = tuple(
        replace(case, covariates=dict(case.covariates) | ({"spd": 100.0} if case.outcome.event != "alive" else {}))
        for case in cases
    )
    for table, expected in ((cases, []), (leaking, ["leak_suspected"])):
        cohort = build_cohort(predictions, table, course, load_antibody_vocabulary())
        assert [caution.code for caution in shortcuts.find_outcome_leaks(cohort)] == expected


def test_a_covariate_known_of_nearly_everyone_is_no_leak_where_events_are_rare(
    tables: Callable[..., Any], course: Endpoint
) -> None:
    predictions, cases = tables(400, event_scale_days=60_000.0)
    assert 10 <= sum(case.outcome.event != "alive" for case in cases) <= 20
    known = tuple(replace(case, covariates={"age": 50.0, "spd": 100.0}) for case in cases)
    known = (replace(cases[0], covariates={"age": 50.0}), *known[1:])  # one value of spd is missing
    cohort = build_cohort(predictions, known, course, load_antibody_vocabulary())
    assert shortcuts.find_outcome_leaks(cohort) == []


def test_a_scanner_that_gives_the_pattern_away_is_flagged(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(240)
    label = labels_of(cases)
    scanner = np.where(np.random.default_rng(0).random(240) < 0.7, label, np.random.default_rng(1).integers(0, 4, 240))
    columns = [f"p_{pattern}" for pattern in PATTERNS]
    logits = np.log(predictions[columns].to_numpy())
    logits[np.arange(240), scanner] += 2.0
    predictions[columns] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for named, expected in ((False, set()), (True, {"shortcut_manufacturer"})):
        table = predictions.assign(manufacturer=np.array(["A", "B", "C", "D"])[scanner]) if named else predictions
        assert cautions(build_cohort(table, cases, course, load_antibody_vocabulary())) == expected


def test_slice_thickness_is_grouped_in_bands(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(4)
    cohort = build_cohort(
        predictions.assign(slice_thickness_mm=[1.0, 1.5, 5.0, np.nan]), cases, course, load_antibody_vocabulary()
    )
    assert cohort.scanners["slice_thickness"].tolist() == ["up_to_1.5_mm", "up_to_1.5_mm", "over_3_mm", ""]
    assert cohort.take([2]).scanners["slice_thickness"].tolist() == ["over_3_mm"]
