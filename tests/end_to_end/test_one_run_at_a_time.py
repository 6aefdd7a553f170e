"""Everything that writes to OUT happens under its lock; a signal ends the program wherever it is."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import infer
from domain.errors import ExitCode, OutputFolderError
from domain.progress import StepProgress
from domain.settings import InferSettings
from inference import RunSummary
from inference.incoming import keep_all
from inference.output_lock import RUN_LOCK
from models.model_facts import ModelFacts
from tests.end_to_end.conftest import ROOT


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


def test_an_interrupt_during_a_study_ends_watching(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts = ModelFacts.of(None, without_model=infer.NO_MODEL)
    with StepProgress() as progress:
        session = infer.Session(Namespace(out=tmp_path), InferSettings(), facts, "secret", progress)
        cut_short = RunSummary(tmp_path, (), Counter(), 0, {}, 0.0, 0, was_interrupted=True)
        monkeypatch.setattr(infer.Session, "run", lambda self, keep: cut_short)
        with pytest.raises(KeyboardInterrupt):
            session.run_round(keep_all)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_studies_ends_the_program_with_its_code(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "scans").mkdir()
    words = [tmp_path / "scans", "--quantify-only", "--out", tmp_path / "out", "--watch", "--verbose"]
    process = subprocess.Popen(
        [sys.executable, "infer.py", *map(str, words)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background of a shell ignores Ctrl-C, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    assert process.stderr is not None
    while "looking for complete studies" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.2)  # it sleeps until the next look
    os.kill(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, "Traceback" in said) == (ExitCode.INTERRUPTED, False)
