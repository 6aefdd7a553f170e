"""What is refused, and that the message names it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.prognosis_generator import Variant, draw, endpoint_of
from domain.endpoints import load_endpoint
from domain.errors import PrognosisDataError
from domain.prognostic_data import PrognosticData
from models.prognosis.guards import check_inputs, check_training_data

ENDPOINT = endpoint_of(Variant())


@pytest.fixture(scope="module")
def cohort() -> PrognosticData:
    return draw(200, 1).data


def with_column(data: PrognosticData, name: str, values: object) -> PrognosticData:
    assert data.covariates is not None
    column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    return data.replaced(
        covariates=np.column_stack([data.covariates, column]), covariate_names=(*data.covariate_names, name)
    )


def refusal(data: PrognosticData) -> str:
    with pytest.raises(PrognosisDataError) as caught:
        check_training_data(data, ENDPOINT)
    return str(caught.value)


def test_a_clean_cohort_passes(cohort: PrognosticData) -> None:
    assert check_training_data(cohort, ENDPOINT) == ()


def test_a_column_missing_exactly_for_the_survivors_is_an_outcome_leak(cohort: PrognosticData) -> None:
    assert cohort.cause is not None
    leak = with_column(cohort, "chapter", np.where(cohort.cause > 0, 1.0, np.nan))
    assert "chapter: whether it is missing tells the event" in refusal(leak)


@pytest.mark.parametrize("name", ["los", "ventilation", "cause_of_death=lung", "icu_days", "ecmo", "time_to_death"])
def test_post_baseline_columns_are_refused_by_name(cohort: PrognosticData, name: str) -> None:
    assert f"{name}: known only after the index CT" in refusal(with_column(cohort, name, np.zeros(200)))


@pytest.mark.parametrize("name", ["closest", "age", "sex=male", "dlco", "deathcap_exposure", "ferritin"])
def test_innocent_names_pass(cohort: PrognosticData, name: str) -> None:
    assert check_inputs(with_column(cohort, name, np.zeros(200))) == []


def test_a_value_measured_after_the_ct_is_refused(cohort: PrognosticData) -> None:
    assert cohort.covariates is not None
    days = np.full(cohort.covariates.shape, -3.0)
    days[5, 1] = 4.0
    message = refusal(cohort.replaced(covariate_days=days))
    assert "ferritin: measured after the index CT" in message
    assert "age" not in message


def test_in_sample_pattern_probabilities_are_refused(cohort: PrognosticData) -> None:
    assert "trained on these same patients" in refusal(cohort.replaced(patterns_out_of_fold=False))


def test_infinite_values_name_their_column(cohort: PrognosticData) -> None:
    assert "infinite values in crp" in refusal(with_column(cohort, "crp", [np.inf] + [0.0] * 199))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time_days": np.full(200, -1.0)}, "negative time"),
        ({"time_days": np.full(200, np.nan)}, "without a finite time"),
        ({"cause": np.full(200, 9)}, "values must be 0..1"),
        ({"cause": np.zeros(200, dtype=np.int64)}, "nobody had an event"),
        ({"pattern_probabilities": np.full((200, 4), 0.5)}, "add up to 1"),
        ({"time_days": None}, "are needed for training"),
    ],
)
def test_impossible_values_are_refused(cohort: PrognosticData, change: dict[str, object], words: str) -> None:
    assert words in refusal(cohort.replaced(**change))


def test_all_problems_are_said_at_once(cohort: PrognosticData) -> None:
    bad = with_column(cohort, "los", np.full(200, np.inf)).replaced(patterns_out_of_fold=False)
    with pytest.raises(PrognosisDataError) as caught:
        check_training_data(bad, ENDPOINT)
    assert len(caught.value.problems) == 3


def test_informative_testing_is_flagged() -> None:
    cohort = draw(1500, 4, Variant(informative_testing=True)).data
    warnings = check_training_data(cohort, ENDPOINT)
    assert any("who was tested for antibodies is related to the outcome" in warning for warning in warnings)


def test_testing_at_random_is_not_flagged() -> None:
    cohort = draw(1500, 4, Variant(untested=0.5)).data
    assert not any("who was tested" in warning for warning in check_training_data(cohort, ENDPOINT))


def test_no_leak_is_claimed_with_few_events(cohort: PrognosticData) -> None:
    few = cohort.take(np.arange(12))
    assert few.cause is not None
    leak = with_column(few, "chapter", np.where(few.cause > 0, 1.0, np.nan))
    assert not any("leak" in text for text in check_training_data(leak, load_endpoint("death")))
