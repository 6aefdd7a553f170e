from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import runner_workers
from runner_workers import make_task

from domain.errors import InputError
from domain.records import CaseStatus
from domain.settings import InferSettings
from inference.ledger import DICOM, DICOM_KINDS
from inference.merging import merge_runs
from inference.private_files import KEY_COLUMNS, run_secret
from inference.runner import RunOptions, Study, run_studies

WORDS = ["ok", "reject", "ok", "ok", "reject", "ok", "ok"]


def tasks_in(place: Path) -> list[Study]:
    return [make_task(place / "in", f"case{index}", word) for index, word in enumerate(WORDS)]


def run(tasks: Sequence[Study], out: Path, shard: tuple[int, int] | None, model: str = "m") -> None:
    options = RunOptions(shard=shard, in_process=True)
    settings = InferSettings(device="cpu")
    run_studies(tasks, runner_workers.make_worker, out, settings, {"model": model}, options=options)


def cases_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "cases").iterdir()}


def test_merged_parts_equal_a_run_of_the_whole(tmp_path: Path) -> None:
    tasks = tasks_in(tmp_path)
    run(tasks, tmp_path / "whole", None)
    parts = [tmp_path / f"part{i}" for i in (1, 2, 3)]
    for number, part in enumerate(parts, start=1):
        run(tasks, part, (number, 3))
    summary = merge_runs(parts, tmp_path / "merged")
    assert cases_of(tmp_path / "merged") == cases_of(tmp_path / "whole")
    assert summary.case_keys == tuple(task.case_key for task in tasks)
    assert summary.counts == {CaseStatus.PREDICTED: 5, CaseStatus.REJECTED: 2}
    assert [bool(result.seconds) for result in summary.results()] == [True] * 7


def test_parts_that_shared_a_folder_need_no_copy(tmp_path: Path) -> None:
    tasks = tasks_in(tmp_path)
    for number in (1, 2):
        run(tasks, tmp_path / "out", (number, 2))
    assert len(merge_runs([tmp_path / "out"], tmp_path / "out").case_keys) == 7


def test_a_missing_part_is_told(tmp_path: Path) -> None:
    run(tasks_in(tmp_path), tmp_path / "one", (1, 2))
    with pytest.raises(InputError, match="3 of 7 studies have no result"):
        merge_runs([tmp_path / "one"], tmp_path / "merged")


def test_parts_of_other_archives_or_models_are_refused(tmp_path: Path) -> None:
    tasks = tasks_in(tmp_path)
    run(tasks, tmp_path / "one", (1, 2))
    run(tasks, tmp_path / "two", (2, 2), model="other")
    with pytest.raises(InputError, match="different models"):
        merge_runs([tmp_path / "one", tmp_path / "two"], tmp_path / "merged")
    run(tasks[:3], tmp_path / "three", None)
    with pytest.raises(InputError, match="not those of"):
        merge_runs([tmp_path / "one", tmp_path / "three"], tmp_path / "merged")
    with pytest.raises(InputError, match="holds no run"):
        merge_runs([tmp_path / "nothing"], tmp_path / "merged")


def test_a_damaged_result_is_told(tmp_path: Path) -> None:
    run(tasks_in(tmp_path), tmp_path / "one", None)
    path = tmp_path / "one" / "cases" / "case0.json"
    path.write_text(path.read_text().replace("predicted", "abstained"))
    with pytest.raises(InputError, match="damaged"):
        merge_runs([tmp_path / "one"], tmp_path / "one")


