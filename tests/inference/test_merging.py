from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import runner_workers
from runner_workers import make_task

from domain.errors import InputError
from domain.records import CaseStatus
from domain.settings import InferSettings
from inference.merging import merge_runs
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
