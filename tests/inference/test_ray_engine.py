from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import runner_workers
from runner_workers import make_task
from torture_program import make_inputs

from domain.errors import InputError
from domain.findings import QualityCode
from domain.records import CaseStatus
from inference import ray_engine
from inference.local_engine import Limits

HERE = Path(__file__).resolve().parent
NUM_STUDIES = 14
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the cluster extra (ray) is not installed")


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / program), *arguments]
    return subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=400)


def cases_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "cases").iterdir())}


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("kill", [[], ["kill"]], ids=["both_nodes_stay", "one_node_is_killed_half_way"])
def test_a_two_node_cluster_gives_the_bytes_of_a_local_run(tmp_path: Path, kill: list[str]) -> None:
    make_inputs(tmp_path / "in", NUM_STUDIES)
    assert run("torture_program.py", str(tmp_path / "in"), str(tmp_path / "local")).returncode == 1
    answer = run("ray_program.py", str(tmp_path / "in"), str(tmp_path / "ray"), *kill)
    assert f"{NUM_STUDIES} studies" in answer.stdout, answer.stderr[-3000:]
    assert answer.returncode == 1, answer.stderr[-3000:]
    assert cases_of(tmp_path / "ray") == cases_of(tmp_path / "local")
    assert b"decoder_crashed" in (tmp_path / "ray" / "cases" / "case007.json").read_bytes()


def test_a_study_that_takes_too_much_memory_is_told_and_its_actor_given_up(tmp_path: Path) -> None:
    actor = ray_engine.RemoteWorker(runner_workers.make_worker, memory_gib=1e-6)  # any process holds more
    result, is_spent = actor.work(make_task(tmp_path, "a", "sleep 1"))
    assert (result.failure_code, is_spent) == (QualityCode.OUT_OF_MEMORY, True)
    actor = ray_engine.RemoteWorker(runner_workers.make_worker, memory_gib=1e6)
    result, is_spent = actor.work(make_task(tmp_path, "b"))
    assert (result.status, is_spent) == (CaseStatus.PREDICTED, False)


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = ray_engine.RayEngine(lambda: lambda task: None, 1, Limits(1, 1), wants_gpu=False)  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match="cluster extra"):
        engine.run([], lambda index, result: None)
