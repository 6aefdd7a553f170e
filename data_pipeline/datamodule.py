"""Loaders for training, validation and prediction. Random steps act on training batches only, on their device."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from data_pipeline.dataset import GraphDataset
from data_pipeline.graph import build_augment
from domain.specs import AugmentSpec

Batch = dict[str, torch.Tensor]


class GraphDataModule(LightningDataModule):
    """Batches of graph results.

    Args:
        train: Scans to learn from.
        validation: Scans to watch; never augmented.
        augment: Random training steps.
        batch_size: Scans per batch.
        num_workers: Loader processes; 0 loads in the training process.
        seed: Of the shuffling.
    """

    def __init__(
        self,
        train: GraphDataset,
        validation: GraphDataset | None = None,
        *,
        augment: AugmentSpec | None = None,
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.train = train
        self.validation = validation
        self.augment = build_augment(augment or AugmentSpec())
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches. A last batch of one scan is dropped where others exist: batch statistics need two."""
        generator = torch.Generator().manual_seed(self.seed)
        drop_last = len(self.train) > self.batch_size and len(self.train) % self.batch_size == 1
        return self._loader(self.train, shuffle=True, generator=generator, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Batches of the validation scans, in order; none without such scans."""
        return self._loader(self.validation) if self.validation is not None and len(self.validation) else []

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The training scans in order, without anything random."""
        return self._loader(self.train)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training batches once they are on their device."""
        if self.trainer is None or not self.trainer.training:
            return batch
        augmented: Batch = self.augment(batch)
        return augmented

    def _loader(self, dataset: GraphDataset, **options: Any) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
