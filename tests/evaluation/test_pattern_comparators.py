from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from domain.antibodies import load_antibody_vocabulary
from domain.endpoints import Endpoint
from domain.patterns import PATTERNS
from evaluation import pattern_comparators
from evaluation.cohort import Cohort, build_cohort
from evaluation.discrimination import macro_average, one_vs_rest_auc
from evaluation.intervals import bootstrap_counts

VOCABULARY = load_antibody_vocabulary()


def measured(tables: Callable[..., Any], course: Endpoint) -> Cohort:
    """Consolidation goes with OP and mixed; nothing else tells anything."""
    predictions, cases = tables(200)
    label = np.array([PATTERNS.index(next(iter(case.pattern_votes.values()))) for case in cases])
    generator = np.random.default_rng(0)
    predictions["consolidation_percent"] = np.where(np.isin(label, (1, 2)), 15.0, 2.0) + generator.uniform(0, 3, 200)
    return build_cohort(predictions, cases, course, VOCABULARY)


def test_extents_that_tell_the_pattern_are_found_and_sites_that_do_not_are_chance(
    tables: Callable[..., Any], course: Endpoint
) -> None:
    cohort = measured(tables, course)
    counts = bootstrap_counts(cohort.patients, 50, 0)
    metrics, differences, comparators = pattern_comparators.compare_patterns(cohort, counts, 0.95, 0, None)
    value = {(row.model, row.metric): row.value for row in metrics}
    assert value[("quantitative_ct", "auc_macro")] > 0.75
    assert abs(value[("site_only", "auc_macro")] - 0.5) < 0.12
    assert {row.comparator for row in differences} == {comparator.key for comparator in comparators}
    for row in differences:
        assert row.value == (row.model_value - row.comparator_value)


def test_comparators_that_know_nothing_are_chance_on_average(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(60)
    generator, found = np.random.default_rng(0), []
    for _ in range(40):
        votes = generator.choice(4, size=60, p=[0.4, 0.3, 0.2, 0.1])
        drawn = tuple(
            replace(case, site=f"site{generator.integers(3)}", pattern_votes={"reader": PATTERNS[vote]})
            for case, vote in zip(cases, votes, strict=True)
        )
        cohort = build_cohort(predictions, drawn, course, VOCABULARY)
        metrics, _, _ = pattern_comparators.compare_patterns(cohort, np.ones((1, 60)), 0.95, 0, None)
        found.append({row.model: row.value for row in metrics if row.metric == "auc_macro"})
    for model in ("site_only", "antibody_only", "quantitative_ct"):
        assert np.mean([row[model] for row in found]) == pytest.approx(0.5, abs=0.025)


def test_the_model_is_ranked_on_the_pairs_of_the_comparator(tables: Callable[..., Any], course: Endpoint) -> None:
    cohort = measured(tables, course)
    shifted = replace(cohort, folds=np.arange(200) % 2, probabilities=cohort.probabilities.copy())
    shifted.probabilities[shifted.folds == 1, 0] *= 0.2  # the second model never dares to name NSIP
    counts = np.ones((1, 200))
    for training in (None, cohort):  # models of two folds are not on one scale, however the comparator was fitted
        _, differences, _ = pattern_comparators.compare_patterns(shifted, counts, 0.95, 0, training)
        ours = next(row.model_value for row in differences if row.metric == "auc_macro")
        within = one_vs_rest_auc(shifted.probabilities, shifted.labels, counts, shifted.folds)
        assert ours == pytest.approx(macro_average(within)[0])


def test_separate_training_cases_are_used_when_given(tables: Callable[..., Any], course: Endpoint) -> None:
    cohort = measured(tables, course)
    counts = bootstrap_counts([str(i) for i in range(80)], 20, 0)
    found = pattern_comparators.compare_patterns(
        cohort.take(np.arange(80)), counts, 0.95, 0, cohort.take(np.arange(80, 200))
    )
    assert {comparator.how_fitted for comparator in found[2]} == {"on 120 separate training cases"}


def test_one_site_and_missing_extents_are_said(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(60)
    cases = tuple(replace(case, site="only") for case in cases)
    predictions["ggo_percent"] = np.nan
    cohort = build_cohort(predictions, cases, course, VOCABULARY)
    counts = bootstrap_counts(cohort.patients, 20, 0)
    _, _, comparators = pattern_comparators.compare_patterns(cohort, counts, 0.95, 0, None)
    notes = {comparator.key: comparator.note for comparator in comparators}
    assert notes["site_only"] == "n/a (one site)"
    assert notes["quantitative_ct"].startswith("n/a (extents")


def test_difficulty_names_the_extent_that_tells_most(tables: Callable[..., Any], course: Endpoint) -> None:
    cohort = measured(tables, course)
    counts = bootstrap_counts(cohort.patients, 20, 0)
    rows = {row.metric: row for row in pattern_comparators.single_quantity_metrics(cohort, counts, 0.95)}
    assert rows["auc_op"].value > 0.7
    assert rows["auc_op"].note == "consolidation_percent alone"
    assert rows["auc_nsip"].note == "consolidation_percent alone, lower is likelier"


def test_an_extent_nobody_in_training_has_is_left_out(tables: Callable[..., Any], course: Endpoint) -> None:
    cohort = measured(tables, course)
    train, test = cohort.take(np.arange(120)), cohort.take(np.arange(120, 200))
    whole = pattern_comparators.guess_from_extents(train, test)
    train.quantities[:, 0] = np.nan
    guessed = pattern_comparators.guess_from_extents(train, test)
    assert np.isfinite(guessed).all()
    assert guessed.sum(axis=1) == pytest.approx(np.ones(80))
    assert np.abs(guessed - whole).max() < 0.3  # ground glass tells nothing here
