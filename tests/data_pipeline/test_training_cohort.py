"""A cohort for training: which rows are used, and the leak of one scan in two patients."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data_pipeline.manifest import read_cases
from data_pipeline.phantoms import generate_cohort
from data_pipeline.training_cohort import auxiliary_targets, load_training_cohort
from domain.antibodies import load_antibody_vocabulary
from domain.config_files import config_path
from domain.covariates import load_covariate_vocabulary
from domain.errors import InputError
from domain.patterns import load_pattern_vocabulary
from domain.records import Case
from domain.specs import PreprocessSpec
from domain.strict_yaml import load_settings

GRAPH = load_settings(PreprocessSpec, config_path("preprocess/small_3d.yaml"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_cohort(tmp_path_factory.mktemp("cohort"), num_patients=2, seed=3)


def cases_of(cohort: Path) -> list[Case]:
    words = load_antibody_vocabulary(), load_covariate_vocabulary(), load_pattern_vocabulary()
    return list(read_cases(cohort / "cases.csv", *words))


def test_rows_without_a_scan_are_left_out_and_scans_that_are_not_there_are_listed(cohort: Path, tmp_path: Path) -> None:
    first, second = cases_of(cohort)
    rows = [first, replace(second, scan="nowhere"), replace(second, case_id="table_only", scan=None)]
    found = load_training_cohort(rows, cohort / "scans", GRAPH, cache_dir=tmp_path)
    assert [case.case_id for case in found.cases] == [first.case_id]
    assert [(item.case_id, item.code.value) for item in found.excluded] == [(second.case_id, "scan_not_found")]


def test_one_scan_listed_by_two_patients_is_refused(cohort: Path, tmp_path: Path) -> None:
    first, second = cases_of(cohort)
    with pytest.raises(InputError, match=f"{first.case_id}.*{second.case_id}.*same scan"):
        load_training_cohort([first, replace(second, scan=first.scan)], cohort / "scans", GRAPH, cache_dir=tmp_path)


def test_a_copy_under_other_uids_is_the_same_scan(cohort: Path, tmp_path: Path) -> None:
    import pydicom
    from pydicom.uid import generate_uid

    first, second = cases_of(cohort)
    scans = tmp_path / "scans"
    shutil.copytree(cohort / "scans" / str(first.scan), scans / str(first.scan))
    shutil.copytree(cohort / "scans" / str(first.scan), scans / "copy")
    study, series = generate_uid(), generate_uid()
    for path in (scans / "copy").glob("*.dcm"):
        data = pydicom.dcmread(path)
        data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID = study, series, generate_uid()
        data.save_as(path)
    with pytest.raises(InputError, match="same scan"):
        load_training_cohort([first, replace(second, scan="copy")], scans, GRAPH, cache_dir=tmp_path / "cache")
    same_patient = replace(second, scan="copy", patient_id=first.patient_id)
    assert len(load_training_cohort([first, same_patient], scans, GRAPH, cache_dir=tmp_path / "cache").cases) == 2


def test_grades_become_steps_and_extents_stay_percent() -> None:
    cases = [
        Case("a", "a", grades={"grade_fibrosis": 0, "grade_same": 1}),
        Case("b", "b", grades={"grade_fibrosis": 4, "grade_same": 1}, extents_percent={"extent_ggo_percent": 12.0}),
        Case("c", "c", grades={"grade_fibrosis": 2}),
        Case("d", "d"),
    ]
    rows = auxiliary_targets(cases)
    assert [row[0] for row in rows][1] == 12.0
    # four extents, then fibrosis at least 2 and at least 4; a grade that is the same for all says nothing
    assert [row[4:] for row in rows[:3]] == [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0)]
    assert all(math.isnan(value) for value in rows[3])
    assert auxiliary_targets([Case("e", "e")]) == [()]
