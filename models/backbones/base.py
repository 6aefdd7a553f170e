"""What every backbone is, and the registry they are found in. No pattern head here: see `models/network.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from domain.registry import Registry

# Shapes: B batch, C input channels, I J K voxels of the network's grid (RAS+), F features, i j k cells of the map


class Backbone(nn.Module, ABC):
    """Image to features, in two steps so that evidence can be read off the map between them.

    Attributes:
        num_features: Width of what ``pool`` returns; 0 for a backbone that does not look at the image.
        blocks: What ``feature_map`` runs, one after the other.
        cell_stride: Voxels from the centre of one cell of the map to that of the next, along i, j, k.
        cell_origin: Voxel on which the first cell is centred. Strided convolutions with even padding centre it on
            voxel 0, not on the middle of its share of the field.
        source: The library's own module whose parameter names published weights carry; None for our own networks.
        recompute_blocks: Keep only what lies between blocks during training and compute the inside again on the way
            back: less memory for about a third more time.
    """

    num_features: int
    blocks: nn.Sequential
    cell_stride: tuple[int, int, int] = (1, 1, 1)
    cell_origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    source: nn.Module | None = None
    recompute_blocks: bool = False

    @property
    def sees_image(self) -> bool:
        """There is a feature map to explain."""
        return self.num_features > 0

    def run_blocks(self, values: Tensor) -> Tensor:
        """Send values through the blocks."""
        for block in self.blocks:
            if self.recompute_blocks and self.training and torch.is_grad_enabled():
                values = checkpoint(block, values, use_reentrant=False)
            else:
                values = block(values)
        return values

    def feature_map(self, image: Tensor) -> Tensor:
        """Local features.

        Args:
            image: Shape (B, C, I, J, K), float32, about 0..1.

        Returns:
            Shape (B, F, i, j, k); the map covers the same field as ``image``, in coarser cells.
        """
        return self.run_blocks(image)

    @abstractmethod
    def pool(self, features: Tensor) -> Tensor:
        """One vector per scan: (B, F, i, j, k) -> (B, num_features)."""

    def forward(self, image: Tensor) -> Tensor:
        """Pooled features of an image, (B, C, I, J, K) -> (B, num_features)."""
        return self.pool(self.feature_map(image))


class PooledBackbone(Backbone):
    """Blocks, then mean and peak of the map.

    Args:
        blocks: To the map.
        num_map_features: Its width.
        stride: Of its cells, the same along all axes.
        origin: Centre of its first cell, voxels.
        source: See ``Backbone``.
    """

    def __init__(
        self,
        blocks: nn.Sequential,
        num_map_features: int,
        *,
        stride: int,
        origin: float = 0.0,
        source: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.cell_stride, self.cell_origin = (stride,) * 3, (origin,) * 3
        self.num_features = 2 * num_map_features
        # Kept out of the registered submodules: its parameters are those of the blocks already.
        object.__setattr__(self, "source", source)

    def pool(self, features: Tensor) -> Tensor:
        """Mean and peak."""
        return mean_and_peak(features)


BACKBONES: Registry[Backbone] = Registry("backbone")


def mean_and_peak(features: Tensor) -> Tensor:
    """Mean and maximum over the map, side by side: how much there is, and whether there is any at all.

    Disease may fill the lungs (NSIP) or sit in a few patches (OP); a mean alone dilutes the second.

    Args:
        features: Shape (B, F, i, j, k).

    Returns:
        Shape (B, 2 F).
    """
    cells = features.flatten(start_dim=2)  # (B, F, cells)
    return torch.cat([cells.mean(dim=2), cells.amax(dim=2)], dim=1)