def test_a_part_without_studies_is_no_error(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", "a"), make_task(tmp_path / "in", "b")]
    parts = [tmp_path / f"part{i}" for i in (1, 2, 3)]
    for number, part in enumerate(parts, start=1):
        run(tasks, part, (number, 3))
    assert merge_runs(parts, tmp_path / "merged").case_keys == ("a", "b")


def test_a_study_that_succeeded_at_last_replaces_its_failure(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", "a"), make_task(tmp_path / "in", "b", f"until {tmp_path / 'later'}")]
    parts, merged = [tmp_path / "one", tmp_path / "two"], tmp_path / "merged"
    for number, part in enumerate(parts, start=1):
        run(tasks, part, (number, 2))
    assert merge_runs(parts, merged).counts == {CaseStatus.PREDICTED: 1, CaseStatus.FAILED: 1}
    shutil.copytree(tmp_path / "two", tmp_path / "before")
    (tmp_path / "later").touch()
    run(tasks, tmp_path / "two", (2, 2))
    assert merge_runs(parts, merged).counts == {CaseStatus.PREDICTED: 2}
    assert merge_runs([tmp_path / "before", *parts], merged).counts == {CaseStatus.PREDICTED: 2}


def test_a_damaged_copy_is_replaced_by_the_whole_result(tmp_path: Path) -> None:
    run(tasks_in(tmp_path), tmp_path / "one", None)
    merge_runs([tmp_path / "one"], tmp_path / "merged")
    (tmp_path / "merged" / "cases" / "case0.json").write_text("{")
    assert len(merge_runs([tmp_path / "one"], tmp_path / "merged").case_keys) == len(WORDS)


def test_two_results_of_one_study_are_refused(tmp_path: Path) -> None:
    tasks = tasks_in(tmp_path)
    run(tasks, tmp_path / "one", None)
    run(tasks, tmp_path / "two", None, model="other")
    with pytest.raises(InputError, match="differ"):
        merge_runs([tmp_path / "one", tmp_path / "two"], tmp_path / "merged")


def private_of(part: Path, keyed: dict[str, str]) -> Path:
    """What a real run leaves in ``private/`` besides: secret, tables, DICOM results; gives the folder."""
    private = part / "private"
    run_secret(part, "0123456789abcdef")
    lines = [",".join(KEY_COLUMNS), *(f"{key},1,2,{patient},,s,p" for key, patient in keyed.items())]
    (private / "keys.csv").write_text("\n".join(lines) + "\n")
    (private / "series.csv").write_text("series_key\ns\n")
    (private / "files.csv").write_text("path\np\n")
    (private / "dicom").mkdir()
    return private


def test_a_merged_folder_leads_back_to_the_patients(tmp_path: Path) -> None:
    tasks, merged = [make_task(tmp_path / "in", name) for name in "ab"], tmp_path / "merged"
    parts = [tmp_path / "one", tmp_path / "two"]
    for number, (part, name) in enumerate(zip(parts, "ab", strict=True), start=1):
        run(tasks, part, (number, 2))
        private = private_of(part, {"a": "P1"} if name == "a" else {"a": "elsewhere", "b": "P2"})
        (private / "dicom" / f"{name}_sr.dcm").write_bytes(b"report")
        (private / "dicom" / "x_sr.dcm").write_bytes(b"of no study of this run")
    for _ in range(2):
        merge_runs(parts, merged)
        rows = pd.read_csv(merged / "private" / "keys.csv")
        assert list(zip(rows.case_key, rows.patient_id, strict=True)) == [("a", "P1"), ("b", "P2")]
        assert run_secret(merged) == "0123456789abcdef"
        assert (merged / "private" / "series.csv").read_text() == "series_key\ns\n"
        assert (merged / "private" / "files.csv").read_text() == "path\np\n"
        assert sorted(path.name for path in (merged / "private" / "dicom").iterdir()) == ["a_sr.dcm", "b_sr.dcm"]


def test_parts_made_with_and_without_dicom_results_are_of_one_run(tmp_path: Path) -> None:
    tasks, settings = tasks_in(tmp_path), InferSettings(device="cpu")
    run(tasks, tmp_path / "one", (1, 2))
    options, digests = RunOptions(shard=(2, 2), in_process=True), {"model": "m", DICOM: DICOM_KINDS}
    run_studies(tasks, runner_workers.make_worker, tmp_path / "two", settings, digests, options=options)
    assert len(merge_runs([tmp_path / "one", tmp_path / "two"], tmp_path / "merged").case_keys) == len(WORDS)
