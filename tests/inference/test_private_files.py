from __future__ import annotations

import csv
import logging
from pathlib import Path

import pytest
from runner_workers import make_task

from domain.errors import OutputFolderError
from inference.private_files import KEY_COLUMNS, case_key, open_log, run_secret, write_keys, write_series


def test_a_key_depends_on_the_secret_and_does_not_show_the_uid() -> None:
    key = case_key("a" * 16, "1.2.840.1")
    assert key == case_key("a" * 16, "1.2.840.1")
    assert key != case_key("b" * 16, "1.2.840.1")
    assert "840" not in key


def test_the_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    first = run_secret(tmp_path)
    assert len(first) >= 32
    assert run_secret(tmp_path) == first
    assert [path.name for path in (tmp_path / "private").iterdir()] == ["secret.txt"]


def test_a_secret_can_be_given_so_that_two_runs_share_keys(tmp_path: Path) -> None:
    assert run_secret(tmp_path, "0123456789abcdef") == "0123456789abcdef"
    with pytest.raises(OutputFolderError, match="another secret"):
        run_secret(tmp_path, "fedcba9876543210")
    with pytest.raises(OutputFolderError, match="at least 16"):
        run_secret(tmp_path / "new", "short")


def test_a_dry_run_keeps_no_secret(tmp_path: Path) -> None:
    assert len(run_secret(tmp_path, is_kept=False)) >= 32
    assert not list(tmp_path.iterdir())


def test_keys_lead_back_to_the_patient_and_series_say_what_was_found(tmp_path: Path) -> None:
    task = make_task(tmp_path / "in", "a")
    write_keys(tmp_path, [(task.case_key, task.series)])
    write_series(tmp_path, [task.series])
    with (tmp_path / "private" / "keys.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == KEY_COLUMNS
    assert rows[0]["patient_id"] == "PATIENT-a"
    assert "series-a" in (tmp_path / "private" / "series.csv").read_text()


def test_the_log_is_under_private(tmp_path: Path) -> None:
    handler = open_log(tmp_path)
    try:
        logging.getLogger("inference.test").info("hello")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert "hello" in (tmp_path / "private" / "run.log").read_text()
