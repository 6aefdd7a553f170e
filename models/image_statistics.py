"""A few plain numbers of a network input that tell a chest CT from anything else. No learning."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGE_STATISTICS: tuple[str, ...] = (
    "mean",
    "standard_deviation",
    "share_at_floor",
    "share_at_ceiling",
    "roughness_i",
    "roughness_j",
    "roughness_k",
    "left_right_difference",
    "centre_minus_border",
)
EDGE = 0.02  # of the unit range: a voxel this near to 0 or 1 counts as clipped there


def image_statistics(image: Tensor) -> Tensor:
    """Statistics of the first channel.

    Args:
        image: Shape (B, C, I, J, K), about 0..1.

    Returns:
        Shape (B, len(IMAGE_STATISTICS)), in that order. Roughness is the mean absolute difference between
        neighbours along an axis: noise has much of it, an empty field none.
    """
    grid = image[:, 0].float()  # (B, I, J, K)
    border = [max(size // 4, 1) for size in grid.shape[1:]]
    inner = grid[:, border[0] : -border[0] or None, border[1] : -border[1] or None, border[2] : -border[2] or None]
    columns = [
        grid.mean(dim=(1, 2, 3)),
        grid.std(dim=(1, 2, 3)),
        (grid < EDGE).float().mean(dim=(1, 2, 3)),
        (grid > 1 - EDGE).float().mean(dim=(1, 2, 3)),
        *(grid.diff(dim=axis).abs().mean(dim=(1, 2, 3)) for axis in (1, 2, 3)),
        (grid - grid.flip(1)).abs().mean(dim=(1, 2, 3)),
        inner.mean(dim=(1, 2, 3)) - grid.mean(dim=(1, 2, 3)),
    ]
    return torch.nan_to_num(torch.stack(columns, dim=1))  # (B, S); a one-voxel axis has no neighbour
