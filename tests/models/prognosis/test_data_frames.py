"""Frames with the columns of a case table; a cohort with other covariates needs only YAML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from domain.covariates import load_covariate_vocabulary
from domain.endpoints import load_endpoint
from domain.errors import PrognosisDataError
from domain.settings import PrognosisSettings
from models.prognosis import PrognosticModel, data_from_frame

COURSE = load_endpoint("course")
WHAS_COVARIATES = """
format_version: 1
covariates:
  - {key: age, name: Age, block: demographic, unit: years, plausible_range: [0, 110], source: WHAS500}
  - {key: bmi, name: Body mass index, block: demographic, unit: kg_m2, plausible_range: [8, 80], source: WHAS500}
  - {key: hr, name: Heart rate, block: physiology, unit: per_min, plausible_range: [20, 300], source: WHAS500}
  - {key: sysbp, name: Systolic pressure, block: physiology, unit: mmhg, plausible_range: [30, 300], source: WHAS500}
  - {key: chf, name: Heart failure, kind: categorical, block: disease, levels: ["no", "yes"], source: WHAS500}
  - {key: sho, name: Shock, kind: categorical, block: disease, levels: ["no", "yes"], source: WHAS500}
"""
WHAS_ENDPOINT = """
format_version: 1
name: whas500_death
title: Death after myocardial infarction
survival_means: alive
time_column: lenfol
event_column: fstat
causes:
  - {key: death, name: Death, events: [dead]}
censored_events: [alive]
horizons_days: [30, 365, 1096]
grid_days: [0, 7, 30, 90, 180, 365, 730, 1096, 2000]
risk_horizon_days: 365
risk_groups:
  - {key: low, below: 0.15}
  - {key: high, below: 1.0}
