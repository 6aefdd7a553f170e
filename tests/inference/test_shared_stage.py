from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import pytest
import shared_stage_workers as workers
from runner_workers import make_task

from domain.findings import QualityCode
from domain.records import CaseResult
from domain.settings import InferSettings
from inference import RunOptions, run_studies
from inference.local_engine import Limits, LocalEngine, WorkerStartError
from inference.shared_arrays import BufferReader, SharedBuffer
from inference.shared_stage import MakeHandler
from inference.stage_owners import StageOwners

DIGESTS = {"model": "m"}


def run(
    words: list[str],
    place: Path,
    *,
    num_workers: int = 3,
    make_handler: MakeHandler = workers.make_doubler,
    timeout_s: float = 60,
) -> list[CaseResult]:
    tasks = [make_task(place / "in", f"case{number:02d}", f"{word} {number}") for number, word in enumerate(words)]
    settings = InferSettings(num_workers=num_workers, device="cpu", study_timeout_s=timeout_s)
    options = RunOptions(make_handler=make_handler)
    summary = run_studies(tasks, workers.make_three_stages, place / "out", settings, DIGESTS, options=options)
    return list(summary.results())


def test_studies_of_several_workers_share_batches_and_get_their_own_answers(tmp_path: Path) -> None:
    results = run(["ok"] * 24, tmp_path)
    assert [result.scan_facts["sum"] for result in results] == [2 * 50_000 * number for number in range(24)]
    assert max(result.seconds["batch"] for result in results) > 1


def test_a_study_that_kills_the_shared_process_costs_no_other_study(tmp_path: Path) -> None:
    words = ["ok"] * 12
    words[2], words[5], words[8] = "kill", "too_big", "bug"
    results = run(words, tmp_path)
    codes = {number: result.failure_code for number, result in enumerate(results) if result.failure_code is not None}
    assert codes == {2: QualityCode.INTERNAL_ERROR, 5: QualityCode.OUT_OF_MEMORY, 8: QualityCode.INTERNAL_ERROR}


def test_a_study_over_which_the_shared_process_hangs_costs_no_other_study(tmp_path: Path) -> None:
    words = ["ok"] * 8
    words[1] = "hang"
    results = run(words, tmp_path, timeout_s=12)
    codes = {number: result.failure_code for number, result in enumerate(results) if result.failure_code is not None}
    assert codes == {1: QualityCode.INTERNAL_ERROR}


def test_a_shared_stage_that_hangs_while_it_starts_is_started_again_not_for_ever(tmp_path: Path) -> None:
    engine = LocalEngine(
        workers.make_three_stages, 1, Limits(60, 4, start_s=1.0), gpus=(), make_handler=workers.make_hanging_handler
    )
    with pytest.raises(WorkerStartError, match="network does not start within 1 s"):
        engine.run(iter([(0, make_task(tmp_path, "a", "ok 1"))]), lambda index, result: None)


@pytest.mark.parametrize(
    ("make_handler", "message"),
    [(workers.make_broken_handler, "changed byte"), (workers.make_dying_handler, "dies while it starts")],
)
def test_a_shared_stage_that_cannot_start_ends_the_run(
    tmp_path: Path, make_handler: Callable[[], workers.Doubler], message: str
) -> None:
    with pytest.raises(WorkerStartError, match=message):
        run(["ok"], tmp_path, make_handler=make_handler)


def test_a_shared_stage_that_cannot_be_made_for_a_moment_does_not_end_the_run(tmp_path: Path) -> None:
    (result,) = run(["ok"], tmp_path, make_handler=workers.UnsteadyDoublerMaker(tmp_path / "flag"))
    assert result.failure_code is None


def test_each_gpu_has_its_process_and_workers_are_dealt_out_to_them() -> None:
    owners = StageOwners(workers.make_doubler, ("0", "1"))
    try:
        assert [owner.setup.gpu for owner in owners.owners] == ["0", "1"]
        assert owners.address_of(0) == owners.address_of(2) != owners.address_of(1)
        assert wait(list(owners.by_connection()), timeout=30)
    finally:
        owners.end()


def test_arrays_of_any_size_and_type_arrive_whole_in_memory_used_again() -> None:
    buffer, reader = SharedBuffer(), BufferReader()
    for size in (3, 1000, 10):
        sent = {"a": np.arange(size, dtype=np.int16).reshape(1, size), "b": np.array(0.5), "c": np.zeros(0, np.uint8)}
        found = reader.get(buffer.put(sent))
        assert found.keys() == sent.keys()
        for name, values in sent.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values)


def test_shared_memory_is_given_back() -> None:
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        SharedBuffer().put({"a": np.zeros(1000)})
    assert not before or len(list(Path("/proc/self/fd").iterdir())) <= before + 1
