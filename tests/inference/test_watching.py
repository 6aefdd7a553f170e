from __future__ import annotations

from pathlib import Path

import runner_workers
from runner_workers import make_task, task_of

from domain.records import CaseResult, CaseStatus, StudyTask
from domain.settings import InferSettings
from inference.failures import failed_result, timed_out
from inference.input_digest import input_digest
from inference.ledger import Ledger
from inference.run_summary import RunSummary
from inference.runner import RunOptions, run_studies
from inference.watching import Arriving, GrowthWatch, WatchTimes, follow


def arriving(*tasks: StudyTask) -> list[Arriving]:
    return [(task, tuple(Path(name) for name in task.series.files)) for task in tasks]


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_study_is_complete_once_it_has_been_quiet_for_long_enough(tmp_path: Path) -> None:
    clock = Clock()
    watch = GrowthWatch(10.0, clock)
    task = make_task(tmp_path, "a")
    assert watch.complete(arriving(task)) == []
    clock.now = 9.0
    assert watch.complete(arriving(task)) == []
    assert watch.num_growing == 1
    clock.now = 10.0
    assert watch.complete(arriving(task)) == [task]


def test_a_study_that_grows_starts_waiting_anew(tmp_path: Path) -> None:
    clock = Clock()
    watch = GrowthWatch(10.0, clock)
    task, other = make_task(tmp_path, "a"), make_task(tmp_path, "b")
    watch.complete(arriving(task, other))
    clock.now = 9.0
    make_task(tmp_path, "a", "ok and one more slice")
    watch.complete(arriving(task, other))
    clock.now = 11.0
    assert watch.complete(arriving(task, other)) == [other]
    clock.now = 19.0
    assert watch.complete(arriving(task, other)) == [task, other]


def test_a_study_that_is_refused_as_it_stands_is_waited_for_too(tmp_path: Path) -> None:
    clock = Clock()
    watch = GrowthWatch(10.0, clock)
    path = tmp_path / "slice1"
    path.write_text("one")
    refused = CaseResult(case_key="a", status=CaseStatus.REJECTED)
    from_a_table = CaseResult(case_key="b", status=CaseStatus.PREDICTED)
    assert watch.complete([(refused, (path,)), (from_a_table, ())]) == [from_a_table]
    clock.now = 10.0
    assert watch.complete([(refused, (path,))]) == [refused]


def test_following_a_folder_runs_what_arrives_once_each(tmp_path: Path) -> None:
    incoming, journal, rounds = tmp_path / "in", tmp_path / "journal", []
    incoming.mkdir()
    summaries: list[RunSummary] = []

    def run_round(watch: GrowthWatch) -> None:
        tasks = watch.complete(arriving(*map(task_of, sorted(incoming.glob("*.txt")))))
        worker, settings = runner_workers.CountingWorker(journal), InferSettings(device="cpu")
        options = RunOptions(in_process=True)
        summaries.append(run_studies(tasks, worker, tmp_path / "out", settings, {}, options=options))

    def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) in {1, 3}:
            make_task(incoming, f"case{len(rounds)}")

    follow(incoming, run_round, WatchTimes(1.0, 0.0), should_stop=lambda: len(rounds) >= 6, sleep=sleep)
    assert journal.read_text().split() == ["case1", "case3"]
    assert summaries[-1].counts == {CaseStatus.PREDICTED: 2}
    assert len(summaries) == 3  # nothing is looked for while nothing changes


def test_the_earlier_result_of_a_growing_study_stays_in_its_place(tmp_path: Path) -> None:
    clock, ledger = Clock(), Ledger(tmp_path / "out", {"model": "m"})
    first, new = make_task(tmp_path, "a"), make_task(tmp_path, "b")
    earlier = ledger.record(runner_workers.act(first), input_digest(first))
    watch = GrowthWatch(10.0, clock, ledger.find_standing)
    assert [study.case_key for study in watch.complete(arriving(first, new))] == ["a"]  # after a restart
    clock.now = 10.0
    assert watch.complete(arriving(first, new)) == [first, new]
    make_task(tmp_path, "a", "ok and one slice more")
    (standing, other) = watch.complete(arriving(first, new))
    assert (standing, other) == (earlier.model_copy(update={"seconds": {}}), new)
    assert watch.num_growing == 1


def test_a_failure_that_may_pass_is_tried_again_twice_and_then_when_its_files_change(tmp_path: Path) -> None:
    clock, ledger = Clock(), Ledger(tmp_path / "out", {"model": "m"})
    task = make_task(tmp_path, "a", "raise")
    watch = GrowthWatch(0.0, clock, ledger.find_standing)
    offered = []
    for _ in range(5):
        (study,) = watch.complete(arriving(task))
        offered.append(study == task)
        ledger.record(failed_result(task, timed_out(1.0)), input_digest(task))
    assert offered == [True, True, False, False, False]
    make_task(tmp_path, "a", "ok now")
    assert watch.complete(arriving(task)) == [task]


def test_a_study_that_is_done_is_offered_each_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "out", {"model": "m"})
    task = make_task(tmp_path, "a")
    ledger.record(runner_workers.act(task), input_digest(task))
    watch = GrowthWatch(0.0, Clock(), ledger.find_standing)
    for _ in range(5):
        assert watch.complete(arriving(task)) == [task]  # the ledger decides whether it must be run
