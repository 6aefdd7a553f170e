from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from domain.antibodies import load_antibody_vocabulary
from domain.covariates import load_covariate_vocabulary
from domain.endpoints import Endpoint
from evaluation import baselines, comparator_fits
from evaluation.cohort import Cohort, build_cohort

DAYS = np.array([180.0, 365.0])
VOCABULARY, COVARIATES = load_antibody_vocabulary(), load_covariate_vocabulary()


@pytest.fixture(scope="module")
def cohort(tables: Callable[..., Any], course: Endpoint) -> Cohort:
    return build_cohort(*tables(150), course, VOCABULARY)


def test_folds_keep_patients_together_and_deal_events_evenly() -> None:
    patients = [f"p{i // 2}" for i in range(100)]
    has_event = np.arange(100) % 10 < 2  # ten patients with an event
    folds = baselines.patient_folds(patients, has_event, 5, seed=0)
    assert all(len({folds[i], folds[i + 1]}) == 1 for i in range(0, 100, 2))
    assert np.bincount(folds, weights=has_event).tolist() == [4.0] * 5


def test_no_case_is_predicted_by_a_fit_that_saw_its_patient(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    plain = comparator_fits.fit_strata

    def spy(source: Cohort, train: Any, target: Cohort, columns: Any, days: Any, seed: int) -> Any:
        seen.append(set(source.patients) & set(target.patients))
        return plain(source, train, target, columns, days, seed)

    monkeypatch.setitem(comparator_fits.FITS, "strata", spy)
    others = [one.key for one in baselines.BASELINES if one.key != "antibody_class"]
    baselines.predict_baselines(cohort, COVARIATES, DAYS, skip=others)
    assert len(seen) == baselines.NUM_FOLDS
    assert not any(seen)


def test_every_prediction_is_a_falling_probability(cohort: Cohort) -> None:
    for prediction in baselines.predict_baselines(cohort, COVARIATES, DAYS, skip=("boosting",)):
        known = prediction.survival[np.isfinite(prediction.survival).all(axis=1)]
        assert ((known >= 0) & (known <= 1)).all()
        assert (np.diff(known, axis=1) <= 1e-9).all()


def test_outcomes_shuffled_among_patients_leave_nothing_to_rank(tables: Callable[..., Any], course: Endpoint) -> None:
    from dataclasses import replace

    from evaluation.survival import Observed, concordance

    predictions, cases = tables(400)
    order = np.random.default_rng(0).permutation(400)
    shuffled = tuple(replace(case, outcome=cases[order[i]].outcome) for i, case in enumerate(cases))
    mixed = build_cohort(predictions, shuffled, course, VOCABULARY)
    observed = Observed.of(mixed.time_days, mixed.cause, np.ones((1, 400)))
    skip = [one.key for one in baselines.BASELINES if one.key not in {"clinical", "antibody_class"}]
    for prediction in baselines.predict_baselines(mixed, COVARIATES, DAYS, skip=skip):
        risk = 1 - prediction.survival.mean(axis=1)
        value = concordance(risk, observed, tau=1096.0, strata=prediction.strata)[0]
        assert value == pytest.approx(0.5, abs=0.07)


def test_a_class_too_small_for_a_curve_gets_that_of_everyone(cohort: Cohort) -> None:
    source = cohort.take(np.array([name != "mda5" for name in cohort.antibody_classes]))
    target = cohort.take(np.array([name == "mda5" for name in cohort.antibody_classes]))
    empty = np.zeros((0, 0))
    unseen = comparator_fits.fit_strata(source, empty, target, empty, DAYS, 0)
    assert (unseen == unseen[0]).all()


def test_the_standardiser_learns_from_training_cases_only_and_marks_the_missing() -> None:
    train = np.array([[1.0, np.nan], [3.0, 5.0], [5.0, 7.0], [7.0, np.nan]])
    standardiser = comparator_fits.Standardiser.fit(train)
    design = standardiser.apply(np.array([[4.0, np.nan], [100.0, 6.0]]))
    assert design.shape == (2, 3)  # two columns and one "was missing"
    assert design[0] == pytest.approx([0.0, 0.0, 1.0])
    assert design[1, 2] == 0.0
    assert design[1, 0] == pytest.approx(96 / np.sqrt(5))


def test_too_few_events_leave_a_comparator_out_and_say_so(cohort: Cohort) -> None:
    dead = np.flatnonzero(cohort.cause > 0)[:11]  # about nine for each fit
    few = cohort.take(np.concatenate([dead, np.flatnonzero(cohort.cause == 0)[:30]]))
    notes = {one.baseline.key: one.note for one in baselines.predict_baselines(few, COVARIATES, DAYS)}
    assert notes["antibody_class"] == ""
    assert notes["clinical"] == "n/a (fewer than 10 events to fit on)"
    assert notes["forest"] in {"n/a (fewer than 15 events to fit on)", "n/a (needs the extra `eval`: scikit-survival)"}


def test_without_the_extra_the_forests_say_so(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    skip = [one.key for one in baselines.BASELINES if one.key not in {"forest", "boosting"}]
    notes = {one.note for one in baselines.predict_baselines(cohort, COVARIATES, DAYS, skip=skip)}
    assert notes == {"n/a (needs the extra `eval`: scikit-survival)"}
