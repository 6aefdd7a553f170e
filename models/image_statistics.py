"""A few plain numbers of a network input that tell a chest CT from anything else. No learning."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

EDGE = 0.02  # of the unit range: a voxel this near to 0 or 1 counts as clipped there
# Of the first channel's window (-1000 to 200 HU in the shipped graphs): air, normal lung, ground glass, solid.
HISTOGRAM_EDGES = (0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.55, 0.70, 0.85)

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
    *(f"histogram_{index}" for index in range(len(HISTOGRAM_EDGES) + 1)),
    "shown_share",
    "fine_over_coarse_plane",
    "fine_over_coarse_height",
    *(f"{what}_{place}" for what in ("amount", "density") for place in ("lower", "upper", "front", "right")),
)


def image_statistics(image: Tensor) -> Tensor:
    """Statistics of the first channel.

    Args:
        image: Shape (B, C, I, J, K), about 0..1, RAS+; 0 where the graph has hidden the body.

    Returns:
        Shape (B, len(IMAGE_STATISTICS)), in that order. Roughness is the mean absolute difference between neighbours
        along an axis: noise has much of it, an empty field none. The histogram, the amount of lung and its density in
        the lower and upper third, the front half and the right half are of what is shown: lungs that stand on their
        head, lie the other way or hold the wrong densities differ there.
    """
    grid = image[:, 0].float()  # (B, I, J, K)
    shown = (grid > 0).float()
    border = [max(size // 4, 1) for size in grid.shape[1:]]
    inner = grid[:, border[0] : -border[0] or None, border[1] : -border[1] or None, border[2] : -border[2] or None]
    fine = [grid.diff(dim=axis).abs().mean(dim=(1, 2, 3)) for axis in (1, 2, 3)]
    coarse = [(_shifted(grid, axis, 2)).abs().mean(dim=(1, 2, 3)) for axis in (1, 2, 3)]
    columns = [
        grid.mean(dim=(1, 2, 3)),
        grid.std(dim=(1, 2, 3)),
        (grid < EDGE).float().mean(dim=(1, 2, 3)),
        (grid > 1 - EDGE).float().mean(dim=(1, 2, 3)),
        *fine,
        (grid - grid.flip(1)).abs().mean(dim=(1, 2, 3)),
        inner.mean(dim=(1, 2, 3)) - grid.mean(dim=(1, 2, 3)),
        *histogram(grid, shown),
        shown.mean(dim=(1, 2, 3)),
        (fine[0] + fine[1]) / (coarse[0] + coarse[1]).clamp_min(1e-6),
        fine[2] / coarse[2].clamp_min(1e-6),
        *places(grid, shown),
    ]
    return torch.nan_to_num(torch.stack(columns, dim=1))  # (B, S); a one-voxel axis has no neighbour


def _shifted(grid: Tensor, axis: int, step: int) -> Tensor:
    size = grid.shape[axis]
    return grid.narrow(axis, min(step, size), max(size - step, 0)) - grid.narrow(axis, 0, max(size - step, 0))


def histogram(grid: Tensor, shown: Tensor) -> list[Tensor]:
    """Square roots of the shares of shown voxels between the edges, each (B,): small shares then count, too."""
    total = shown.sum(dim=(1, 2, 3)).clamp_min(1)
    below = [((grid < edge) * shown).sum(dim=(1, 2, 3)) / total for edge in HISTOGRAM_EDGES]
    steps = [torch.zeros_like(below[0]), *below, torch.ones_like(below[0])]
    return [(high - low).clamp_min(0).sqrt() for low, high in pairwise(steps)]


def places(grid: Tensor, shown: Tensor) -> list[Tensor]:
    """Share of what is shown, then its density over that of all, in the lower and upper third, front and right half."""
    size = grid.shape[1:]
    third = max(size[2] // 3, 1)
    parts = (
        (slice(None), slice(None), slice(0, third)),
        (slice(None), slice(None), slice(size[2] - third, None)),
        (slice(None), slice(size[1] // 2, None), slice(None)),
        (slice(size[0] // 2, None), slice(None), slice(None)),
    )
    total = shown.sum(dim=(1, 2, 3)).clamp_min(1)
    mean = grid.sum(dim=(1, 2, 3)) / total
    amounts = [shown[:, i, j, k].sum(dim=(1, 2, 3)) for i, j, k in parts]
    densities = [
        grid[:, i, j, k].sum(dim=(1, 2, 3)) / amount.clamp_min(1) - mean
        for (i, j, k), amount in zip(parts, amounts, strict=True)
    ]
    return [*(amount / total for amount in amounts), *densities]
