"""Does an evidence map mean something? Deletion and insertion, randomised weights, occlusion, hidden lungs.

The map itself is made in `models/evidence.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.evidence import gradient_evidence, scale_to_one
from models.network import PatternNetwork

NUM_STEPS = 10


@dataclass(frozen=True)
class FaithfulnessCurves:
    """Probability of the pattern as voxels are taken away, or put back, most evident first.

    Attributes:
        deletion: From the whole image to the blank one, ``NUM_STEPS + 1`` values; falls early for a faithful map.
        insertion: From the blank image to the whole one; rises early for a faithful map.
    """

    deletion: tuple[float, ...]
    insertion: tuple[float, ...]

    @property
    def deletion_area(self) -> float:
        """Mean of the deletion curve; smaller is better."""
        return sum(self.deletion) / len(self.deletion)

    @property
    def insertion_area(self) -> float:
        """Mean of the insertion curve; larger is better."""
        return sum(self.insertion) / len(self.insertion)


@torch.no_grad()
def faithfulness(
    network: PatternNetwork, image: Tensor, quantitative: Tensor, pattern_index: int, evidence: Tensor, blank: Tensor
) -> FaithfulnessCurves:
    """Take voxels away, and put them back, in the order of their evidence.

    Args:
        network: In evaluation mode.
        image: Shape (1, C, I, J, K).
        quantitative: Shape (1, Q); stays as it is, so compare curves of one network only.
        pattern_index: Row of ``PATTERNS``.
        evidence: Shape (I, J, K).
        blank: Shape (1, C, I, J, K): what a voxel becomes when it is taken away, a blurred image or healthy lung.
    """
    order = evidence.flatten().argsort(descending=True)  # (voxels,)
    deletion: list[float] = []
    insertion: list[float] = []
    for step in range(NUM_STEPS + 1):
        chosen = torch.zeros_like(order, dtype=torch.bool)
        chosen[order[: len(order) * step // NUM_STEPS]] = True
        mask = chosen.reshape(evidence.shape)
        for curve, value in ((deletion, torch.where(mask, blank, image)), (insertion, torch.where(mask, image, blank))):
            logits = network(value, quantitative)["pattern_logits"]
            curve.append(float(torch.softmax(logits, dim=1)[0, pattern_index]))
    return FaithfulnessCurves(tuple(deletion), tuple(insertion))


@torch.no_grad()
def occlusion_evidence(
    network: PatternNetwork, image: Tensor, quantitative: Tensor, pattern_index: int, *, cell: int = 8
) -> Tensor:
    """How much the pattern's log-probability falls when a cube is replaced by the image's mean.

    Slow and free of gradients: the check on the fast map.

    Args:
        network: In evaluation mode.
        image: Shape (1, C, I, J, K).
        quantitative: Shape (1, Q).
        pattern_index: Row of ``PATTERNS``.
        cell: Edge of the cube, voxels.

    Returns:
        Shape (I, J, K), largest value 1.
    """

    def score(value: Tensor) -> float:
        logits = network(value, quantitative)["pattern_logits"]
        return float(torch.log_softmax(logits.float(), dim=1)[0, pattern_index])

    whole = score(image)
    mean = image.mean(dim=(2, 3, 4), keepdim=True)
    drop = torch.zeros(image.shape[2:])
    for i in range(0, image.shape[2], cell):
        for j in range(0, image.shape[3], cell):
            for k in range(0, image.shape[4], cell):
                cube = (slice(i, i + cell), slice(j, j + cell), slice(k, k + cell))
                hidden = image.clone()
                hidden[(slice(None), slice(None), *cube)] = mean
                drop[cube] = max(whole - score(hidden), 0.0)
    return scale_to_one(drop)


def randomised(network: PatternNetwork, *, seed: int) -> PatternNetwork:
    """A copy whose weights are noise of the same spread: a map that survives this shows the image, not the network."""
    other = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in other.parameters():
            spread = value.std() if value.numel() > 1 else value.abs()
            value.copy_(torch.randn(value.shape, generator=generator) * spread)
    return other


def agreement_with_random_weights(
    network: PatternNetwork, image: Tensor, quantitative: Tensor, pattern_index: int, *, seed: int
) -> float:
    """Correlation of the evidence maps before and after randomising the weights, -1..1; near 0 for an honest map.

    Source:
        The model parameter randomisation test of Adebayo et al. 2018.
    """
    maps = [
        gradient_evidence(candidate, image, quantitative, pattern_index)
        for candidate in (network, randomised(network, seed=seed))
    ]
    stacked = torch.stack([found.flatten() for found in maps if found is not None])
    if len(stacked) < 2 or bool((stacked.std(dim=1) == 0).any()):
        return 0.0
    return float(torch.corrcoef(stacked)[0, 1])


@dataclass(frozen=True)
class ShortcutCheck:
    """Where the image branch's answers come from.

    Attributes:
        left_without_lungs: How much answers still differ between scans once the lungs are hidden, as a share of how
            much they differ before. Near 0: the lungs alone speak. Near 1: something else does.
        moved_by_style: Mean change of a scan's probabilities (half the sum of absolute changes, 0..1) when its style
            changes and its disease does not.
    """

    left_without_lungs: float
    moved_by_style: float


@torch.no_grad()
def shortcut_check(
    network: PatternNetwork, images: Tensor, lungs: Tensor, quantitative: Tensor, restyle: Callable[[Tensor], Tensor]
) -> ShortcutCheck:
    """Hide the lungs, then change the scanner's style, and see what becomes of the image branch's answers.

    Args:
        network: In evaluation mode; sees images.
        images: Shape (B, C, I, J, K), several scans of different patterns.
        lungs: Shape (B, 1, I, J, K), 1 inside.
        quantitative: Shape (B, Q).
        restyle: Another kernel or dose for the same scans, (B, C, I, J, K) -> the same.
    """

    def answers(values: Tensor) -> Tensor:
        return torch.softmax(network(values, quantitative)["branch_logits"][:, 0].float(), dim=1)  # (B, 4)

    whole, hidden, styled = answers(images), answers(images * (lungs <= 0)), answers(restyle(images))
    spread = [float(found.std(dim=0).mean()) for found in (whole, hidden)]
    return ShortcutCheck(
        left_without_lungs=spread[1] / max(spread[0], 1e-6),
        moved_by_style=float((styled - whole).abs().sum(dim=1).mean() / 2),
    )
