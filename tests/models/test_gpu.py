"""What only a GPU can show; skipped where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from domain import batch_keys
from domain.errors import SettingsError
from domain.settings import TrainingSettings
from models.batches import ResidentItems, keep_resident, make_loader
from models.cross_fitting import cross_fit
from models.fitting import fit_member
from models.outputs import gather_outputs
from tests.models.conftest import make_folds, make_items, quick_settings, small_spec

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def gpu_settings(**changes: Any) -> TrainingSettings:
    return quick_settings(**{"device": "cuda", "precision": "bf16-mixed", "ema_decay": 0.9, **changes})


def test_scans_move_to_the_gpu_once_and_batches_come_from_there() -> None:
    settings = gpu_settings()
    items = keep_resident(make_items(16), settings)
    assert isinstance(items, ResidentItems)
    batch = next(iter(make_loader(items, settings)))
    assert batch[batch_keys.IMAGE].is_cuda
    assert settings.batch_size == len(batch[batch_keys.IMAGE])


def test_bfloat16_training_learns_as_well_as_float32() -> None:
    items, folds = make_items(48), make_folds(48)
    found = cross_fit(items, folds, small_spec(num_halvings=2), gpu_settings())
    right = found.outputs.logits.argmax(axis=1) == found.outputs.targets.argmax(axis=1)
    assert right.mean() >= 0.6


def test_the_gpu_says_what_the_cpu_says() -> None:
    items = make_items(8)
    network = fit_member(items, None, small_spec(), gpu_settings(max_epochs=2)).network
    loader = make_loader(items, quick_settings(), in_shares=False)
    on_cpu = gather_outputs(network, loader, torch.device("cpu")).logits
    on_gpu = gather_outputs(network.cuda(), loader, torch.device("cuda")).logits
    np.testing.assert_allclose(on_gpu, on_cpu, atol=0.05)


def test_a_network_too_large_for_the_gpu_is_answered_with_advice() -> None:
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        with pytest.raises(SettingsError, match="does not fit into memory"):
            fit_member(make_items(8, size=96), None, small_spec(width=64), gpu_settings(max_epochs=1, batch_size=8))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_compiled_network_learns_the_same() -> None:
    items = make_items(8)
    spec = small_spec().model_copy(update={"dropout": 0.0})  # a compiled network draws other random numbers
    plain, compiled = (
        fit_member(items, None, spec, gpu_settings(max_epochs=2, precision="32", compile_network=flag))
        for flag in (False, True)
    )
    losses = [member.history[-1]["train_loss"] for member in (plain, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
