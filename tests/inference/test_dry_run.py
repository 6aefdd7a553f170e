from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import runner_workers
from runner_workers import make_task

from domain.records import CaseResult, CaseStatus
from domain.settings import InferSettings
from inference.dry_run import duration_text, estimate_run
from inference.runner import RunOptions, Study, run_studies

SETTINGS = InferSettings(num_workers=2, device="cpu")
DIGESTS = {"model": "m"}


def studies_in(place: Path) -> list[Study]:
    refused = CaseResult(case_key="x", status=CaseStatus.REJECTED)
    return [make_task(place / "in", "a"), make_task(place / "in", "b"), refused, make_task(place / "in", "c")]


def test_nothing_is_written_and_everything_is_to_do(tmp_path: Path) -> None:
    estimate = estimate_run(studies_in(tmp_path), tmp_path / "out", SETTINGS, DIGESTS)
    assert (estimate.num_studies, estimate.num_refused, estimate.num_to_run) == (4, 1, 3)
    assert estimate.seconds > 0
    assert "nothing was timed" in estimate.basis
    assert not (tmp_path / "out").exists()


def test_after_a_run_its_own_timings_count_and_only_the_rest_is_to_do(tmp_path: Path) -> None:
    studies = studies_in(tmp_path)
    options = RunOptions(in_process=True)
    run_studies(studies[:2], runner_workers.make_worker, tmp_path / "out", SETTINGS, DIGESTS, options=options)
    estimate = estimate_run(studies, tmp_path / "out", SETTINGS, DIGESTS)
    assert (estimate.num_done, estimate.num_to_run) == (2, 1)
    assert "2 studies timed" in estimate.basis
    assert "2 done before" in estimate.sentences()[0]


def test_a_damaged_archive_is_still_to_do(tmp_path: Path) -> None:
    task = make_task(tmp_path / "in", "a")
    (tmp_path / "in" / "scans.zip").write_bytes(b"PK, and then nothing")
    series = replace(task.series, files=(f"{tmp_path / 'in' / 'scans.zip'}!a.dcm",))
    assert estimate_run([replace(task, series=series)], tmp_path / "out", SETTINGS, DIGESTS).num_to_run == 1


def test_a_shard_is_estimated_alone(tmp_path: Path) -> None:
    options = RunOptions(shard=(1, 2))
    assert estimate_run(studies_in(tmp_path), tmp_path / "out", SETTINGS, DIGESTS, options).num_studies == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (600, "10 minutes"), (7200, "2.0 hours"), (864000, "10.0 days")]
)
def test_durations_are_told_in_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
