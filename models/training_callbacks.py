"""What happens between the steps: history, averaged weights, early stopping, progress, reproducible epochs.

All state that a resumed run needs is in the callbacks' ``state_dict``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from domain.whole_files import write_whole
from models.network import PatternNetwork
from models.training_module import PatternModule

Progress = Callable[[str, int, int], None]  # what is going on, units done, units in all


def network_of(module: lightning.LightningModule) -> PatternNetwork:
    """The network a Lightning module trains."""
    assert isinstance(module, PatternModule)
    return module.network


def copy_weights(module: lightning.LightningModule) -> dict[str, Tensor]:
    """The network's weights, apart from it."""
    return {name: value.detach().clone() for name, value in network_of(module).state_dict().items()}


class EpochSeed(Callback):
    """Seeds everything at the start of each epoch: dropout and augmentation of a resumed run go on as they would."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed from run, epoch and process before the first step of an epoch.

        Not in ``on_train_epoch_start``: Lightning does not call it for the first epoch of a resumed run.
        """
        del pl_module, batch
        if batch_idx == 0:
            seed = (self.seed * 100_003 + trainer.current_epoch) * 1_009 + trainer.global_rank
            lightning.seed_everything(seed % 2**32, workers=True, verbose=False)


class EpochHistory(Callback):
    """Losses by epoch, also as ``history.csv`` in the run folder where there is one."""

    def __init__(self, run_dir: Path | None) -> None:
        self.run_dir = run_dir
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the losses of the epoch; Lightning has validated before this."""
        del pl_module
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.endswith("_loss")}
        self.rows.append({"epoch": float(trainer.current_epoch), **metrics})
        if self.run_dir is not None and trainer.is_global_zero:
            names = list(self.rows[0])
            lines = [",".join(f"{row.get(name, float('nan')):g}" for name in names) for row in self.rows]
            write_whole(self.run_dir / "history.csv", "\n".join([",".join(names), *lines]) + "\n")

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.rows = list(state_dict["rows"])


class WeightAverage(Callback):
    """Exponential moving average of the weights, used for validation, and kept at the end (``fit_member`` does that).

    Early on the average would remember the random start; the decay therefore rises as (1 + t) / (10 + t).
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.average: dict[str, Tensor] = {}
        self.current: dict[str, Tensor] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """An average read from a checkpoint lies in the machine's memory: put it beside the weights."""
        del trainer
        self.average = {name: value.to(pl_module.device) for name, value in self.average.items()}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average a little towards the weights, once per optimiser step; all tensors in one call."""
        del outputs, batch, batch_idx
        if trainer.global_step == self.num_updates:
            return  # in the middle of an accumulated batch
        self.num_updates = trainer.global_step
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        weights = network_of(pl_module).state_dict()
        if not self.average:
            self.average = copy_weights(pl_module)
        floating = [name for name, value in weights.items() if value.is_floating_point()]
        averages = [self.average[name] for name in floating]
        torch._foreach_lerp_(averages, [weights[name].to(self.average[name]) for name in floating], 1 - decay)
        for name in weights.keys() - set(floating):
            self.average[name].copy_(weights[name])

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Validate the average."""
        del trainer
        if self.average:
            self.current = copy_weights(pl_module)
            network_of(pl_module).load_state_dict(self.average)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Go on training from the weights themselves."""
        del trainer
        if self.current:
            network_of(pl_module).load_state_dict(self.current)
            self.current = {}

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"num_updates": self.num_updates, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.num_updates = state_dict["num_updates"]
        self.average = state_dict["average"]


class EarlyStop(Callback):
    """Stops when the validation loss has not fallen for some epochs, and remembers the best weights."""

    def __init__(self, patience_epochs: int, average: WeightAverage | None) -> None:
        self.patience_epochs = patience_epochs
        self.weight_average = average
        self.best_loss = float("inf")
        self.best_epoch: int | None = None
        self.best_weights: dict[str, Tensor] = {}
        self.has_stopped = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A run that had stopped is finished: another epoch might be better, and the weights would be others."""
        del pl_module
        trainer.should_stop = self.has_stopped

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Compare, remember, stop."""
        loss = float(trainer.callback_metrics.get("validation_loss", float("inf")))
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, trainer.current_epoch
            average = self.weight_average.average if self.weight_average is not None else {}
            weights = {name: value.clone() for name, value in average.items()}
            self.best_weights = weights or copy_weights(pl_module)
        elif trainer.current_epoch - (self.best_epoch or 0) >= self.patience_epochs:
            trainer.should_stop = self.has_stopped = True

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        state = {"loss": self.best_loss, "epoch": self.best_epoch, "weights": self.best_weights}
        return state | {"has_stopped": self.has_stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best_loss, self.best_epoch = state_dict["loss"], state_dict["epoch"]
        self.best_weights, self.has_stopped = state_dict["weights"], state_dict["has_stopped"]


class ProgressReport(Callback):
    """Tells a listener the epochs done and the seconds probably left."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.progress = progress
        self.label = label
        self.started = 0.0
        self.first_epoch = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the time."""
        del pl_module
        self.started, self.first_epoch = time.monotonic(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report."""
        del pl_module
        done, total = trainer.current_epoch + 1, int(trainer.max_epochs or 0)
        per_epoch = (time.monotonic() - self.started) / max(done - self.first_epoch, 1)
        loss = float(trainer.callback_metrics.get("train_loss", torch.nan))
        text = f"{self.label}: loss {loss:.3f}, about {per_epoch * (total - done):.0f} s left"
        self.progress(text, done, total)
