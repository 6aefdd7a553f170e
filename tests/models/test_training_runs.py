from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from domain.errors import SettingsError
from models.fitting import RunContext, fit_member
from models.trainer import checkpoint_of, is_out_of_memory, make_loggers, out_of_memory_advice
from tests.models.conftest import quick_settings, small_spec

ROOT = Path(__file__).resolve().parents[2]
Items = list[dict[str, Any]]


def work(out: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "-m", "tests.models.training_worker", str(out), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)


def worst_difference(first: Path, second: Path) -> float:
    left, right = load_file(first), load_file(second)
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


@pytest.mark.slow
def test_a_run_killed_in_the_middle_of_an_epoch_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    options = ("max_epochs=5", "ema_decay=0.9")
    assert work(tmp_path / "whole.safetensors", f"run_dir={tmp_path / 'whole'}", *options).returncode == 0
    arguments = (f"run_dir={tmp_path / 'killed'}", *options)
    killed = work(tmp_path / "killed.safetensors", *arguments, "kill_at=11")  # in the fourth epoch of three steps
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed.safetensors").exists()
    resumed = work(tmp_path / "killed.safetensors", *arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert worst_difference(tmp_path / "whole.safetensors", tmp_path / "killed.safetensors") == 0
    whole, again = ((tmp_path / name / "history.csv").read_text() for name in ("whole", "killed"))
    assert again == whole


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_at_the_same_global_batch(tmp_path: Path) -> None:
    one = work(tmp_path / "one.safetensors", "max_epochs=3", "batch_size=8")
    assert one.returncode == 0, one.stderr
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    options = ("max_epochs=3", "batch_size=4", "num_devices=2")
    two = work(tmp_path / "two.safetensors", *options, launcher=launcher)
    assert two.returncode == 0, two.stderr
    losses = [[float(v) for v in (tmp_path / f"{name}.txt").read_text().split()] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert worst_difference(tmp_path / "one.safetensors", tmp_path / "two.safetensors") < 1e-3


def test_accumulated_halves_give_the_weights_of_whole_batches(items: Items) -> None:
    spec = small_spec(width=4).model_copy(update={"dropout": 0.0})
    whole = fit_member(items[:16], None, spec, quick_settings(max_epochs=2, batch_size=8))
    halves = fit_member(items[:16], None, spec, quick_settings(max_epochs=2, batch_size=4, accumulate_batches=2))
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(value, halves.network.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_recomputing_blocks_changes_nothing_but_memory(items: Items) -> None:
    plain = fit_member(items[:8], None, small_spec(), quick_settings(max_epochs=2))
    frugal = fit_member(items[:8], None, small_spec(), quick_settings(max_epochs=2, recompute_blocks=True))
    for name, value in plain.network.state_dict().items():
        torch.testing.assert_close(value, frugal.network.state_dict()[name])


def test_averaged_weights_lag_behind_and_are_kept(items: Items) -> None:
    plain = fit_member(items[:8], None, small_spec(), quick_settings(max_epochs=3))
    averaged = fit_member(items[:8], None, small_spec(), quick_settings(max_epochs=3, ema_decay=0.99))
    name = "branches.0.head.evidence.weight"
    assert not torch.equal(plain.network.state_dict()[name], averaged.network.state_dict()[name])


def test_a_checkpoint_of_other_data_or_settings_is_not_gone_on_with(items: Items, tmp_path: Path) -> None:
    settings = quick_settings(max_epochs=1)
    fit_member(items[:8], None, small_spec(), settings, RunContext(run_dir=tmp_path))
    fresh = fit_member(items[8:16], None, small_spec(), settings)
    other = fit_member(items[8:16], None, small_spec(), settings, RunContext(run_dir=tmp_path))
    assert other.history == fresh.history
    assert checkpoint_of(tmp_path, "another training") is None


def test_a_finished_run_is_not_trained_again(items: Items, tmp_path: Path) -> None:
    told: list[int] = []
    run = RunContext(run_dir=tmp_path, progress=lambda text, done, total: told.append(done))
    settings = quick_settings(max_epochs=2, ema_decay=0.9)
    first = fit_member(items[:8], None, small_spec(), settings, run)
    again = fit_member(items[:8], None, small_spec(), settings, run)
    assert told == [1, 2]
    assert again.history == first.history
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_other_voxels_or_augmentation_with_the_same_tables_are_another_training(items: Items, tmp_path: Path) -> None:
    told: list[int] = []
    run = RunContext(run_dir=tmp_path, progress=lambda text, done, total: told.append(done), data_digest="6 mm")
    fit_member(items[:8], None, small_spec(), quick_settings(max_epochs=1), run)
    fit_member(items[:8], None, small_spec(), quick_settings(max_epochs=1), replace(run, data_digest="3 mm"))
    assert told == [1, 1]


def test_a_run_that_stopped_early_is_finished(items: Items, tmp_path: Path) -> None:
    told: list[int] = []
    run = RunContext(run_dir=tmp_path, progress=lambda text, done, total: told.append(done))
    settings = quick_settings(max_epochs=30, patience_epochs=1, learning_rate=0.05)
    first = fit_member(items[:16], items[16:24], small_spec(), settings, run)
    num_epochs = len(told)
    assert num_epochs < 30
    again = fit_member(items[:16], items[16:24], small_spec(), settings, run)
    assert (len(told), again.history, again.best_epoch) == (num_epochs, first.history, first.best_epoch)
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_several_processes_without_a_launcher_or_with_open_values_are_refused(
    items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="torchrun --nproc-per-node=2"):
        fit_member(items[:8], None, small_spec(), quick_settings(num_devices=2))
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SettingsError, match="each would choose its own"):
        fit_member(items[:8], None, small_spec(), quick_settings(num_devices=2, learning_rate=None))


def test_too_little_memory_is_answered_with_what_to_change() -> None:
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    advice = str(out_of_memory_advice(quick_settings(batch_size=8), error))
    assert "training.batch_size=4 with training.accumulate_batches=2" in advice
    assert "bf16-mixed" in advice


def test_a_logger_without_a_place_to_log_is_refused() -> None:
    with pytest.raises(SettingsError, match="needs a run folder"):
        make_loggers(quick_settings(loggers=("tensorboard",)), None)
