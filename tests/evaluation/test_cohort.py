from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domain.antibodies import load_antibody_vocabulary
from domain.endpoints import Endpoint
from domain.errors import InputError
from domain.records import Outcome
from evaluation.cohort import build_cohort

VOCABULARY = load_antibody_vocabulary()


def test_rows_are_joined_by_key_whatever_their_order(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(12)
    shuffled = predictions.sample(frac=1, random_state=0)
    cohort = build_cohort(shuffled, cases, course, VOCABULARY)
    assert [case.case_id for case in cohort.cases] == shuffled["case_key"].tolist()
    assert cohort.survival[:, 0] == pytest.approx(shuffled["survival_90d"].to_numpy())


def test_missing_columns_count_as_not_given(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(6)
    cohort = build_cohort(predictions[["case_key"]], cases, course, VOCABULARY)
    assert np.isnan(cohort.probabilities).all()
    assert np.isnan(cohort.survival).all()
    assert (cohort.answers == -1).all()


def test_blank_cells_of_rejected_studies_are_not_numbers(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(6)
    predictions = predictions.astype(object)
    predictions.loc[0, [column for column in predictions if column.startswith(("p_", "surv", "pattern"))]] = None
    cohort = build_cohort(predictions, cases, course, VOCABULARY)
    assert np.isnan(cohort.probabilities[0]).all()
    assert cohort.answers[0] == -1
    assert np.isfinite(cohort.probabilities[1:]).all()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda table: table.drop(columns="case_key"), "no column 'case_key'"),
        (lambda table: table.assign(case_key="x"), "twice"),
        (lambda table: table.assign(case_key=[f"z{i}" for i in range(len(table))]), "no case in common"),
        (lambda table: table.assign(p_op=0.99), "add up to"),
        (lambda table: table.assign(survival_90d=1.5), "outside 0..1"),
    ],
)
def test_tables_that_do_not_fit_are_refused_in_words(
    tables: Callable[..., Any], course: Endpoint, break_it: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    predictions, cases = tables(6)
    with pytest.raises(InputError, match=message):
        build_cohort(break_it(predictions), cases, course, VOCABULARY)


def test_an_event_the_endpoint_does_not_know_is_named(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(3)
    cases = (replace(cases[0], outcome=Outcome(10.0, "lost_wallet")), *cases[1:])
    with pytest.raises(InputError, match="lost_wallet"):
        build_cohort(predictions, cases, course, VOCABULARY)


def test_an_event_after_the_window_counts_as_follow_up_only(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(2)
    cases = (replace(cases[0], outcome=Outcome(50.0, "death")), replace(cases[1], outcome=Outcome(120.0, "death")))
    cohort = build_cohort(predictions, cases, course.model_copy(update={"window_days": 90.0}), VOCABULARY)
    assert cohort.time_days.tolist() == [50.0, 120.0]
    assert cohort.cause.tolist() == [1, 0]


def test_a_further_endpoint_of_a_model_has_columns_of_its_own(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(4)
    predictions["endpoint"] = ["death", "death", None, "death"]  # a refused study names none
    predictions["course_survival_90d"] = [0.1, 0.2, 0.3, 0.4]
    cohort = build_cohort(predictions, cases, course, VOCABULARY)
    assert cohort.survival[:, 0].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert np.isnan(cohort.survival[:, 1:]).all()
    assert np.isnan(cohort.incidence["death"]).all()
    assert set(cohort.risk_groups) == {""}
    named = build_cohort(predictions.assign(endpoint="course"), cases, course, VOCABULARY)
    assert named.survival[:, 0].tolist() == predictions["survival_90d"].tolist()


@pytest.mark.parametrize("named", ["death", ["course", "death", "death"]])
def test_predictions_of_another_endpoint_are_not_taken_for_this_one(
    tables: Callable[..., Any], course: Endpoint, named: str | list[str]
) -> None:
    predictions, cases = tables(3)
    with pytest.raises(InputError, match=r"'death', and 'course' is to be evaluated; .*--endpoint"):
        build_cohort(predictions.assign(endpoint=named), cases, course, VOCABULARY)


@pytest.mark.parametrize("separator", ["|", ";", ", ", " "])
def test_prediction_sets_are_read_whatever_separates_them(
    tables: Callable[..., Any], course: Endpoint, separator: str
) -> None:
    predictions, cases = tables(2)
    predictions["pattern_set"] = ["nsip" + separator + "mixed", ""]
    cohort = build_cohort(predictions, cases, course, VOCABULARY)
    assert cohort.sets.tolist() == [[True, False, True, False], [False] * 4]


def test_taking_rows_takes_every_field(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(8)
    cohort = build_cohort(predictions, cases, course, VOCABULARY)
    part = cohort.take(np.array([5, 2]))
    assert part.patients == ("p0005", "p0002")
    assert part.incidence["death"].tolist() == cohort.incidence["death"][[5, 2]].tolist()
    assert part.labels.tolist() == cohort.labels[[5, 2]].tolist()


def test_an_endpoint_reads_its_own_event_column(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(2)
    cases = tuple(
        replace(case, further_outcomes={"relapse": Outcome(7.0 + i, "death")}) for i, case in enumerate(cases)
    )
    own = course.model_copy(update={"event_column": "relapse"})
    assert build_cohort(predictions, cases, own, VOCABULARY).time_days.tolist() == [7.0, 8.0]
    assert np.isnan(
        build_cohort(predictions, cases, course.model_copy(update={"event_column": "none"}), VOCABULARY).time_days
    ).all()
