"""Synthetic patients in, tables and pages out, each command in a fresh process."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.end_to_end.conftest import NUM_TEST_PATIENTS, ROOT, Trained, command

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real"
needs_real_scans = pytest.mark.skipif(not REAL.is_dir(), reason="the real scans are not on this machine")


@pytest.fixture(scope="module")
def inferred(trained: Trained) -> Path:
    out = trained.root / "out"
    answer = command(
        "infer.py", trained.test / "scans", "--model", trained.model, "--cases", trained.test / "cases.csv",
        "--out", out, "--device", "cpu",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return out


def test_every_patient_has_one_row_that_adds_up(inferred: Path) -> None:
    table = pd.read_csv(inferred / "predictions.csv")
    assert len(table) == NUM_TEST_PATIENTS
    np.testing.assert_allclose(table[["p_nsip", "p_op", "p_mixed", "p_other"]].sum(axis=1), 1, atol=1e-5)
    for day in (90, 365, 1826):  # follow-up of a small cohort may not support the last: then all of it is blank
        incidence = sum(table[f"cif_{cause}_{day}d"] for cause in ("death", "progression", "transplant"))
        total = table[f"survival_{day}d"] + incidence
        assert total.notna().all() or (day == 1826 and table[f"survival_{day}d"].isna().all())
        np.testing.assert_allclose(total.dropna(), 1, atol=1e-5)
    assert (table["survival_90d"] >= table["survival_365d"]).all()
    assert (table["survival_365d_lo"] <= table["survival_365d"]).all()
    assert table["trained_on"].eq("synthetic patients").all()


def test_parquet_says_the_same(inferred: Path) -> None:
    csv, parquet = pd.read_csv(inferred / "predictions.csv"), pd.read_parquet(inferred / "predictions.parquet")
    assert parquet["case_key"].tolist() == csv["case_key"].tolist()
    np.testing.assert_allclose(parquet["p_op"], csv["p_op"])


def test_the_page_says_synthetic_and_needs_nothing_from_outside(inferred: Path) -> None:
    page = (inferred / "report.html").read_text(encoding="utf-8")
    assert "synthetic patients" in page
    assert "Research use only" in page
    assert 'src="http' not in page
    assert "<link" not in page


def test_nothing_identifying_stands_outside_private(trained: Trained, inferred: Path) -> None:
    import pydicom

    scan = next(path for path in (trained.test / "scans").rglob("*") if path.is_file())
    header = pydicom.dcmread(scan, stop_before_pixels=True)
    secrets = [str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.PatientName), str(trained.test)]
    for path in inferred.rglob("*"):
        if path.is_file() and "private" not in path.relative_to(inferred).parts:
            content = path.read_bytes()
            assert [secret for secret in secrets if secret and secret.encode() in content] == []


def test_running_again_resumes_and_changes_no_byte(trained: Trained, inferred: Path) -> None:
    before = cases_of(inferred)
    answer = command(
        "infer.py", trained.test / "scans", "--model", trained.model, "--cases", trained.test / "cases.csv",
        "--out", inferred, "--device", "cpu",
    )  # fmt: skip
    assert answer.returncode == 0
    assert f"{NUM_TEST_PATIENTS} from an earlier run" in answer.stdout
    assert cases_of(inferred) == before


def test_shards_with_other_workers_and_a_shared_network_give_the_same_bytes(
    trained: Trained, inferred: Path, tmp_path: Path
) -> None:
    ways = (["--workers", "1", "--network-process", "shared"], ["--workers", "2", "--network-process", "each"])
    for number, way in enumerate(ways, start=1):
        answer = command(
            "infer.py", trained.test / "scans", "--model", trained.model, "--cases", trained.test / "cases.csv",
            "--out", tmp_path, "--device", "cpu", "--shard", f"{number}/2", "--secret", secret_of(inferred), *way,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
    merged = command("infer.py", "--merge", tmp_path, "--out", tmp_path)
    assert merged.returncode == 0, merged.stderr
    assert cases_of(tmp_path) == cases_of(inferred)
    columns = pd.read_csv(inferred / "predictions.csv").columns.difference(["seconds"])
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "predictions.csv")[columns], pd.read_csv(inferred / "predictions.csv")[columns]
    )


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the cluster extra (ray) is not installed")
def test_ray_gives_the_same_bytes(trained: Trained, inferred: Path, tmp_path: Path) -> None:
    answer = command(
        "infer.py", trained.test / "scans", "--model", trained.model, "--cases", trained.test / "cases.csv",
        "--out", tmp_path, "--device", "cpu", "--engine", "ray", "--workers", "2", "--secret", secret_of(inferred),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert cases_of(tmp_path) == cases_of(inferred)


def test_every_result_follows_the_published_schema(inferred: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads((ROOT / "docs" / "schema" / "case.schema.json").read_text())
    paths = sorted((inferred / "cases").glob("*.json"))
    assert len(paths) == NUM_TEST_PATIENTS
    for path in paths:
        jsonschema.validate(json.loads(path.read_text()), schema)


def secret_of(out: Path) -> str:
    """Series keys are made with it: runs to be compared share one."""
    return (out / "private" / "secret.txt").read_text().strip()


def cases_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "cases").iterdir()}


def test_evaluation_reads_the_table(trained: Trained, inferred: Path, tmp_path: Path) -> None:
    answer = command(
        "evaluate.py", inferred / "predictions.csv", "--cases", trained.test / "cases.csv", "--out", tmp_path,
        "--bootstrap", "50",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert result["is_synthetic"]
    assert {metric["metric"] for metric in result["metrics"]} >= {"accuracy", "uno_c"}
    assert "synthetic" in (tmp_path / "report.html").read_text()


def test_without_a_table_the_prognosis_says_image_only(trained: Trained, tmp_path: Path) -> None:
    scan = next((trained.test / "scans").iterdir())
    answer = command("infer.py", scan, "--model", trained.model, "--out", tmp_path, "--device", "cpu")
    assert answer.returncode == 0, answer.stderr
    (row,) = pd.read_csv(tmp_path / "predictions.csv").to_dict("records")
    assert row["prognosis_mode"] == "image_only"
    assert "ab_mda5" in row["inputs_missing"]
    assert row["inputs_used"] == "image"


def test_a_row_without_a_scan_gets_a_prognosis_from_the_table_and_a_missing_scan_is_listed(
    trained: Trained, tmp_path: Path
) -> None:
    scan = sorted((trained.test / "scans").iterdir())[0].name
    table = tmp_path / "cases.csv"
    table.write_text(f"case_id,scan,ab_mda5,age_years\nwith,{scan},positive,60\ntable,,positive,60\ngone,nowhere,,\n")
    answer = command(
        "infer.py", trained.test / "scans" / scan, "--model", trained.model, "--cases", table, "--out", tmp_path / "a",
    )  # fmt: skip
    assert answer.returncode == 1
    answer = command(
        "infer.py", trained.test / "scans", "--model", trained.model, "--cases", table, "--out", tmp_path / "b",
    )  # fmt: skip
    assert answer.returncode == 1, answer.stderr
    predictions = pd.read_csv(tmp_path / "b" / "predictions.csv").set_index("case_key")
    failures = pd.read_csv(tmp_path / "b" / "failures.csv").set_index("case_key")
    assert predictions.loc["table", "prognosis_mode"] == "tables_only"
    assert predictions.loc["with", "prognosis_mode"] == "full"
    assert failures.loc["gone", "code"] == "scan_not_found"
    assert len(predictions) + len(failures) == NUM_TEST_PATIENTS + 2


def test_the_python_example_of_the_readme_runs(trained: Trained) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    program = text.split("```python\n")[1].split("```")[0]
    program = program.replace('"scans"', repr(str(trained.test / "scans"))).replace(
        '"model.hrct"', repr(str(trained.model))
    )
    answer = command("-c", program)
    assert answer.returncode == 0, answer.stderr
    assert "HorizonRisk" in answer.stdout


@needs_real_scans
@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("chest_dicom/covid_ct_md_P001", None),
        ("chest_dicom/ibsi1_pat1", "partial_lung_coverage"),
        ("chest_nifti/normal002_3mm", None),
    ],
)
def test_real_chests_are_read_and_answered(trained: Trained, tmp_path: Path, place: str, code: str | None) -> None:
    answer = command("infer.py", REAL / place, "--model", trained.model, "--out", tmp_path, "--device", "cpu")
    assert answer.returncode == 0, answer.stderr
    (row,) = pd.read_csv(tmp_path / "predictions.csv").fillna("").to_dict("records")
    assert row["trained_on"] == "synthetic patients"
    assert row["pattern"] or row["abstained"]
    assert 0 < row["survival_365d"] <= 1
    assert row["prognosis_mode"] == "image_only"
    if code is not None:
        assert code in row["quality_codes"]
    (case,) = [json.loads(path.read_text()) for path in (tmp_path / "cases").glob("*.json")]
    if "P001" in place:
        assert case["scan_facts"]["num_slices"] == 148
        assert case["scan_facts"]["slice_gap_mm"] == pytest.approx(2.0)
        assert case["prediction"]["quantitative"]["lung_volume_ml"] > 2000
