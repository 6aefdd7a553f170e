"""The head as a whole: identities that hold for every fit, and answers for whatever inputs there are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.prognosis_generator import Variant, draw, endpoint_of
from domain.errors import ArtefactError, PrognosisDataError
from domain.prognostic_data import PrognosticData
from domain.settings import PrognosisSettings
from models.prognosis import PrognosticModel

DAYS = np.array([0.0, 1.0, 30.0, 90.0, 180.0, 365.0, 700.0, 1096.0])
QUICK = PrognosisSettings(
    num_embedding_components=4, num_bootstrap=20, gate_penalties=(10.0,), main_penalty_factors=(10.0,)
)
NO_BANDS = PrognosisSettings.model_validate(QUICK.model_dump() | {"num_bootstrap": 0})
COMPETING = Variant(competing=True, untested=0.3)


@pytest.fixture(scope="module")
def cohort() -> PrognosticData:
    return draw(250, 11, COMPETING).data


@pytest.fixture(scope="module")
def model(cohort: PrognosticData) -> PrognosticModel:
    return PrognosticModel.fit(cohort, QUICK, endpoint_of(COMPETING))


@pytest.fixture(scope="module")
def patients() -> PrognosticData:
    return draw(60, 12, COMPETING).data


def test_survival_starts_at_one_never_rises_and_adds_up_with_incidence(
    model: PrognosticModel, patients: PrognosticData
) -> None:
    survival = model.survival(patients, DAYS)
    incidence = model.cumulative_incidence(patients, DAYS)
    assert np.all(survival[:, 0] == 1.0)
    assert np.all(np.diff(survival, axis=1) <= 0)
    assert all(np.all(np.diff(values, axis=1) >= 0) for values in incidence.values())
    np.testing.assert_allclose(survival + sum(incidence.values()), 1.0, atol=1e-12)


def test_an_answer_does_not_depend_on_the_other_days_or_patients_asked_for(
    model: PrognosticModel, patients: PrognosticData
) -> None:
    together = model.survival(patients, DAYS)
    alone = np.vstack([model.survival(patients.take([row]), [365.0]) for row in range(len(patients))])
    np.testing.assert_allclose(alone[:, 0], together[:, 5], rtol=1e-12)


def test_no_answer_is_given_beyond_the_supported_time(model: PrognosticModel, patients: PrognosticData) -> None:
    beyond = model.state.grid.supported_days + 1.0
    assert np.isnan(model.survival(patients, [beyond])).all()
    assert np.isnan(model.interval(patients, [beyond])[0]).all()
    assert all(np.isnan(values).all() for values in model.cumulative_incidence(patients, [beyond]).values())


def test_a_restored_model_answers_the_same(model: PrognosticModel, patients: PrognosticData) -> None:
    restored = PrognosticModel.from_dict(json.loads(json.dumps(model.to_dict(), allow_nan=False)))
    assert np.array_equal(restored.survival(patients, DAYS), model.survival(patients, DAYS))
    for one, other in zip(restored.interval(patients, DAYS), model.interval(patients, DAYS), strict=True):
        assert np.array_equal(one, other)
    assert restored.explain(patients.take([0])) == model.explain(patients.take([0]))


def test_another_format_version_is_refused(model: PrognosticModel) -> None:
    with pytest.raises(ArtefactError, match="format 99"):
        PrognosticModel.from_dict(model.to_dict() | {"format_version": 99})


def test_the_order_of_training_rows_and_columns_does_not_matter(
    cohort: PrognosticData, model: PrognosticModel, patients: PrognosticData
) -> None:
    shuffled = cohort.take(np.random.default_rng(0).permutation(len(cohort)))
    assert shuffled.covariates is not None
    assert shuffled.antibodies is not None
    shuffled = shuffled.replaced(
        covariates=shuffled.covariates[:, ::-1],
        covariate_names=shuffled.covariate_names[::-1],
        antibodies=shuffled.antibodies[:, ::-1],
        antibody_keys=shuffled.antibody_keys[::-1],
    )
    refitted = PrognosticModel.fit(shuffled, QUICK, endpoint_of(COMPETING))
    np.testing.assert_allclose(refitted.survival(patients, DAYS), model.survival(patients, DAYS), atol=1e-9)


def test_a_block_of_nan_is_the_same_as_an_absent_block(model: PrognosticModel, patients: PrognosticData) -> None:
    assert patients.embedding is not None
    assert patients.covariates is not None
    empty = patients.replaced(
        embedding=np.full_like(patients.embedding, np.nan), covariates=np.full_like(patients.covariates, np.nan)
    )
    absent = patients.replaced(embedding=None, covariates=None, covariate_names=())
    np.testing.assert_array_equal(model.survival(empty, DAYS), model.survival(absent, DAYS))


def test_not_tested_is_not_negative(model: PrognosticModel, patients: PrognosticData) -> None:
    assert patients.antibodies is not None
    untested = patients.replaced(antibodies=np.full_like(patients.antibodies, -1))
    negative = patients.replaced(antibodies=np.zeros_like(patients.antibodies))
    difference = np.abs(model.survival(untested, [365.0]) - model.survival(negative, [365.0]))
    assert difference.mean() > 0.02


def test_a_patient_of_whom_nothing_is_known_gets_the_cohort_curve(
    cohort: PrognosticData, model: PrognosticModel
) -> None:
    nobody = PrognosticData(case_ids=("nobody",))
    answer = model.explain(nobody)
    assert answer.mode == "baseline_only"
    assert answer.contributions == ()
    assert any("average curve" in note for note in answer.notes)
    average = model.survival(cohort, [365.0]).mean()
    assert abs(model.survival(nobody, [365.0])[0, 0] - average) < 0.05


@pytest.mark.parametrize(
    ("absent", "mode"),
    [
        ({}, "full"),
        ({"antibodies": None, "antibody_keys": (), "covariates": None, "covariate_names": ()}, "image_only"),
        ({"embedding": None}, "tables_only"),
    ],
)
def test_any_block_may_be_absent(
    model: PrognosticModel, patients: PrognosticData, absent: dict[str, object], mode: str
) -> None:
    if "antibodies" in absent:
        absent = absent | {"antibody_groups": (), "covariate_blocks": ()}
    answer = model.explain(patients.take([1]).replaced(**absent))
    assert answer.mode == mode
    assert all(risk.survival is not None for risk in answer.horizons[:3])


def test_a_cohort_without_events_is_refused(cohort: PrognosticData) -> None:
    assert cohort.cause is not None
    with pytest.raises(PrognosisDataError, match="nobody had an event"):
        PrognosticModel.fit(cohort.replaced(cause=np.zeros_like(cohort.cause)), QUICK, endpoint_of(COMPETING))


def test_few_events_give_one_curve_for_everyone_and_say_so() -> None:
    cohort = draw(14, 3).data
    model = PrognosticModel.fit(cohort, QUICK, endpoint_of(Variant()))
    assert np.ptp(model.survival(cohort, [180.0])) == 0.0
    assert any("too few for any effect" in note for note in model.state.summary.notes)


def test_contributions_add_up_to_the_log_hazard_difference(model: PrognosticModel, patients: PrognosticData) -> None:
    one = patients.take([4])
    state = model.state
    shares = model.contributions(one, days=[90.0, 365.0])
    for k, cause in enumerate(model.endpoint.cause_keys):
        for day in (90.0, 365.0):
            interval = int(state.grid.interval_of(np.array([day]))[0])
            own = model.log_hazard(one)[0, k, interval]
            mean = state.hazards.log_hazard(state.mean_static[None], state.mean_temporal[None], state.grid.log_time)
            total = sum(c.log_hazard for c in shares if c.cause == cause and c.days == day)
            assert total == pytest.approx(own - mean[0, k, interval], abs=1e-10)


def test_what_if_refuses_what_was_never_seen_together(model: PrognosticModel, patients: PrognosticData) -> None:
    assert patients.antibodies is not None
    states = np.zeros_like(patients.antibodies[:1])
    states[0, patients.antibody_keys.index("jo1")] = 1
    one = patients.take([0]).replaced(antibodies=states)
    assert "never positive together" in model.what_if(one, "mda5", "positive").refused
    allowed = model.what_if(one, "jo1", "negative")
    assert allowed.refused == ""
    assert allowed.num_training_patients > 0
    assert allowed.horizons[0].survival_lo is not None


def test_a_weak_blot_stays_weak_whatever_else_is_asked(model: PrognosticModel, patients: PrognosticData) -> None:
    keys = patients.antibody_keys
    assert patients.antibodies is not None
    states = np.zeros_like(patients.antibodies[:1])
    states[0, keys.index("jo1")] = 1
    grades = np.full(states.shape, np.nan)
    grades[0, keys.index("jo1")] = 1.0
    weak = patients.take([0]).replaced(antibodies=states, antibody_grades=grades)
    strong = weak.replaced(antibody_grades=None)
    day = model.endpoint.horizons_days[0]
    own = model.survival(weak, [float(day)])[0, 0]
    assert own != pytest.approx(model.survival(strong, [float(day)])[0, 0], abs=1e-6)
    same = model.what_if(weak, "ro52", "negative").horizons[0]
    assert same.survival == pytest.approx(own, abs=1e-9)  # it is negative already


def test_untested_antibodies_come_with_the_range_over_plausible_states(
    model: PrognosticModel, patients: PrognosticData
) -> None:
    assert patients.antibodies is not None
    untested = patients.take([2]).replaced(antibodies=np.full_like(patients.antibodies[:1], -1))
    span = model.explain(untested).plausible_range
    assert span
    assert all(r.survival_lo is not None and r.survival_hi is not None for r in span[:3])
    assert span[2].survival_lo < span[2].survival_hi  # type: ignore[operator]
    tested = untested.replaced(antibodies=np.zeros_like(patients.antibodies[:1]))
    assert model.explain(tested).plausible_range == ()


def test_the_same_seed_gives_the_same_answer_and_bands(cohort: PrognosticData, model: PrognosticModel) -> None:
    again = PrognosticModel.fit(cohort, QUICK, endpoint_of(COMPETING))
    assert json.dumps(again.to_dict()) == json.dumps(model.to_dict())


def test_events_on_the_day_of_the_ct_are_events(cohort: PrognosticData) -> None:
    assert cohort.time_days is not None
    early = np.where(np.arange(len(cohort)) < 20, 0.0, cohort.time_days)
    cause = np.where(np.arange(len(cohort)) < 20, 2, cohort.cause)
    model = PrognosticModel.fit(
        cohort.replaced(time_days=early, cause=cause),
        NO_BANDS,
        endpoint_of(COMPETING),
    )
    first_days = model.cumulative_incidence(cohort, [3.0])["death"].mean()
    assert first_days == pytest.approx(20 / len(cohort), abs=0.03)


def test_scaling_a_covariate_changes_nothing(
    cohort: PrognosticData, model: PrognosticModel, patients: PrognosticData
) -> None:
    assert cohort.covariates is not None
    assert patients.covariates is not None
    factor, shift = np.array([365.25, 0.01, 7.0]), np.array([0.0, 5.0, -3.0])
    other_unit = cohort.replaced(covariates=cohort.covariates * factor + shift)
    refitted = PrognosticModel.fit(other_unit, NO_BANDS, endpoint_of(COMPETING))
    changed = patients.replaced(covariates=patients.covariates * factor + shift)
    np.testing.assert_allclose(refitted.survival(changed, DAYS), model.survival(patients, DAYS), atol=1e-8)


def test_marginal_mode_averages_over_the_antibody_classes(cohort: PrognosticData, patients: PrognosticData) -> None:
    settings = PrognosisSettings.model_validate(QUICK.model_dump() | {"untested_mode": "marginal"})
    model = PrognosticModel.fit(cohort, settings, endpoint_of(COMPETING))
    assert patients.antibodies is not None
    one = patients.take([2]).replaced(antibodies=np.full_like(patients.antibodies[:1], -1))
    span, middle = model.explain(one).plausible_range, model.survival(one, [365.0])[0, 0]
    year = next(risk for risk in span if risk.days == 365)
    assert year.survival_lo is not None
    assert year.survival_hi is not None
    assert year.survival_lo < middle < year.survival_hi
    incidence = model.cumulative_incidence(one, [365.0])
    assert middle + sum(values[0, 0] for values in incidence.values()) == pytest.approx(1.0, abs=1e-12)
    low, high = model.interval(one, [365.0])
    assert low[0, 0] < middle < high[0, 0]


def test_another_testing_rate_is_pointed_out(model: PrognosticModel, patients: PrognosticData) -> None:
    assert patients.antibodies is not None
    nobody_tested = patients.replaced(antibodies=np.full_like(patients.antibodies, -1))
    assert "antibodies were tested in 0%" in model.notes_for_use(nobody_tested)[0]
    assert model.notes_for_use(patients) == ()


def test_two_specific_antibodies_raise_a_note(model: PrognosticModel, patients: PrognosticData) -> None:
    assert patients.antibodies is not None
    states = np.zeros_like(patients.antibodies[:1])
    states[0, [patients.antibody_keys.index(key) for key in ("jo1", "mi2")]] = 1
    notes = model.explain(patients.take([0]).replaced(antibodies=states)).notes
    assert any("more than one myositis-specific antibody" in note for note in notes)
    assert any("anti-mi2 was never positive in training" in note for note in notes)


def test_a_large_cohort_uses_one_step_replicates_close_to_refits(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, patients = draw(600, 31).data, draw(40, 32).data
    settings = PrognosisSettings(num_embedding_components=4, num_bootstrap=60)
    refits = PrognosticModel.fit(cohort, settings, endpoint_of(Variant())).interval(patients, [365.0])
    monkeypatch.setattr("models.prognosis.bootstrap.ONE_STEP_SIZE", 0)
    one_step = PrognosticModel.fit(cohort, settings, endpoint_of(Variant())).interval(patients, [365.0])
    np.testing.assert_allclose(one_step[0], refits[0], atol=0.1)
    width, other = (refits[1] - refits[0]).mean(), (one_step[1] - one_step[0]).mean()
    assert other == pytest.approx(width, rel=0.15)
