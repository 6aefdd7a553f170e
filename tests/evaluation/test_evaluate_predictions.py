from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from domain.endpoints import Endpoint, load_endpoint
from domain.errors import InputError
from domain.evaluation_result import EvaluationResult
from domain.patterns import Pattern
from domain.records import Outcome
from domain.settings import EvaluateSettings
from evaluation import default_context, evaluate
from evaluation.baselines import BASELINES

FITTED = {"antibody_class", "clinical", "ggo_extent"}  # the full set is fitted once, in the shared result
FEW = EvaluateSettings(num_bootstrap=40, skip_comparators=tuple(one.key for one in BASELINES if one.key not in FITTED))
NONE = EvaluateSettings(num_bootstrap=40, skip_comparators=tuple(one.key for one in BASELINES))


@pytest.fixture(scope="module")
def result(tables: Callable[..., Any], course: Endpoint) -> EvaluationResult:
    predictions, cases = tables(200)
    return evaluate(predictions, cases, course, EvaluateSettings(num_bootstrap=60))


def test_the_head_ranks_better_than_antibody_class_alone_where_the_image_matters(result: EvaluationResult) -> None:
    gain = next(row for row in result.differences if (row.comparator, row.metric) == ("antibody_class", "uno_c"))
    assert gain.lo is not None
    assert gain.lo > 0
    assert gain.share_better == 1.0


def test_the_pattern_is_right_more_often_than_chance(result: EvaluationResult) -> None:
    gain = next(row for row in result.differences if row.comparator == "most_frequent_pattern")
    assert gain.lo is not None
    assert gain.lo > 0.2
    accuracy = result.find("accuracy")
    assert accuracy is not None
    assert accuracy.value == pytest.approx(gain.model_value)


def test_every_comparator_is_there_with_a_difference_or_a_reason(result: EvaluationResult) -> None:
    keys = {comparator.key for comparator in result.comparators}
    assert {"antibody_class", "clinical", "clinical_antibodies", "image_score", "mck", "ggo_extent"} <= keys
    compared = {row.comparator for row in result.differences}
    for comparator in result.comparators:
        assert comparator.key in compared or comparator.note.startswith("n/a")


def test_values_lie_inside_their_intervals_and_no_number_is_not_a_number(result: EvaluationResult) -> None:
    for row in (*result.metrics, *result.differences):
        if row.value is not None and row.lo is not None and row.hi is not None:
            assert row.lo <= row.hi
        for number in (row.value, row.lo, row.hi):
            assert number is None or np.isfinite(number)
    assert "NaN" not in result.model_dump_json()


def test_the_record_survives_json(result: EvaluationResult) -> None:
    assert EvaluationResult.model_validate_json(result.model_dump_json()) == result


