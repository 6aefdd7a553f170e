from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import runner_workers
from runner_workers import make_task

from domain.errors import ExitCode, InputError, OutputFolderError
from domain.findings import QualityCode
from domain.records import CaseResult, CaseStatus, StudyTask
from domain.settings import InferSettings
from inference import RunEndedError, RunOptions, RunSummary, StudyFinished, run_studies
from inference.input_digest import input_digest
from inference.local_engine import Limits, LocalEngine, WorkerStartError
from inference.runner import Study

DIGESTS = {"model": "m1", "graph": "g1"}
IN_PROCESS = RunOptions(in_process=True)


def run(tasks: Sequence[Study], out: Path, **changes: object) -> RunSummary:
    settings = InferSettings(num_workers=2, study_timeout_s=2.0, study_memory_gib=0.5, device="cpu")
    return run_studies(tasks, runner_workers.make_worker, out, settings, DIGESTS, **changes)  # type: ignore[arg-type]


def by_key(summary: RunSummary) -> dict[str, CaseResult]:
    return {result.case_key: result for result in summary.results()}


def tree_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "cases").iterdir())}


def test_each_bad_study_becomes_one_typed_row_and_the_rest_go_on(tmp_path: Path) -> None:
    words = {
        "a": "ok", "b": "crash", "c": "reject", "d": "hang", "e": "raise", "f": "allocate 800", "g": "nan", "h": "ok",
    }  # fmt: skip
    tasks = [make_task(tmp_path / "in", key, word) for key, word in words.items()]
    summary = run(tasks, tmp_path / "out")
    results = by_key(summary)
    assert list(results) == list(words)
    assert {key: result.failure_code for key, result in results.items()} == {
        "a": None,
        "b": QualityCode.DECODER_CRASHED,
        "c": QualityCode.MISSING_SLICES,
        "d": QualityCode.TIMED_OUT,
        "e": QualityCode.INTERNAL_ERROR,
        "f": QualityCode.OUT_OF_MEMORY,
        "g": QualityCode.INTERNAL_ERROR,
        "h": None,
    }
    assert results["c"].status is CaseStatus.REJECTED
    assert results["b"].status is CaseStatus.FAILED
    assert summary.exit_code is ExitCode.SOME_FAILED
    assert results["a"].digests["model"] == "m1"


