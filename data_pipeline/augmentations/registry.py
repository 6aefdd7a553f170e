"""Registry of random training steps, and what they share: chance per scan, and which channels hold densities."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from pydantic import Field

from domain.batch_keys import IMAGE, IMAGE_TISSUE
from domain.registry import Registry
from domain.specs import Settings

Batch = dict[str, torch.Tensor]


class ChanceParams(Settings):
    """Chance of each scan of a batch to be changed."""

    probability: float = Field(default=0.5, ge=0, le=1)


class DensityParams(ChanceParams):
    """Steps that change densities.

    Attributes:
        hu_per_unit: HU width of each channel of ``IMAGE`` (its window), 0 for a channel that holds no density, such as
            a mask; tissue maps are not listed. The default fits the shipped graphs.
    """

    hu_per_unit: tuple[float, ...] = (1200.0, 350.0, 800.0, 0.0)


class BatchAugmentation(ABC):
    """A random step on ``IMAGE`` of a whole batch, (B, C, I, J, K) float32 in 0..1, on the device it is on.

    Random numbers are drawn from torch's generator first; ``change`` then acts on them.

    Attributes:
        changes_tissue: Acts on the tissue maps among the channels too, as what moves the body does. What changes
            densities leaves them: quantitative CT is corrected for kernel and noise.
    """

    changes_tissue = True

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, batch: Batch) -> Batch:
        """Change each scan with the given chance; the other entries stay as they are."""
        image = batch[IMAGE]
        # Drawn on the CPU: asking a GPU which scans were chosen would stop it.
        rows = torch.nonzero(torch.rand(image.shape[0]) < self.probability)[:, 0]
        if not len(rows):
            return batch
        rows = rows.to(image.device, non_blocking=True)
        num_kept = 0 if self.changes_tissue or IMAGE_TISSUE not in batch else batch[IMAGE_TISSUE].shape[1]
        chosen, kept = image.index_select(0, rows).tensor_split([image.shape[1] - num_kept], dim=1)
        return batch | {IMAGE: image.index_copy(0, rows, torch.cat([self.change(chosen), kept], dim=1))}

    @abstractmethod
    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Changed scans. Shape as given, (B', C, I, J, K)."""


def uniform(image: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """One random number per scan, shaped to multiply a batch. Shape (B, 1, 1, 1, 1)."""
    return torch.empty((image.shape[0], 1, 1, 1, 1), device=image.device).uniform_(low, high)


def units_per_hu(hu_per_unit: tuple[float, ...], image: torch.Tensor) -> torch.Tensor:
    """Channel units per HU, 0 for channels without density. Shape (1, C, 1, 1, 1).

    Raises:
        ValueError: Another number of channels than the image has.
    """
    if len(hu_per_unit) != image.shape[1]:
        raise ValueError(f"hu_per_unit lists {len(hu_per_unit)} channels, the image has {image.shape[1]}")
    width = torch.tensor(hu_per_unit, dtype=image.dtype, device=image.device)
    per_hu = torch.where(width > 0, 1.0 / width.clamp(min=1e-6), torch.zeros_like(width))
    return per_hu.reshape(1, -1, 1, 1, 1)


AUGMENTATIONS: Registry[BatchAugmentation] = Registry("augmentation")
