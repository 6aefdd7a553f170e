"""Trains one small network in a process of its own: for the tests that kill it, or run two of it together."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from models.fitting import RunContext, fit_member
from models.trainer import is_first_process
from tests.models.conftest import make_items, quick_settings, small_spec


def main(out: str, *arguments: str) -> None:
    """``out`` receives the weights; arguments are ``name=value`` of the settings, ``run_dir=`` and ``kill_at=``."""
    torch.set_num_threads(1)
    given = dict(argument.split("=") for argument in arguments)
    run_dir = Path(given.pop("run_dir")) if "run_dir" in given else None
    kill_at = int(given.pop("kill_at", "0"))
    settings = quick_settings(**{name: float(v) if "." in v else int(v) for name, v in given.items()})
    steps = 0

    def augment(batch: dict) -> dict:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if run_dir is None:
            return batch
        return batch | {"image": batch["image"] + 0.01 * torch.randn_like(batch["image"])}

    # Runs that are compared with others over processes draw nothing; those that are resumed draw all they can.
    spec = small_spec(width=4).model_copy(update={"dropout": 0.1 if run_dir is not None else 0.0})
    member = fit_member(make_items(24), None, spec, settings, RunContext(run_dir=run_dir, augment=augment))
    if is_first_process():
        save_file({name: value.contiguous() for name, value in member.network.state_dict().items()}, out)
        Path(out).with_suffix(".txt").write_text(" ".join(f"{row['train_loss']:.9g}" for row in member.history))


if __name__ == "__main__":
    main(*sys.argv[1:])
