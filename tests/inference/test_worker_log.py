from __future__ import annotations

import logging
from pathlib import Path

import pytest
import runner_workers
from runner_workers import make_task

from domain.settings import InferSettings
from inference import run_studies


def test_workers_log_to_the_parent_with_a_traceback_only_for_the_unexpected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = [make_task(tmp_path / "in", "a", "raise"), make_task(tmp_path / "in", "b", "reject")]
    settings = InferSettings(num_workers=1, device="cpu")
    with caplog.at_level(logging.INFO):
        run_studies(tasks, runner_workers.make_worker, tmp_path / "out", settings, {})
    told = {record.getMessage(): record.exc_text for record in caplog.records if "stopped at" in record.getMessage()}
    assert "ValueError" in (told["case a stopped at network: internal_error"] or "")
    assert told["case b stopped at read: missing_slices"] is None
