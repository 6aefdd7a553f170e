from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from domain.antibodies import AntibodyResult, AntibodyStatus, load_antibody_vocabulary
from domain.covariates import load_covariate_vocabulary
from domain.endpoints import Endpoint
from evaluation import comparator_inputs as inputs
from evaluation.cohort import Cohort, build_cohort

COVARIATES = load_covariate_vocabulary()
POSITIVE, NEGATIVE = AntibodyResult(AntibodyStatus.POSITIVE), AntibodyResult(AntibodyStatus.NEGATIVE)


@pytest.fixture
def cohort_of(tables: Callable[..., Any], course: Endpoint) -> Callable[..., Cohort]:
    def build(*rows: dict[str, Any]) -> Cohort:
        predictions, cases = tables(len(rows))
        cases = tuple(
            replace(case, antibodies=row.get("antibodies", {}), covariates=row.get("covariates", {}))
            for case, row in zip(cases, rows, strict=True)
        )
        return build_cohort(predictions, cases, course, load_antibody_vocabulary())

    return build


def test_mck_uses_the_crp_cut_of_the_antibody_state_and_is_missing_without_an_input(
    cohort_of: Callable[..., Cohort],
) -> None:
    cohort = cohort_of(
        {"antibodies": {"mda5": POSITIVE}, "covariates": {"crp": 0.9, "kl6": 1000.0}},
        {"antibodies": {"mda5": NEGATIVE}, "covariates": {"crp": 0.9, "kl6": 1000.0}},
        {"antibodies": {"mda5": NEGATIVE}, "covariates": {"crp": 1.1, "kl6": 500.0}},
        {"antibodies": {}, "covariates": {"crp": 5.0, "kl6": 2000.0}},
        {"antibodies": {"mda5": POSITIVE}, "covariates": {"crp": 5.0}},
    )
    columns = inputs.mck(cohort, COVARIATES)
    assert columns[:3].tolist() == [[1, 2, 2], [0, 1, 0], [0, 1, 0]]
    assert np.isnan(columns[3:]).any(axis=1).all()


def test_ild_gap_points_follow_the_published_table(cohort_of: Callable[..., Cohort]) -> None:
    rows = [
        ({"sex": "female", "age": 60.0, "fvc": 76.0, "dlco": 56.0}, 0),
        ({"sex": "male", "age": 61.0, "fvc": 75.0, "dlco": 55.0}, 4),
        ({"sex": "male", "age": 66.0, "fvc": 49.0, "dlco": 35.0}, 7),
        ({"sex": "female", "age": 65.0, "fvc": 50.0, "dlco": 36.0}, 3),
    ]
    cohort = cohort_of(*({"covariates": covariates} for covariates, _ in rows))
    assert inputs.ild_gap(cohort, COVARIATES)[:, 0].tolist() == [points for _, points in rows]
    partly = cohort_of({"covariates": {"sex": "male", "age": 70.0, "fvc": 60.0}})
    assert np.isnan(inputs.ild_gap(partly, COVARIATES)).all()


def test_flair_like_points_use_the_grade_of_mda5(cohort_of: Callable[..., Cohort]) -> None:
    labs = {"ferritin": 700.0, "ldh": 300.0}
    cohort = cohort_of(
        {"antibodies": {"mda5": AntibodyResult(AntibodyStatus.POSITIVE, grade=4)}, "covariates": labs},
        {"antibodies": {"mda5": POSITIVE}, "covariates": labs},
        {"antibodies": {"mda5": NEGATIVE}, "covariates": labs | {"ldh": 400.0}},
        {"antibodies": {}, "covariates": labs},
    )
    points = inputs.flair_like(cohort, COVARIATES)[:, 0]
    assert points[:3].tolist() == [6, 4, 4]
    assert np.isnan(points[3])


def test_treatment_never_enters_a_clinical_comparator(cohort_of: Callable[..., Cohort]) -> None:
    cohort = cohort_of(
        {"covariates": {"treatment_combination": "yes"}}, {"covariates": {"treatment_combination": "no"}}
    )
    assert np.isnan(inputs.clinical(cohort, COVARIATES)).all()


def test_not_tested_is_a_column_and_negative_is_the_reference(cohort_of: Callable[..., Cohort]) -> None:
    cohort = cohort_of({"antibodies": {}}, {"antibodies": {"mda5": NEGATIVE, "jo1": NEGATIVE, "ro52": POSITIVE}})
    columns = inputs.antibodies(cohort, COVARIATES)
    assert columns[0, :-1].sum() == 1
    assert np.isnan(columns[0, -1])
    assert columns[1].tolist() == [0.0] * (columns.shape[1] - 1) + [1.0]


def test_the_image_score_falls_back_on_ground_glass_and_consolidation(
    tables: Callable[..., Any], course: Endpoint
) -> None:
    predictions, cases = tables(2)
    predictions["high_attenuation_percent"] = [np.nan, 40.0]
    predictions["ggo_percent"], predictions["consolidation_percent"] = 12.0, 3.0
    cohort = build_cohort(predictions, cases, course, load_antibody_vocabulary())
    assert inputs.image_score(cohort).tolist() == [15.0, 40.0]