source: scikit-survival
"""


def frame(**columns: list[object]) -> pd.DataFrame:
    rows = {"case_id": ["a", "b", "c"], "time_days": [10.0, 400.0, 0.0], "event": ["death", "alive", "progression"]}
    return pd.DataFrame(rows | columns)


def refusal(**columns: list[object]) -> str:
    with pytest.raises(PrognosisDataError) as caught:
        data_from_frame(frame(**columns), COURSE)
    return str(caught.value)


def test_columns_become_arrays() -> None:
    data = data_from_frame(
        frame(
            ab_mda5=["positive", "", None],
            ferritin_ng_ml=[np.e, np.nan, 100.0],
            sex=["male", "female", ""],
            site=["x", "x", "y"],
        ),
        COURSE,
    )
    assert data.antibodies is not None
    assert data.covariates is not None
    assert data.cause is not None
    assert data.antibodies[:, data.antibody_keys.index("mda5")].tolist() == [1, -1, -1]
    assert data.covariates[0, data.covariate_names.index("ferritin")] == pytest.approx(1.0)
    assert np.isnan(data.covariates[1, data.covariate_names.index("ferritin")])
    assert data.covariates[:2, data.covariate_names.index("sex=male")].tolist() == [1.0, 0.0]
    assert data.cause.tolist() == [1, 0, 2]
    assert data.centres == ("x", "x", "y")


def test_grades_of_a_blot_are_kept() -> None:
    data = data_from_frame(frame(ab_mda5=["positive"] * 3, ab_mda5_grade=["(+)", "+++", None]), COURSE)
    assert data.antibody_grades is not None
    column = data.antibody_grades[:, data.antibody_keys.index("mda5")]
    assert column[:2].tolist() == [1.0, 4.0]
    assert np.isnan(column[2])


def test_another_declared_unit_gives_the_same_numbers() -> None:
    milligrams = data_from_frame(frame(crp_mg_l=[10.0, 25.0, 1.0]))
    decilitres = data_from_frame(frame(crp_mg_dl=[1.0, 2.5, 0.1]))
    assert milligrams.covariates is not None
    assert decilitres.covariates is not None
    np.testing.assert_allclose(milligrams.covariates, decilitres.covariates)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"ab_mda5": ["yes", "", ""]}, "ab_mda5: 'yes'"),
        ({"ab_mda5": ["positive", "", ""], "ab_mda5_grade": ["5+", "", ""]}, "ab_mda5_grade: '5+'"),
        ({"fvc_percent": [900.0, 80.0, 80.0]}, "fvc_percent: impossible value(s) 900.0"),
        ({"fvc_percent": [np.inf, 80.0, 80.0]}, "fvc_percent: impossible"),
        ({"age_years": ["old", 80.0, 80.0]}, "age_years: impossible value(s) 'old'"),
        ({"sex": ["x", "male", "male"]}, "sex: impossible value(s) 'x'; expected female, male"),
        ({"ferritin": [1.0, 2.0, 3.0]}, "ferritin: the unit of ferritin is not declared"),
        ({"ferritin_ounces": [1.0, 2.0, 3.0]}, "ferritin_ounces: the unit of ferritin is not declared"),
        ({"event": ["death", "alive", "moved"]}, "unknown event(s) 'moved'"),
        ({"feritin_ng_ml": [1.0, 2.0, 3.0]}, "feritin_ng_ml: not known; is 'ferritin_ng_ml' meant?"),
        ({"ab_mda_5": ["", "", ""]}, "ab_mda_5: not known; is 'ab_mda5' meant?"),
        ({"ab_asyalpha9": ["", "", ""]}, "ab_asyalpha9: unknown antibody"),
        ({"ferritin_day": [0, -3, 12]}, "ferritin_day: 1 value(s) measured after the index CT, up to 12 days"),
        ({"ab_mda5_day": [30, None, None]}, "ab_mda5_day: 1 value(s) measured after the index CT"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(columns: dict[str, list[object]], words: str) -> None:
    assert words in refusal(**columns)


def test_days_before_the_ct_and_columns_of_ones_own_are_welcome() -> None:
    plain = frame()
    more = plain.assign(ferritin_day=-2, ab_mda5_day=[-400, None, 0], ward="b", embedding_1=0.5)
    np.testing.assert_array_equal(data_from_frame(more).covariates, data_from_frame(plain).covariates)


def test_a_missing_outcome_column_is_named() -> None:
    with pytest.raises(PrognosisDataError, match="event: the column is absent"):
        data_from_frame(frame().drop(columns="event"), COURSE)


def test_a_cohort_of_another_disease_needs_only_yaml(tmp_path: Path) -> None:
    datasets = pytest.importorskip("sksurv.datasets", reason="WHAS500 ships in scikit-survival (extra eval)")
    (tmp_path / "covariates.yaml").write_text(WHAS_COVARIATES)
    (tmp_path / "endpoint.yaml").write_text(WHAS_ENDPOINT)
    features, target = datasets.load_whas500()
    table = pd.DataFrame(
        {
            "age_years": features["age"].astype(float),
            "bmi_kg_m2": features["bmi"].astype(float),
            "hr_per_min": features["hr"].astype(float),
            "sysbp_mmhg": features["sysbp"].astype(float),
            "chf": np.where(features["chf"].astype(int) == 1, "yes", "no"),
            "sho": np.where(features["sho"].astype(int) == 1, "yes", "no"),
            "lenfol": target["lenfol"],
            "fstat": np.where(target["fstat"], "dead", "alive"),
        }
    )
    endpoint = load_endpoint(str(tmp_path / "endpoint.yaml"))
    data = data_from_frame(table, endpoint, covariates=load_covariate_vocabulary(str(tmp_path / "covariates.yaml")))
    train, test = data.take(np.arange(0, 500, 2)), data.take(np.arange(1, 500, 2))
    model = PrognosticModel.fit(train, PrognosisSettings(num_embedding_components=4, num_bootstrap=10), endpoint)
    from lifelines.utils import concordance_index

    assert concordance_index(test.time_days, model.survival(test, [365.0])[:, 0], test.cause) > 0.72
    answer = model.explain(test.take([0]))
    assert answer.mode == "tables_only"
    assert answer.survival_means == "alive"


def test_words_are_read_as_in_a_case_table() -> None:
    data = data_from_frame(
        frame(ab_mda5=["Positive", "NEGATIVE", None], sex=["Male", "female", ""], x_ferritin_ng_ml=[1, 2, 3]), COURSE
    )
    assert data.antibodies is not None
    assert data.antibodies[:, data.antibody_keys.index("mda5")].tolist() == [1, 0, -1]
    again = data_from_frame(frame(ab_mda5=["positive", "negative", None], sex=["male", "female", None]), COURSE)
    np.testing.assert_array_equal(data.antibodies, again.antibodies)
    np.testing.assert_array_equal(data.covariates, again.covariates)


def test_blank_patients_are_patients_of_their_own() -> None:
    assert data_from_frame(frame(patient_id=["p", None, None]), COURSE).patient_ids == ("p", "b", "c")


def test_a_repeated_case_is_refused() -> None:
    assert "'a' stand more than once" in refusal(case_id=["a", "a", "c"])
