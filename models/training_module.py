"""Lightning module of the pattern network: one step for training and validation, the optimiser, the logging."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from domain import batch_keys
from domain.settings import TrainingSettings
from models.auxiliary import AuxiliaryHead
from models.batches import Finish
from models.devices import channels_last, channels_last_weights
from models.losses import balanced_class_weights, soft_cross_entropy
from models.network import PatternNetwork

Batch = dict[str, Any]
Augment = Callable[[Batch], Batch]


def learning_rate_share(step: int, *, num_steps: int, warmup_share: float) -> float:
    """Share of the full learning rate at a step: a straight rise, then half a cosine down to 1 %.

    >>> [round(learning_rate_share(step, num_steps=10, warmup_share=0.2), 2) for step in (0, 1, 2, 10)]
    [0.5, 1.0, 1.0, 0.01]
    """
    num_warmup = max(int(warmup_share * num_steps), 1)
    if step < num_warmup:
        return (step + 1) / num_warmup
    done = min((step - num_warmup) / max(num_steps - num_warmup, 1), 1.0)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def auxiliary_targets(columns: Mapping[str, Any]) -> Tensor:
    """Quantitative CT and, where the cohort has them, readers' extents: (B, E), NaN where unknown."""
    keys = (batch_keys.QUANTITATIVE, batch_keys.AUXILIARY_TARGET)
    return torch.cat([columns[key].float() for key in keys if key in columns], dim=1)


class PatternModule(lightning.LightningModule):
    """Trains a network on batches of ``domain.batch_keys``.

    Args:
        network: Trained in place.
        settings: Optimisation.
        training_targets: Soft labels of all training rows, (N, 4), NaN rows for unlabelled: class balance, and the
            normaliser that keeps the loss the same however rows are spread over batches and processes.
        auxiliary_targets: What the image branch also learns, of all training rows, (N, E), NaN where unknown: see
            ``auxiliary_targets``. None for nothing.
        finish: Last deterministic steps of the graph on a whole batch, where the items stop before them.
        augment: Random steps on a whole batch, on the device the batch is on; None for none.
    """

    _forward: Callable[[Tensor, Tensor], dict[str, Tensor]]

    def __init__(
        self,
        network: PatternNetwork,
        settings: TrainingSettings,
        training_targets: Tensor,
        *,
        auxiliary_targets: Tensor | None = None,
        finish: Finish | None = None,
        augment: Augment | None = None,
    ) -> None:
        super().__init__()
        self.finish = finish
        self.augment = augment
        has_auxiliary = auxiliary_targets is not None and network.backbone.sees_image and settings.auxiliary_weight > 0
        self.auxiliary: AuxiliaryHead | None = None
        if has_auxiliary:
            assert auxiliary_targets is not None
            self.auxiliary = AuxiliaryHead(network.backbone.num_features, auxiliary_targets)
        channels_last_weights(network)
        self.network = network
        self.settings = settings
        weights = balanced_class_weights(training_targets, strength=settings.class_balance)
        self.register_buffer("class_weights", weights, persistent=False)
        labelled = training_targets.isfinite().all(dim=1)
        # Class weights have mean 1 over labelled rows, so a row weighs the labelled share on average.
        self.mean_row_weight = max(float(labelled.float().mean()), 1e-6)
        self._set_forward(network)

    def _set_forward(self, forward: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> None:
        object.__setattr__(self, "_forward", forward)  # not a submodule: its weights are the network's already

    def on_fit_start(self) -> None:
        """Compile, where asked; not earlier, so that an untrained module can be copied."""
        if self.settings.compile_network:
            self._set_forward(torch.compile(self.network))

    def shared_step(self, batch: Batch, stage: str) -> Tensor:
        """Loss of one batch, logged as ``<stage>_loss``.

        In training the mean over the branches, each answering alone, and the auxiliary part; in validation that of
        their common answer.
        """
        if stage == "train":
            loss = self.training_loss(batch)
        else:
            finished = self._prepared(batch)
            loss = self._answer_loss(self._answers(finished)["pattern_logits"], finished, is_training=False)
        rows = len(batch[batch_keys.PATTERN_TARGET])
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True, batch_size=rows, sync_dist=True)
        return loss

    def training_loss(self, batch: Batch) -> Tensor:
        """Loss of a batch as the dataset gives it: finished, augmented, answered."""
        batch = self._prepared(batch, self.augment)
        output = self._answers(batch)
        each = [self._answer_loss(logits, batch, is_training=True) for logits in output["branch_logits"].unbind(1)]
        loss = torch.stack(each).mean()
        if self.auxiliary is not None:
            wanted = auxiliary_targets(batch)
            loss = loss + self.settings.auxiliary_weight * self.auxiliary.loss(output["image_features"], wanted)
        return loss

    def _answers(self, batch: Batch) -> dict[str, Tensor]:
        return self._forward(channels_last(batch[batch_keys.IMAGE]), batch[batch_keys.QUANTITATIVE])

    def _answer_loss(self, logits: Tensor, batch: Batch, *, is_training: bool) -> Tensor:
        return soft_cross_entropy(
            logits,
            batch[batch_keys.PATTERN_TARGET],
            label_smoothing=self.settings.label_smoothing if is_training else 0.0,
            class_weights=self.class_weights,  # type: ignore[arg-type]
            mean_row_weight=self.mean_row_weight if is_training else 1.0,  # every watched row is labelled
        )

    def _prepared(self, batch: Batch, augment: Augment | None = None) -> Batch:
        """Finished and augmented in full precision: coordinates in bfloat16 are off by a quarter of a voxel."""
        if not self.network.backbone.sees_image:
            return batch
        with torch.autocast(batch[batch_keys.IMAGE].device.type, enabled=False):
            for step in (self.finish, augment):
                batch = batch if step is None else step(batch)
        return batch

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """See ``shared_step``."""
        del batch_index
        return self.shared_step(batch, "train")

    def validation_step(self, batch: Batch, batch_index: int) -> Tensor:
        """See ``shared_step``."""
        del batch_index
        return self.shared_step(batch, "validation")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW; the learning rate rises linearly, then falls along a half cosine to 1 % of its height."""
        decayed = [p for p in self.parameters() if p.ndim >= 2]
        plain = [p for p in self.parameters() if p.ndim < 2]  # norms, biases: decay would only shift outputs
        optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.settings.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=self.settings.chosen_learning_rate,
        )
        num_steps = max(int(self.trainer.estimated_stepping_batches), 1)
        share = partial(learning_rate_share, num_steps=num_steps, warmup_share=self.settings.warmup_share)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, share)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
