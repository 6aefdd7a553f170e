"""What every backbone is, and the registry they are found in. No pattern head here: see `models/network.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from domain.registry import Registry

# Shapes: B batch, C input channels, I J K voxels of the network's grid (RAS+), F features, i j k cells of the map


class Backbone(nn.Module, ABC):
    """Image to features, in two steps so that evidence can be read off the map between them.

    Attributes:
        num_features: Width of what ``pool`` returns; 0 for a backbone that does not look at the image.
    """

    num_features: int

    @property
    def sees_image(self) -> bool:
        """There is a feature map to explain."""
        return self.num_features > 0

    @abstractmethod
    def feature_map(self, image: Tensor) -> Tensor:
        """Local features.

        Args:
            image: Shape (B, C, I, J, K), float32, about 0..1.

        Returns:
            Shape (B, F, i, j, k); cell (0, 0, 0) and the last cell lie at the same corners as in ``image``.
        """

    @abstractmethod
    def pool(self, features: Tensor) -> Tensor:
        """One vector per scan: (B, F, i, j, k) -> (B, num_features)."""

    def forward(self, image: Tensor) -> Tensor:
        """Pooled features of an image, (B, C, I, J, K) -> (B, num_features)."""
        pooled: Tensor = self.pool(self.feature_map(image))
        return pooled


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
