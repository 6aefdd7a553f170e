"""Everything that writes to OUT happens under its lock; a signal ends the program wherever it is."""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import infer
from domain.errors import OutputFolderError
from inference import RunSummary
from inference.output_lock import RUN_LOCK


@contextmanager
def another_run(out: Path) -> Iterator[None]:
    """The lock as another program has it."""
    (out / "private").mkdir(parents=True, exist_ok=True)
    with (out / "private" / RUN_LOCK).open("a+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def refuse(*arguments: object, **named: object) -> None:
    raise AssertionError("this must not be reached")


@pytest.mark.parametrize("words", [[], ["--watch"], ["--shard", "1/2"]])
def test_a_second_run_is_refused_before_it_looks_at_scans_or_touches_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    (tmp_path / "scans").mkdir()
    monkeypatch.setattr("infer.survey", refuse)
    monkeypatch.setattr("infer.write_series", refuse)
    with another_run(tmp_path / "out"), pytest.raises(OutputFolderError, match="another run"):
        infer.main([str(tmp_path / "scans"), "--quantify-only", "--out", str(tmp_path / "out"), *words])


def test_the_tables_of_a_merge_are_written_before_the_folder_is_given_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, refusals = tmp_path / "out", []

    def is_locked(*arguments: object) -> None:
        with pytest.raises(BlockingIOError), another_run(out):
            pass
        refusals.append(True)

    monkeypatch.setattr("infer.merge_runs", lambda parts, place: RunSummary(place, (), Counter(), 0, {}, 0.0, 0))
    monkeypatch.setattr("infer.write_reports", is_locked)
    infer.main(["--merge", str(tmp_path / "part"), "--out", str(out)])
    assert refusals
    with another_run(out):
        pass