def test_small_subgroups_are_suppressed_and_say_so(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(120)
    cases = tuple(replace(case, site="tiny" if i < 8 else "big") for i, case in enumerate(cases))
    found = evaluate(predictions, cases, course, NONE).find("uno_c", subgroup="site=tiny")
    assert found is not None
    assert found.value is None
    assert found.note.startswith("n/a (")


def test_the_same_seed_gives_the_same_result(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(60)
    first, again = (evaluate(predictions, cases, course, FEW) for _ in range(2))
    assert first == again


def test_the_order_of_rows_changes_no_value(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(60)
    first = evaluate(predictions, cases, course, NONE)
    again = evaluate(predictions.sample(frac=1, random_state=0), cases[::-1], course, NONE)
    for name in ("uno_c", "ibs", "accuracy", "auc_macro", "brier"):
        one, other = first.find(name), again.find(name)
        assert one is not None
        assert other is not None
        assert one.value == pytest.approx(other.value)


def test_comparators_are_fitted_on_the_cases_without_a_prediction_when_there_are_enough(
    tables: Callable[..., Any], course: Endpoint
) -> None:
    predictions, cases = tables(300)
    found = evaluate(predictions.iloc[:80], cases, course, FEW)
    by_key = {comparator.key: comparator for comparator in found.comparators}
    assert by_key["clinical"].how_fitted == "on 220 separate training cases"
    assert by_key["ggo_extent"].how_fitted.startswith("out of fold")  # no image of the training cases was given


def test_training_predictions_let_image_comparators_train_apart(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(300)
    context = default_context(training_predictions=predictions.iloc[80:])
    found = evaluate(predictions.iloc[:80], cases, course, FEW, context)
    by_key = {comparator.key: comparator for comparator in found.comparators}
    assert by_key["ggo_extent"].how_fitted == "on 220 separate training cases"


def test_out_of_fold_predictions_are_compared_within_folds(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(150)
    shifted = predictions.copy()
    shifted["fold"] = np.arange(150) % 3
    columns = [column for column in shifted if column.startswith("survival_")]
    plain = evaluate(shifted, cases, course, NONE).find("uno_c")
    for fold, power in ((1, 0.2), (2, 6.0)):  # each fold's model is on its own scale; ranks within stay
        rows = shifted["fold"] == fold
        shifted.loc[rows, columns] = shifted.loc[rows, columns] ** power
    within = evaluate(shifted, cases, course, NONE).find("uno_c")
    pooled = evaluate(shifted.drop(columns="fold"), cases, course, NONE).find("uno_c")
    assert plain is not None
    assert within is not None
    assert pooled is not None
    assert within.value == pytest.approx(plain.value, abs=0.03)  # means over horizons need not keep every rank
    assert (pooled.value or 0) < (within.value or 0) - 0.05


Change = Callable[[Any, Any], tuple[Any, Any]]


def without_labels(predictions: Any, cases: Any) -> tuple[Any, Any]:
    return predictions, tuple(replace(case, pattern_votes={}) for case in cases)


def without_outcomes(predictions: Any, cases: Any) -> tuple[Any, Any]:
    return predictions, tuple(replace(case, outcome=None) for case in cases)


def without_events(predictions: Any, cases: Any) -> tuple[Any, Any]:
    return predictions, tuple(replace(case, outcome=Outcome(100.0 + i, "alive")) for i, case in enumerate(cases))


def everyone_dead_on_day_zero(predictions: Any, cases: Any) -> tuple[Any, Any]:
    return predictions, tuple(replace(case, outcome=Outcome(0.0, "death")) for case in cases)


def one_pattern_only(predictions: Any, cases: Any) -> tuple[Any, Any]:
    return predictions, tuple(replace(case, pattern_votes={"a": Pattern.OP}) for case in cases)


def nobody_tested(predictions: Any, cases: Any) -> tuple[Any, Any]:
    return predictions, tuple(replace(case, antibodies={}, covariates={}) for case in cases)


def everything_abstained(predictions: Any, cases: Any) -> tuple[Any, Any]:
    return predictions.assign(pattern="", abstained=True, pattern_set=""), cases


def only_keys(predictions: Any, cases: Any) -> tuple[Any, Any]:
    return predictions[["case_key"]], cases


def heavily_censored(predictions: Any, cases: Any) -> tuple[Any, Any]:
    return predictions, tuple(
        case if i % 12 == 0 else replace(case, outcome=Outcome(20.0 + i % 40, "alive")) for i, case in enumerate(cases)
    )


def two_cases(predictions: Any, cases: Any) -> tuple[Any, Any]:
    return predictions.iloc[:2], cases[:2]


def constant_predictions(predictions: Any, cases: Any) -> tuple[Any, Any]:
    survival = {column: 0.5 for column in predictions if column.startswith("survival_")}
    return predictions.assign(**survival, p_nsip=0.25, p_op=0.25, p_mixed=0.25, p_other=0.25), cases


@pytest.mark.parametrize(
    "change",
    [
        without_labels,
        without_outcomes,
        without_events,
        everyone_dead_on_day_zero,
        one_pattern_only,
        nobody_tested,
        everything_abstained,
        only_keys,
        heavily_censored,
        two_cases,
        constant_predictions,
    ],
)
def test_hard_cohorts_give_notes_instead_of_errors(
    tables: Callable[..., Any], course: Endpoint, change: Change
) -> None:
    predictions, cases = change(*tables(60, seed=1))
    found = evaluate(predictions, cases, course, FEW)
    for row in found.metrics:
        assert row.value is not None or row.note.strip()
    EvaluationResult.model_validate_json(found.model_dump_json())


def late_events(predictions: Any, cases: Any) -> tuple[Any, Any]:
    """Three deaths and three progressions in the first year, after which nothing is predicted; many later on."""
    events = [Outcome(100.0 + i, ("death", "progression")[i % 2]) for i in range(6)]
    events += [Outcome(400.0 + i, ("alive", "death", "progression")[i % 3]) for i in range(len(cases) - 6)]
    later = [f"survival_{day}d" for day in (1096, 1826)]
    return predictions.assign(**dict.fromkeys(later)), tuple(
        replace(case, outcome=outcome, site=f"site{i < 12}")
        for i, (case, outcome) in enumerate(zip(cases, events, strict=True))
    )


def test_only_events_up_to_the_last_horizon_count(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = late_events(*tables(60))
    found = evaluate(predictions, cases, course, FEW)
    for row in found.metrics:
        if row.metric in {"uno_c", "ibs"} and row.model in {"model", "antibody_class"} and row.subgroup == "all":
            assert row.events == (6 if row.target == "event_free" else 0 if row.target == "transplant" else 3)
            assert (row.value is None) == (row.events < 5)
    assert {row.events for row in found.differences if row.metric in {"uno_c", "ibs"}} == {6}
    part = found.find("uno_c", subgroup="site=siteTrue")
    assert part is not None
    assert part.note == "n/a (6 events)"  # of ten that a subgroup needs


def closed_on(cases: Any, day: float) -> Any:
    """Everyone without an event by a day is censored on it."""
    return tuple(
        replace(case, outcome=Outcome(day, "alive"))
        if case.outcome.time_days > day or case.outcome.event == "alive"
        else case
        for case in cases
    )


@pytest.mark.parametrize(("window_days", "closing_day"), [(365.0, None), (365.0, 365.0), (None, 365.0)])
def test_the_last_day_of_a_window_or_study_is_evaluated(
    tables: Callable[..., Any], course: Endpoint, window_days: float | None, closing_day: float | None
) -> None:
    predictions, cases = tables(120)
    endpoint = course.model_copy(update={"window_days": window_days})
    found = evaluate(predictions, closed_on(cases, closing_day) if closing_day else cases, endpoint, NONE)
    for name in ("auc_at", "brier_at", "observed_over_expected", "calibration_slope"):
        row = found.find(name, horizon_days=365.0)
        assert row is not None, name
        assert row.value is not None, name
    assert {row.horizon_days for row in found.metrics if row.metric == "brier_at"} == {90.0, 180.0, 365.0}
    assert found.cohort.median_follow_up_days == 365.0
    seen = [curve for curve in found.curves if curve.kind == "risk_group_observed"]
    assert max(point.x for curve in seen for point in curve.points) <= 365.0


def test_no_events_says_how_many(tables: Callable[..., Any], course: Endpoint) -> None:
    found = evaluate(*without_events(*tables(40)), course, NONE).find("uno_c")
    assert found is not None
    assert found.note == "n/a (0 events)"


def test_an_endpoint_with_one_cause_needs_no_incidence(tables: Callable[..., Any]) -> None:
    predictions, cases = tables(120)
    found = evaluate(predictions, cases, load_endpoint("death"), NONE)
    assert found.find("uno_c") is not None
    assert {row.target for row in found.metrics} == {"pattern", "event_free"}


def test_several_readers_give_a_ceiling(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(100, num_readers=3)
    found = evaluate(predictions, cases, course, NONE)
    kappa = found.find("reader_kappa", model="readers")
    assert kappa is not None
    assert kappa.value is not None
    assert 0.3 < kappa.value < 0.9


def test_causes_are_compared_with_aalen_johansen_per_antibody_class(result: EvaluationResult) -> None:
    rows = {(row.target, row.metric): row for row in result.differences if row.target in {"death", "progression"}}
    assert set(rows) == {(cause, name) for cause in ("death", "progression") for name in ("brier_at", "auc_at")}
    death = rows[("death", "brier_at")]
    assert death.better_when == "lower"
    assert death.value is not None
    assert death.value < 0  # the exactly right incidence has the smaller error


def test_causes_of_out_of_fold_predictions_are_compared_within_folds_whatever_the_comparator_was_fitted_on(
    tables: Callable[..., Any], course: Endpoint
) -> None:
    predictions, cases = tables(240)
    shifted = predictions.iloc[:120].assign(fold=np.arange(120) % 3)
    shifted["cif_death_365d"] *= 1 / (1 + 3 * shifted["fold"])  # order within a fold stays
    found = evaluate(shifted, cases, course, NONE)
    place = ("death", "auc_at", 365.0)
    own = next(row for row in found.metrics if (row.target, row.metric, row.horizon_days) == place)
    paired = next(row for row in found.differences if (row.target, row.metric, row.horizon_days) == place)
    assert paired.model_value == pytest.approx(own.value)


def test_training_predictions_without_image_columns_do_not_train_image_comparators(
    tables: Callable[..., Any], course: Endpoint
) -> None:
    predictions, cases = tables(200)
    bare = predictions.iloc[80:][["case_key"]]
    found = evaluate(predictions.iloc[:80], cases, course, FEW, default_context(training_predictions=bare))
    by_key = {comparator.key: comparator for comparator in found.comparators}
    assert by_key["ggo_extent"].how_fitted.startswith("out of fold")
    assert by_key["clinical"].how_fitted == "on 120 separate training cases"


def test_training_predictions_may_answer_another_endpoint(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(200)
    context = default_context(training_predictions=predictions.iloc[80:].assign(endpoint="death"))
    found = evaluate(predictions.iloc[:80], cases, course, FEW, context)
    by_key = {comparator.key: comparator for comparator in found.comparators}
    assert by_key["ggo_extent"].how_fitted == "on 120 separate training cases"


def test_a_case_twice_in_the_training_predictions_is_refused(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(60)
    context = default_context(training_predictions=predictions.iloc[[40, 41, 41, 42]])
    with pytest.raises(InputError, match=r"training predictions name 1 case\(s\) twice, first 'c0041'"):
        evaluate(predictions.iloc[:40], cases, course, NONE, context)


def test_a_training_table_shares_no_patient_but_may_repeat_case_names(
    tables: Callable[..., Any], course: Endpoint
) -> None:
    predictions, cases = tables(80)
    _, others = tables(150, seed=5)
    others = tuple(replace(case, patient_id=f"other{case.patient_id}") for case in others)
    leaking = (*others, *cases[:20])
    found = evaluate(predictions, cases, course, FEW, default_context(training_cases=leaking))
    assert {row.how_fitted for row in found.comparators if row.key == "clinical"} == {"on 150 separate training cases"}
    caution = next(one for one in found.cautions if one.code == "training_cases_left_out")
    assert caution.message.startswith("20 of 170 training cases")
    assert caution.facts == {"cases": 20.0}
    assert any("refitted on 150 separate training cases" in line for line in found.methods)


def test_the_cases_of_the_table_that_serve_as_training_are_named_as_such(
    tables: Callable[..., Any], course: Endpoint
) -> None:
    predictions, cases = tables(120)
    again = (*cases, *(replace(case, case_id=f"{case.case_id}_later") for case in cases[:10]))
    found = evaluate(predictions.iloc[:40], again, course, NONE)
    assert any("refitted on 80 cases of the table without a prediction" in line for line in found.methods)
    assert "training_cases_left_out" not in {one.code for one in found.cautions}  # one cohort: the same patients


def test_cases_without_a_site_form_no_site_of_their_own(tables: Callable[..., Any], course: Endpoint) -> None:
    predictions, cases = tables(120)
    blank = tuple(replace(case, site="" if i % 3 == 0 else case.site) for i, case in enumerate(cases))
    named = [i for i in range(120) if i % 3]
    found = evaluate(predictions, blank, course, NONE).find("uno_c_within_site")
    alone = evaluate(predictions.iloc[named], [cases[i] for i in named], course, NONE).find("uno_c_within_site")
    assert found is not None
    assert alone is not None
    assert (found.value, found.n, found.events) == (alone.value, alone.n, alone.events)
    one_site = tuple(replace(case, site="a" if case.site == "site1" else "") for case in cases)
    assert evaluate(predictions, one_site, course, NONE).find("uno_c_within_site") is None
