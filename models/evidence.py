"""Where in the lungs the answer comes from: a gradient map on the network's grid, and a table by lung zone.

Occlusion and the checks that the map means something are not here: see `models/evidence_checks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.network import PatternNetwork

FloatArray = NDArray[np.float64]

ZONES: tuple[str, ...] = ("right_upper", "right_middle", "right_lower", "left_upper", "left_middle", "left_lower")

INSIDE_LUNGS = "inside_lungs_share"


def gradient_evidence(
    network: PatternNetwork, image: Tensor, quantitative: Tensor, pattern_index: int
) -> Tensor | None:
    """How much each place speaks for one pattern: features times the gradient of its log-probability, cell by cell.

    Args:
        network: In evaluation mode.
        image: Shape (1, C, I, J, K).
        quantitative: Shape (1, Q).
        pattern_index: Row of ``PATTERNS``.

    Returns:
        Shape (I, J, K), >= 0, largest value 1 (all 0 where nothing speaks for the pattern); None for a network that
        does not look at the image.

    Source:
        The element-wise product ("HiResCAM") instead of Grad-CAM's channel means: for a head that is linear on the
        pooled map it is the exact decomposition of the score.
    """
    if not network.backbone.sees_image:
        return None
    maps = explained_maps(network, image)
    with torch.enable_grad():
        logits = network.from_maps(maps, quantitative)["pattern_logits"]
    return evidence_from_maps(network, maps, logits, [pattern_index], image.shape[2:])[0]


def explained_maps(network: PatternNetwork, image: Tensor) -> list[Tensor]:
    """The feature map (B, F, i, j, k) of each view, as leaves that take a gradient."""
    with torch.no_grad():
        maps = [network.backbone.feature_map(view) for view in network.views(image)]
    return [features.detach().requires_grad_() for features in maps]


def evidence_from_maps(
    network: PatternNetwork,
    maps: Sequence[Tensor],
    logits: Tensor,
    pattern_indices: Sequence[int],
    shape: Sequence[int],
) -> Tensor:
    """Features times the gradient of the log-probability of one pattern per scan.

    Args:
        network: Says where its cells lie.
        maps: From ``explained_maps``; the second, where there is one, is of the mirror image.
        logits: Made from them. Shape (B, 4). Scans do not touch each other, so one sum over them gives every scan its
            own gradient.
        pattern_indices: Row of ``PATTERNS`` per scan.
        shape: (I, J, K) of the network's input.

    Returns:
        Shape (B, I, J, K), >= 0, each scan's largest value 1.
    """
    with torch.enable_grad():
        each = F.log_softmax(logits.float(), dim=1)
        score = torch.stack([row[index] for row, index in zip(each, pattern_indices, strict=True)]).sum()
    gradients = torch.autograd.grad(score, list(maps))
    grids = [
        to_image_grid(
            (features.detach() * gradient).sum(dim=1).clamp_min(0).float(),
            shape,
            network.backbone.cell_stride,
            network.backbone.cell_origin,
        )
        for features, gradient in zip(maps, gradients, strict=True)
    ]
    if len(grids) > 1:
        grids[0] = grids[0] + grids[1].flip(1)
    return torch.stack([scale_to_one(grid) for grid in grids[0]])


def to_image_grid(cells: Tensor, shape: Sequence[int], stride: Sequence[int], origin: Sequence[float]) -> Tensor:
    """Cells on the network's grid, linear between their centres; beyond the outermost centres the outermost value.

    Args:
        cells: Shape (B, i, j, k).
        shape: (I, J, K).
        stride: Voxels from one cell's centre to the next, per axis.
        origin: Voxel on which the first cell is centred, per axis.

    Returns:
        Shape (B, I, J, K).
    """
    axes = []
    for size, count, step, first in zip(shape, cells.shape[1:], stride, origin, strict=True):
        place = (torch.arange(size, device=cells.device, dtype=torch.float32) - first) / step  # in cells
        axes.append(2 * place / max(count - 1, 1) - 1)  # -1 and 1 are the centres of the outermost cells
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)  # (I, J, K, 3), listed k, j, i
    grid = grid.expand(len(cells), *grid.shape)
    return F.grid_sample(cells[:, None], grid, mode="bilinear", padding_mode="border", align_corners=True)[:, 0]


def scale_to_one(grid: Tensor) -> Tensor:
    """Divide by the largest value, if there is one above 0."""
    peak = grid.amax()
    return grid / peak if float(peak) > 0 else grid


def zone_shares(evidence: FloatArray | NDArray[np.float32], mask: NDArray[np.bool_]) -> dict[str, float]:
    """Where the evidence lies.

    Args:
        evidence: Shape (I, J, K), >= 0, RAS+ (i grows to the patient's right, k upward).
        mask: Shape (I, J, K), lungs. Sides are told apart at the middle between the lungs' outer edges, thirds of
            the height from their lowest to their highest voxel.

    Returns:
        Zone -> share of the evidence inside the lungs, adding up to 1, and ``INSIDE_LUNGS``: the share of all
        evidence that lies inside them. Empty where there is no lung or no evidence in it.
    """
    inside = np.where(mask, evidence, evidence.dtype.type(0))
    by_column = inside.sum(axis=1, dtype=np.float64)  # (I, K)
    total = float(by_column.sum())
    if total <= 0:
        return {}
    across = np.flatnonzero(mask.any(axis=(1, 2)))
    upward = np.flatnonzero(mask.any(axis=(0, 1)))
    middle = (across[0] + across[-1] + 1) / 2
    edges = np.linspace(upward[0], upward[-1] + 1, 4)
    side = np.where(np.arange(mask.shape[0]) + 0.5 > middle, 0, 1)  # 0 right, 1 left
    third = np.digitize(np.arange(mask.shape[2]) + 0.5, edges[1:3])  # 0 lower, 1 middle, 2 upper
    names = {(s, t): f"{('right', 'left')[s]}_{('lower', 'middle', 'upper')[t]}" for s in (0, 1) for t in (0, 1, 2)}
    shares = {name: float(by_column[np.ix_(side == s, third == t)].sum() / total) for (s, t), name in names.items()}
    return {zone: shares[zone] for zone in ZONES} | {INSIDE_LUNGS: total / float(evidence.sum(dtype=np.float64))}


def to_grid(
    evidence: NDArray[np.float32], affine: FloatArray, target_affine: FloatArray, target_shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Resample a map to another grid by trilinear interpolation; 0 outside the map.

    Args:
        evidence: Shape (I, J, K).
        affine: Shape (4, 4), ijk of ``evidence`` to RAS mm.
        target_affine: Shape (4, 4), ijk of the wanted grid to RAS mm.
        target_shape: Of the wanted grid.

    Returns:
        float32, of ``target_shape``.
    """
    to_source = np.linalg.inv(affine) @ target_affine  # target ijk -> evidence ijk
    half_source = np.array(evidence.shape) / 2
    half_target = np.array(target_shape) / 2
    # torch counts from -1 to 1 over the outer faces of the corner voxels and lists axes as k, j, i.
    matrix = to_source[:3, :3] * half_target[None, :] / half_source[:, None]
    centre = to_source[:3, :3] @ (half_target - 0.5) + to_source[:3, 3]
    shift = (centre + 0.5) / half_source - 1
    theta = np.hstack([matrix[::-1, ::-1], shift[::-1, None]])
    grid = F.affine_grid(torch.from_numpy(theta[None].copy()).float(), [1, 1, *target_shape], align_corners=False)
    source = torch.from_numpy(np.ascontiguousarray(evidence, dtype=np.float32))[None, None]
    sampled = F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    result: NDArray[np.float32] = sampled[0, 0].numpy()
    return result
