"""Batches of a dataset for training: which rows, in which order, on which process. Loading files is not here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from domain import batch_keys
from domain.settings import TrainingSettings

Items = Dataset[dict[str, Any]]

# What a batch is made of; a dataset may carry more (masks, tables), which would only be copied for nothing.
BATCH_KEYS = (batch_keys.IMAGE, batch_keys.QUANTITATIVE, batch_keys.PATTERN_TARGET, batch_keys.CASE_INDEX)


class EpochOrder(Sampler[int]):
    """Rows in an order that depends on seed and epoch alone, dealt out to processes in turn.

    A run resumed at epoch e therefore sees what an uninterrupted one would have seen, and two processes together see
    the batches one process would have seen at twice the batch size.
    """

    def __init__(self, num_rows: int, *, seed: int, shuffle: bool) -> None:
        self.num_rows = num_rows
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.num_rows // process_share()[1])

    def __iter__(self) -> Iterator[int]:
        order = list(range(self.num_rows))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
            order = torch.randperm(self.num_rows, generator=generator).tolist()
        rank, num_processes = process_share()
        order += order[: len(self) * num_processes - self.num_rows]  # every process takes equally many steps
        return iter(order[rank::num_processes])


def process_share() -> tuple[int, int]:
    """(number of this process, number of processes) of the training that is going on."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack the tensors a network needs, as plain tensors: MONAI's would carry their metadata through every layer."""
    return {
        key: torch.stack([torch.as_tensor(item[key]).as_subclass(Tensor) for item in items])
        for key in BATCH_KEYS
        if key in items[0]
    }


def make_loader(
    items: Items, settings: TrainingSettings, *, shuffle: bool = False, seed: int = 0, in_shares: bool = True
) -> DataLoader[dict[str, Any]]:
    """Batches of a dataset: this process's share of the rows, or all of them in order with ``in_shares`` off."""
    return DataLoader(
        items,
        batch_size=settings.batch_size,
        sampler=EpochOrder(count(items), seed=seed, shuffle=shuffle) if in_shares else None,
        collate_fn=collate,
        num_workers=settings.num_loader_workers,
        persistent_workers=settings.num_loader_workers > 0,
        pin_memory=torch.cuda.is_available() and settings.device != "cpu",
    )


def count(items: Items) -> int:
    """Number of rows."""
    return len(items)  # type: ignore[arg-type]


def read_labels(items: Items) -> tuple[Tensor, Tensor]:
    """Soft labels (N, 4) and quantitative CT (N, Q) of a dataset."""
    rows = [items[index] for index in range(count(items))]
    targets = torch.stack([torch.as_tensor(row[batch_keys.PATTERN_TARGET]) for row in rows]).float()
    quantitative = torch.stack([torch.as_tensor(row[batch_keys.QUANTITATIVE]) for row in rows]).float()
    return targets, quantitative
