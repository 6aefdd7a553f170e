"""Batches of a dataset for training: which rows, in which order, from where. Loading files is not here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from domain import batch_keys
from domain.settings import TrainingSettings
from models.devices import resolve_device

Items = Dataset[dict[str, Any]]
Batch = dict[str, Any]
Finish = Callable[[Batch], Batch]  # deterministic last steps of the graph, on a whole batch, on its device

# What a batch is made of; a dataset may carry more (tables), which would only be copied for nothing.
BATCH_KEYS = (
    batch_keys.IMAGE,
    batch_keys.IMAGE_MASK,
    batch_keys.IMAGE_TISSUE,
    batch_keys.QUANTITATIVE,
    batch_keys.PATTERN_TARGET,
    batch_keys.AUXILIARY_TARGET,
    batch_keys.CASE_INDEX,
)

DEVICE_SHARE = 0.4  # of the GPU's free memory that scans may take; weights and activations need the rest
HOST_SHARE = 0.3  # of the machine's free memory


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


class ResidentItems(Dataset[dict[str, Any]]):
    """A dataset in memory as one tensor per key: on the GPU where it fits there, else in the machine's memory.

    Attributes:
        tensors: Key of ``domain.batch_keys`` -> (N, ...).
        rows: Rows of ``tensors`` that are items of this dataset, in order; parts of a dataset share its tensors.
    """

    def __init__(self, tensors: dict[str, Tensor], rows: Tensor) -> None:
        self.tensors = tensors
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = int(self.rows[index])
        return {key: values[row].cpu() for key, values in self.tensors.items()}

    def take(self, indices: Sequence[int]) -> ResidentItems:
        """Some items, in the order given, without a copy."""
        return ResidentItems(self.tensors, self.rows[torch.as_tensor(indices, dtype=torch.int64)])

    def column(self, key: str) -> Tensor:
        """One key of all items, on the CPU."""
        values = self.tensors[key]
        return values[self.rows.to(values.device)].cpu()

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Items as a batch, where the tensors are."""
        rows = self.rows[torch.as_tensor(indices, dtype=torch.int64)]
        device = self.tensors[batch_keys.IMAGE].device
        on_device = rows.to(device, non_blocking=True)
        return {key: values.index_select(0, on_device) for key, values in self.tensors.items()}


class ResidentLoader:
    """Batches of ``ResidentItems``: no worker process, no copy from the host where they are on the GPU."""

    batch_sampler = None  # what Lightning asks a loader for

    def __init__(self, items: ResidentItems, batch_size: int, sampler: Sampler[int] | None) -> None:
        self.items = items
        self.batch_size = batch_size
        self.sampler = sampler  # Lightning tells it the epoch

    def __len__(self) -> int:
        return -(-self._num_rows() // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        order = list(range(len(self.items))) if self.sampler is None else list(self.sampler)
        for start in range(0, len(order), self.batch_size):
            yield self.items.batch(order[start : start + self.batch_size])

    def _num_rows(self) -> int:
        return len(self.items) if self.sampler is None else len(self.sampler)  # type: ignore[arg-type]


Loader = DataLoader[dict[str, Any]] | ResidentLoader


def make_loader(
    items: Items, settings: TrainingSettings, *, shuffle: bool = False, seed: int = 0, in_shares: bool = True
) -> Loader:
    """Batches of a dataset: this process's share of the rows, or all of them in order with ``in_shares`` off."""
    order = EpochOrder(count(items), seed=seed, shuffle=shuffle) if in_shares else None
    if isinstance(items, ResidentItems):
        return ResidentLoader(items, settings.chosen_batch_size, order)
    return DataLoader(
        items,
        batch_size=settings.chosen_batch_size,
        sampler=order,
        collate_fn=collate,
        num_workers=settings.num_loader_workers,
        persistent_workers=settings.num_loader_workers > 0,
        pin_memory=torch.cuda.is_available() and settings.device != "cpu",
    )


def keep_resident(items: Items, settings: TrainingSettings) -> Items:
    """The dataset in memory, if the settings allow it and it fits; else the dataset itself.

    Read once, in order. With several processes each keeps its own copy in the machine's memory: which GPU is a
    process's own is not known yet.
    """
    if isinstance(items, ResidentItems) or settings.keep_scans_in == "disk" or count(items) == 0:
        return items
    first = collate([items[0]])
    num_bytes = count(items) * sum(values.nbytes for values in first.values())
    device = memory_for(num_bytes, settings)
    if device is None:
        return items
    tensors = {
        key: torch.empty((count(items), *values.shape[1:]), dtype=values.dtype, device=device)
        for key, values in first.items()
    }
    for row in range(count(items)):
        for key, values in collate([items[row]]).items():
            tensors[key][row] = values[0]
    return ResidentItems(tensors, torch.arange(count(items)))


def memory_for(num_bytes: int, settings: TrainingSettings) -> torch.device | None:
    """Where scans of a size are kept: the GPU, the machine's memory, or None: read them again for every epoch."""
    device = resolve_device(settings.device)
    is_alone = settings.num_devices * settings.num_nodes == 1
    if device.type == "cuda" and is_alone and settings.keep_scans_in in ("auto", "gpu"):
        free, _ = torch.cuda.mem_get_info(device)
        if num_bytes <= DEVICE_SHARE * free:
            return device
    return torch.device("cpu") if num_bytes <= HOST_SHARE * free_host_bytes() else None


def free_host_bytes() -> int:
    """Memory of this machine that is free, in bytes; all of it where the system does not say."""
    names = ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES")
    pages = next((os.sysconf(name) for name in names if name in os.sysconf_names), 1 << 20)
    return pages * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else pages * 4096


def part_of(items: Items, rows: Sequence[int]) -> Items:
    """Some rows of a dataset, in the order given."""
    return items.take(rows) if isinstance(items, ResidentItems) else Subset(items, rows)


def count(items: Items) -> int:
    """Number of rows."""
    return len(items)  # type: ignore[arg-type]


def read_column(items: Items, key: str) -> Tensor | None:
    """One key of all rows, (N, ...) float32; None where the dataset has no such key."""
    if isinstance(items, ResidentItems):
        return items.column(key).float() if key in items.tensors else None
    rows = [items[index] for index in range(count(items))]
    if key not in rows[0]:
        return None
    return torch.stack([torch.as_tensor(row[key]).as_subclass(Tensor) for row in rows]).float()


def read_labels(items: Items) -> tuple[Tensor, Tensor]:
    """Soft labels (N, 4) and quantitative CT (N, Q) of a dataset."""
    targets, quantitative = (read_column(items, key) for key in (batch_keys.PATTERN_TARGET, batch_keys.QUANTITATIVE))
    assert targets is not None
    assert quantitative is not None
    return targets, quantitative
