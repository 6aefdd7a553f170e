"""A cohort folder keeps the contract, and the same seed gives the same bytes."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data_pipeline.manifest import read_cases
from data_pipeline.phantoms import CohortSettings, draw_truths, generate_cohort
from data_pipeline.phantoms.acquisition import draw_acquisition
from data_pipeline.phantoms.cohort import plan_scan
from data_pipeline.phantoms.cohort_digest import small_cohort_digest
from data_pipeline.phantoms.randomness import Stream, stream
from domain.antibodies import load_antibody_vocabulary
from domain.covariates import load_covariate_vocabulary
from domain.errors import InputError, OutputFolderError
from domain.patterns import load_pattern_vocabulary

NUM_PATIENTS = 3


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "cohort"
    return generate_cohort(folder, num_patients=NUM_PATIENTS, seed=21, num_readers=3, follow_up_share=1.0)


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(cohort: Path, tmp_path: Path) -> None:
    options = {"num_readers": 3, "follow_up_share": 1.0, "workers": 2}
    again = generate_cohort(tmp_path / "again", num_patients=NUM_PATIENTS, seed=21, **options)
    assert digests(again) == digests(cohort)


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_vector_units_of_the_processor(tmp_path: Path) -> None:
    program = (
        "import sys; from data_pipeline.phantoms import generate_cohort; "
        "generate_cohort(sys.argv[1], num_patients=2, seed=6, workers=1)"
    )
    contents = []
    for name, switched_off in (("all", ""), ("few", "X86_V3 X86_V4 AVX512_ICL AVX512_SPR")):
        environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": switched_off}
        command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / name)]
        subprocess.run(command, env=environment, check=True)
        contents.append(digests(tmp_path / name))
    assert contents[0] == contents[1]


def test_this_machine_makes_the_bytes_that_others_made() -> None:
    """``python -m data_pipeline.phantoms.cohort_digest`` prints the number; a change of the phantoms changes it."""
    expected = (Path(__file__).parent / "expected_digest.txt").read_text(encoding="ascii").strip()
    assert small_cohort_digest() == expected


def test_another_seed_gives_other_patients(cohort: Path) -> None:
    here = draw_truths(CohortSettings(seed=21, num_patients=NUM_PATIENTS))
    there = draw_truths(CohortSettings(seed=22, num_patients=NUM_PATIENTS))
    assert [truth.columns["age"] for truth in here] != [truth.columns["age"] for truth in there]


def test_a_longer_cohort_begins_with_the_shorter_one() -> None:
    short = draw_truths(CohortSettings(seed=5, num_patients=4))
    long = draw_truths(CohortSettings(seed=5, num_patients=9))
    assert [truth.case for truth in short] == [truth.case for truth in long[:4]]


def test_the_case_table_reads_back_as_written(cohort: Path) -> None:
    cases = read_cases(
        cohort / "cases.csv",
        load_antibody_vocabulary(),
        load_covariate_vocabulary(),
        load_pattern_vocabulary(),
    )
    truths = draw_truths(CohortSettings(seed=21, num_patients=NUM_PATIENTS, num_readers=3))
    assert [case.case_id for case in cases] == ["P0001", "P0002", "P0003"]
    for case, truth in zip(cases, truths, strict=True):
        assert case.outcome == truth.case.outcome
        assert dict(case.pattern_votes) == dict(truth.case.pattern_votes)
        assert dict(case.covariates) == dict(truth.case.covariates)
        tested = {key: result.status for key, result in case.antibodies.items() if result.status != "not_tested"}
        assert tested == {key: result.status for key, result in truth.case.antibodies.items()}


def test_every_scan_named_in_the_table_exists(cohort: Path) -> None:
    with (cohort / "cases.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            assert len(list((cohort / "scans" / row["scan"]).glob("*.dcm"))) > 40


def test_a_tiny_patient_stays_below_two_megabytes(cohort: Path) -> None:
    for folder in (cohort / "scans").iterdir():
        assert sum(path.stat().st_size for path in folder.iterdir()) < 2e6


def test_truth_holds_masks_and_a_future_that_adds_up(cohort: Path) -> None:
    lungs = nib.load(cohort / "truth" / "masks" / "P0001_lungs.nii.gz")
    assert set(np.unique(lungs.dataobj)) == {0, 1, 2}
    with (cohort / "truth" / "patients.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            total = sum(float(row[f"cif_{cause}_365d"]) for cause in ("death", "progression", "transplant"))
            assert float(row["survival_365d"]) + total == pytest.approx(1, abs=1e-5)
    facts = json.loads((cohort / "truth" / "P0001.json").read_text(encoding="utf-8"))
    assert 1500 < facts["lung_volume_ml"] < 9000


def test_second_scans_have_a_table_of_their_own_and_a_shorter_future(cohort: Path) -> None:
    def rows(path: Path) -> dict[str, dict[str, str]]:
        with path.open(encoding="utf-8") as file:
            return {row["patient_id"]: row for row in csv.DictReader(file)}

    first, later = rows(cohort / "cases.csv"), rows(cohort / "follow_up" / "cases.csv")
    assert later
    for patient, row in later.items():
        assert float(row["time_days"]) < float(first[patient]["time_days"])
        assert (cohort / "follow_up" / "scans" / row["scan"]).is_dir()


def test_a_folder_with_a_cohort_is_refused(cohort: Path) -> None:
    with pytest.raises(OutputFolderError, match=r"cases\.csv already"):
        generate_cohort(cohort, num_patients=1, seed=0)


@pytest.mark.parametrize(("patients", "seed"), [(0, 1), (1, -1)])
def test_senseless_numbers_are_refused(patients: int, seed: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1 patient"):
        generate_cohort(tmp_path / "cohort", num_patients=patients, seed=seed)


def scanners(shortcut: float) -> dict[str, set[str]]:
    settings = CohortSettings(seed=9, num_patients=120, shortcut=shortcut)
    found: dict[str, set[str]] = {}
    for truth in draw_truths(settings):
        acquisition = plan_scan(settings, truth.columns, truth.index).acquisition
        found.setdefault(str(truth.columns["pattern"]), set()).add(acquisition.vendor)
    return found


def test_the_scanner_follows_the_pattern_only_when_a_shortcut_is_planted() -> None:
    assert all(len(vendors) == 4 for vendors in scanners(0.0).values())
    planted = scanners(1.0)
    assert all(len(vendors) == 1 for vendors in planted.values())
    assert len(set.union(*planted.values())) == len(planted)


def test_scanners_can_be_held_out() -> None:
    settings = CohortSettings(seed=3, num_patients=40, scanners=("siemens", "Philips"))
    plans = [plan_scan(settings, truth.columns, truth.index).acquisition for truth in draw_truths(settings)]
    assert {plan.vendor for plan in plans} == {"SIEMENS", "Philips"}
    with pytest.raises(InputError, match="no scanner is called ACME"):
        draw_acquisition(stream(1, 0, Stream.ACQUISITION), "tiny", 380, scanners=("ACME",))


def test_acquisitions_cover_the_protocols() -> None:
    rng = stream(1, 0, Stream.ACQUISITION)
    varied = [draw_acquisition(rng, "full", 380, protocol="varied") for _ in range(400)]
    assert any(plan.is_sequential and plan.slice_gap_mm >= 10 > 2 > plan.thickness_mm for plan in varied)
    assert any(plan.thickness_mm >= 5 and not plan.is_sequential for plan in varied)
    assert any(plan.thickness_mm == pytest.approx(2 * plan.slice_gap_mm) for plan in varied)
    assert {True, False} == {plan.is_prone for plan in varied} == {plan.blood_hu > 0 for plan in varied}
    guideline = [draw_acquisition(rng, "full", 380) for _ in range(200)]
    assert max(plan.slice_gap_mm for plan in guideline) <= 1.5
    assert not any(plan.is_prone or plan.is_expiratory or plan.blood_hu or plan.is_sequential for plan in guideline)


def test_patients_without_a_scan_follow_those_with_one(tmp_path: Path) -> None:
    root = generate_cohort(tmp_path / "cohort", num_patients=1, seed=21, num_without_scan=40)
    with (root / "cases.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["scan"]) for row in rows] == [True] + 40 * [False]
    assert not any(row["pattern"] for row in rows[1:])
    assert all(row["event"] and row["time_days"] for row in rows)
    assert [path.name for path in (root / "scans").iterdir()] == ["P0001"]
    cases = read_cases(
        root / "cases.csv", load_antibody_vocabulary(), load_covariate_vocabulary(), load_pattern_vocabulary()
    )
    assert cases[5].scan is None
