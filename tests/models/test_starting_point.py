from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from domain.errors import SettingsError
from models.fitting import STARTING_POINT, RunContext, fit_member
from models.starting_point import HIGHEST_RATE, batch_size_for, choose_rate, fitting_batch
from models.training_module import PatternModule
from tests.models.conftest import quick_settings, small_spec

Items = list[dict[str, Any]]
GIB = 1024**3


@pytest.mark.parametrize(("rows", "batch"), [(8, 4), (100, 4), (200, 8), (400, 16), (5000, 32)])
def test_the_cohort_decides_how_large_a_batch_is(rows: int, batch: int) -> None:
    assert batch_size_for(rows) == batch


def test_a_batch_is_halved_until_it_fits() -> None:
    assert fitting_batch(16, (2 * GIB, 3 * GIB), 80 * GIB) == 16
    assert fitting_batch(16, (2 * GIB, 3 * GIB), 16 * GIB) == 8
    assert fitting_batch(16, (9 * GIB, 18 * GIB), 16 * GIB) == 1


def test_the_rate_is_taken_below_the_one_at_which_the_loss_was_lowest() -> None:
    rates = list(np.geomspace(1e-5, HIGHEST_RATE, 40))
    losses = [1.4 - 0.5 * np.exp(-((np.log10(rate) + 2.5) ** 2)) if rate < 0.01 else 50.0 for rate in rates]
    assert 2e-4 < choose_rate(rates, losses) < 2e-3


def test_what_is_left_open_is_chosen_and_kept_for_a_resumed_run(items: Items, tmp_path: Path) -> None:
    settings = quick_settings(max_epochs=1, batch_size=None, learning_rate=None)
    run = RunContext(run_dir=tmp_path)
    first = fit_member(items[:16], None, small_spec(width=4), settings, run)
    chosen = json.loads((tmp_path / STARTING_POINT).read_text())
    assert chosen["batch_size"] == 4
    assert 1e-5 <= chosen["learning_rate"] <= HIGHEST_RATE
    again = fit_member(items[:16], None, small_spec(width=4), settings, run)
    assert first.history == again.history


def test_memory_that_runs_out_in_training_ends_in_advice(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(self: PatternModule, batch: dict[str, Any]) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(PatternModule, "training_loss", run_out)
    with pytest.raises(SettingsError, match=r"training\.batch_size=4 with training\.accumulate_batches=2"):
        fit_member(items[:8], None, small_spec(width=4), quick_settings(max_epochs=1))