def test_no_message_says_where_a_scan_came_from(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", key, word) for key, word in {"c": "reject", "e": "raise"}.items()]
    run(tasks, tmp_path / "out", options=IN_PROCESS)
    text = b"".join(tree_bytes(tmp_path / "out").values()).decode()
    assert str(tmp_path) not in text
    assert "PATIENT" not in text
    assert "slices are missing in (withheld)" in text


def test_results_do_not_depend_on_the_number_of_workers_or_their_timing(tmp_path: Path) -> None:
    words = ["sleep 0.2", "ok", "crash", "reject", "ok", "sleep 0.1", "ok"]
    tasks = [make_task(tmp_path / "in", f"case{index}", word) for index, word in enumerate(words)]
    two = run(tasks, tmp_path / "two")
    settings = InferSettings(num_workers=1, device="cpu")
    one = run_studies(tasks, runner_workers.make_worker, tmp_path / "one", settings, DIGESTS)
    assert two.case_keys == one.case_keys == tuple(task.case_key for task in tasks)
    assert tree_bytes(tmp_path / "one") == tree_bytes(tmp_path / "two")


def test_a_process_killed_from_outside_costs_no_study(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", "a", f"crash_once {tmp_path / 'flag'}"), make_task(tmp_path / "in", "b")]
    assert run(tasks, tmp_path / "out").counts == {CaseStatus.PREDICTED: 2}


def test_running_again_does_only_what_is_missing(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", key) for key in "abc"]
    journal = tmp_path / "journal"
    settings = InferSettings(num_workers=1, device="cpu")

    def go() -> RunSummary:
        worker = runner_workers.CountingWorker(journal)
        return run_studies(tasks, worker, tmp_path / "out", settings, DIGESTS, options=IN_PROCESS)

    go()
    (tmp_path / "out" / "cases" / "b.json").unlink()
    second = go()
    assert journal.read_text().split() == ["a", "b", "c", "b"]
    assert second.num_resumed == 2
    assert second.case_keys == ("a", "b", "c")


def test_another_model_or_a_changed_scan_is_run_again(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", key) for key in "ab"]
    run(tasks, tmp_path / "out", options=IN_PROCESS)
    make_task(tmp_path / "in", "b", "sleep 0")
    assert run(tasks, tmp_path / "out", options=IN_PROCESS).num_resumed == 1
    settings = InferSettings(device="cpu")
    other = {**DIGESTS, "model": "m2"}
    again = run_studies(tasks, runner_workers.make_worker, tmp_path / "out", settings, other, options=IN_PROCESS)
    assert again.num_resumed == 0


def test_a_reason_that_may_pass_is_tried_again_and_a_bad_scan_is_not(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", "a", "raise"), make_task(tmp_path / "in", "b", "reject")]
    run(tasks, tmp_path / "out", options=IN_PROCESS)
    assert run(tasks, tmp_path / "out", options=IN_PROCESS).num_resumed == 1


def test_a_vanished_file_is_one_row(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", key) for key in "ab"]
    Path(tasks[0].series.files[0]).unlink()
    results = by_key(run(tasks, tmp_path / "out", options=IN_PROCESS))
    assert results["a"].failure_code is QualityCode.UNREADABLE
    assert results["b"].status is CaseStatus.PREDICTED


def test_shards_do_all_studies_once_and_give_the_same_files(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", f"case{index}") for index in range(7)]
    run(tasks, tmp_path / "whole", options=IN_PROCESS)
    keys: list[str] = []
    for part in (1, 2, 3):
        options = RunOptions(shard=(part, 3), in_process=True)
        keys += run(tasks, tmp_path / "parts", options=options).case_keys
    assert sorted(keys) == [task.case_key for task in tasks]
    assert tree_bytes(tmp_path / "parts") == tree_bytes(tmp_path / "whole")


def test_a_result_decided_before_the_run_keeps_its_place_and_is_written_once(tmp_path: Path) -> None:
    settled = CaseResult(case_key="b", status=CaseStatus.REJECTED, failure_code=QualityCode.NO_USABLE_SERIES)
    tasks = [make_task(tmp_path / "in", "a"), settled, make_task(tmp_path / "in", "c")]
    summary = run(tasks, tmp_path / "out", options=IN_PROCESS)
    assert summary.case_keys == ("a", "b", "c")
    assert summary.exit_code is ExitCode.SOME_FAILED
    assert by_key(summary)["b"].failure_code is QualityCode.NO_USABLE_SERIES
    assert run(tasks, tmp_path / "out", options=IN_PROCESS).num_resumed == 3


def test_a_result_taken_from_the_ledger_stands_as_it_was_written(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", key) for key in "ab"]
    standing = by_key(run(tasks[:1], tmp_path / "out", options=IN_PROCESS))["a"]
    before = (tmp_path / "out" / "cases" / "a.json").read_bytes()
    make_task(tmp_path / "in", "a", "ok and one slice more")
    summary = run([standing, tasks[1]], tmp_path / "out", options=IN_PROCESS)
    assert (summary.case_keys, summary.num_resumed) == (("a", "b"), 1)
    assert (tmp_path / "out" / "cases" / "a.json").read_bytes() == before
    assert run(tasks, tmp_path / "out", options=IN_PROCESS).num_resumed == 1


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    seen: list[StudyFinished] = []
    run([make_task(tmp_path / "in", key) for key in "abc"], tmp_path / "out", progress=seen.append, options=IN_PROCESS)
    assert [(item.num_done, item.num_studies) for item in seen] == [(1, 3), (2, 3), (3, 3)]


def test_two_studies_of_one_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two studies"):
        run([make_task(tmp_path / "in", "a"), make_task(tmp_path / "in", "a")], tmp_path / "out")


def test_a_shard_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="between 1 and 3"):
        run([], tmp_path / "out", options=RunOptions(shard=(4, 3)))


def test_a_full_disk_stops_the_run_with_one_message_and_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [make_task(tmp_path / "in", key) for key in "abc"]
    out = tmp_path / "out"
    run(tasks[:1], out, options=IN_PROCESS)

    def full(path: Path, content: str) -> None:
        if path.parent.name == "cases":
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("inference.ledger.write_whole", full)
        with pytest.raises(OutputFolderError, match="1 of 3 studies are done"):
            run(tasks, out, options=IN_PROCESS)
    assert run(tasks, out, options=IN_PROCESS).num_resumed == 1


def test_a_model_that_does_not_load_ends_the_run_at_once(tmp_path: Path) -> None:
    settings = InferSettings(num_workers=1, device="cpu")
    tasks = [make_task(tmp_path / "in", "a")]
    with pytest.raises(WorkerStartError, match="changed byte"):
        run_studies(tasks, runner_workers.make_broken_worker, tmp_path / "out", settings, DIGESTS)
    with pytest.raises(WorkerStartError, match="while it starts"):
        run_studies(tasks, runner_workers.make_dying_worker, tmp_path / "out", settings, DIGESTS)


def unsteady(place: Path, num_failures: int) -> runner_workers.UnsteadyMaker:
    flags = place / "flags"
    flags.mkdir()
    for number in range(num_failures):
        (flags / f"fail{number}").touch()
    return runner_workers.UnsteadyMaker(flags)


def test_a_worker_that_cannot_be_made_for_a_moment_does_not_end_the_run(tmp_path: Path) -> None:
    settings = InferSettings(num_workers=1, device="cpu")
    tasks = [make_task(tmp_path / "in", "a")]
    summary = run_studies(tasks, unsteady(tmp_path, 2), tmp_path / "out", settings, DIGESTS)
    assert summary.counts == {CaseStatus.PREDICTED: 1}


def test_a_worker_that_can_never_be_made_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    settings = InferSettings(num_workers=1, device="cpu")
    tasks = [make_task(tmp_path / "in", "a")]
    with pytest.raises(WorkerStartError, match="stale file handle"):
        run_studies(tasks, unsteady(tmp_path, 3), tmp_path / "out", settings, DIGESTS)


def test_a_worker_that_hangs_while_it_starts_is_started_again_not_for_ever(tmp_path: Path) -> None:
    engine = LocalEngine(runner_workers.make_hanging_worker, 1, Limits(60, 4, start_s=0.3), gpus=())
    with pytest.raises(WorkerStartError, match=r"worker does not start within 0\.3 s"):
        engine.run(iter([(0, make_task(tmp_path, "a"))]), lambda index, result: None)


def test_a_run_that_cannot_go_on_says_what_it_did(tmp_path: Path) -> None:
    settings = InferSettings(num_workers=1, device="cpu")
    fail_later = tmp_path / "flags"
    tasks = [make_task(tmp_path / "in", "a"), make_task(tmp_path / "in", "b", "crash")]
    worker = unsteady(tmp_path, 0)

    def break_the_model(finished: StudyFinished) -> None:
        for number in range(3):
            (fail_later / f"fail{number}").touch()

    with pytest.raises(RunEndedError, match="1 of 2 studies are done and kept") as caught:
        run_studies(tasks, worker, tmp_path / "out", settings, DIGESTS, progress=break_the_model)
    assert caught.value.summary.case_keys == ("a",)


def test_an_archive_cut_between_the_search_and_the_run_is_one_row(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path / "in", key) for key in "ab"]
    (tmp_path / "in" / "scans.zip").write_bytes(b"PK, and then nothing")
    series = replace(tasks[0].series, files=(f"{tmp_path / 'in' / 'scans.zip'}!a.dcm",))
    results = by_key(run([replace(tasks[0], series=series), tasks[1]], tmp_path / "out", options=IN_PROCESS))
    assert results["a"].failure_code is QualityCode.UNREADABLE
    assert results["b"].status is CaseStatus.PREDICTED


def test_reading_overlaps_with_computing_and_a_crash_costs_only_its_own_study(tmp_path: Path) -> None:
    words = ["slow_finish 0.3", "sleep 0.3", "slow_finish 0.3", "crash", "sleep 0.3", "reject"]
    tasks = [make_task(tmp_path / "in", f"case{index}", word) for index, word in enumerate(words)]
    settings = InferSettings(num_workers=1, device="cpu")
    summary = run_studies(tasks, runner_workers.make_staged_worker, tmp_path / "out", settings, DIGESTS)
    codes = [result.failure_code for result in summary.results()]
    assert codes == [None, None, None, QualityCode.DECODER_CRASHED, None, QualityCode.MISSING_SLICES]


def test_looking_through_what_is_done_takes_no_time_from_a_running_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [make_task(tmp_path / "in", f"done{index:02d}") for index in range(15)]
    run(done, tmp_path / "out", options=IN_PROCESS)

    def slowly(task: StudyTask) -> str:
        time.sleep(0.15)
        return input_digest(task)

    monkeypatch.setattr("inference.runner.input_digest", slowly)
    settings = InferSettings(num_workers=1, study_timeout_s=1.2, device="cpu")
    tasks = [make_task(tmp_path / "in", "a"), *done]
    summary = run_studies(tasks, runner_workers.make_staged_worker, tmp_path / "out", settings, DIGESTS)
    assert (summary.num_resumed, summary.counts) == (15, {CaseStatus.PREDICTED: 16})


PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
import runner_workers
from domain.settings import InferSettings
from inference import run_studies

if __name__ == "__main__":
    place = Path({place!r})
    tasks = [runner_workers.make_task(place / "in", f"case{{i}}", "sleep 0.3") for i in range(20)]
    settings = InferSettings(num_workers=2, device="cpu")
    summary = run_studies(tasks, runner_workers.make_worker, place / "out", settings, {{"model": "m"}})
    sys.exit(int(summary.exit_code))
"""


def start_long_run(place: Path) -> subprocess.Popen[bytes]:
    program = place / "program.py"
    program.write_text(PROGRAM.format(folder=str(Path(__file__).parent), place=str(place)))
    process = subprocess.Popen(
        [sys.executable, str(program)],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
        # a test run in the background of a shell ignores Ctrl-C, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    deadline = time.monotonic() + 30
    while not list((place / "out" / "cases").glob("case*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_cleanly_with_its_code(tmp_path: Path, number: signal.Signals) -> None:
    process = start_long_run(tmp_path)
    os.killpg(process.pid, number)  # as a terminal and a batch system send it: to the workers too
    assert process.wait(20) == ExitCode.INTERRUPTED
    assert not list((tmp_path / "out" / "cases").glob(".*"))


def test_a_second_run_on_the_same_folder_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    process = start_long_run(tmp_path)
    tasks = [make_task(tmp_path / "other", "x")]
    with pytest.raises(OutputFolderError, match="another run"):
        run(tasks, tmp_path / "out", options=IN_PROCESS)
    process.kill()
    process.wait(20)
    assert run(tasks, tmp_path / "out", options=IN_PROCESS).counts == {CaseStatus.PREDICTED: 1}
