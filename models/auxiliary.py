"""What the image branch also learns to tell while it trains: quantitative CT, and extents that readers scored.

A few hundred labels are few for a 3D network; a dozen numbers per scan that follow from the image teach its features
faster. The head is dropped after training: no artefact holds it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLIP_SD = 3.0  # further out, a measure says "much" and no more
MIN_SPREAD = 1e-6


class AuxiliaryHead(nn.Module):
    """Linear on the pooled image features; targets standardised by the training rows.

    Args:
        num_features: F, width of the image features.
        targets: Auxiliary targets of the training rows, (N, E), NaN where unknown.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, num_features: int, targets: Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(num_features, targets.shape[1])
        centre = torch.nan_to_num(targets.nanmean(dim=0))
        spread = torch.nan_to_num((targets - centre).square().nanmean(dim=0).sqrt())
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer(
            "spread", torch.where(spread > MIN_SPREAD, spread, torch.ones_like(spread)), persistent=False
        )

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Mean smooth absolute difference over what is known, in standard deviations; 0 where nothing is.

        Args:
            features: Shape (B, F).
            targets: Shape (B, E), NaN where unknown.
        """
        known = targets.isfinite()
        wanted = torch.where(known, (targets - self.centre) / self.spread, 0.0).clamp(-CLIP_SD, CLIP_SD)
        losses = F.smooth_l1_loss(self.layer(features), wanted, reduction="none")
        return (losses * known).sum() / known.numel()
