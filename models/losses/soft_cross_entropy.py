"""Cross-entropy with soft labels (readers' votes), some of them missing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    mean_row_weight: float | None = None,
) -> Tensor:
    """Mean cross-entropy over the labelled rows.

    Args:
        logits: Shape (B, 4).
        target: Shape (B, 4), rows add up to 1, or are NaN for an unlabelled scan.
        label_smoothing: Share of each label spread evenly over the patterns, 0 <= share < 0.5.
        class_weights: Shape (4,), mean about 1; each row weighs as its label's classes do. None weighs all alike.
        mean_row_weight: Mean weight of a row (0 for unlabelled ones) over the whole training set. Given, the sum is
            divided by ``B * mean_row_weight``, so that the gradient of a batch is the mean of those of its parts:
            the same over two processes or two accumulated halves as over one batch. None divides by the batch's own.

    Returns:
        Scalar. 0, with zero gradients, where no row is labelled: such a batch still trains.
    """
    labelled = target.isfinite().all(dim=1)  # (B,)
    known = torch.where(labelled[:, None], target, torch.zeros_like(target))  # (B, 4)
    smooth = known * (1 - label_smoothing) + label_smoothing / target.shape[1]
    per_row = -(smooth * F.log_softmax(logits.float(), dim=1)).sum(dim=1)  # (B,)
    weight = labelled.to(per_row.dtype)
    if class_weights is not None:
        weight = weight * (known * class_weights).sum(dim=1)
    total = weight.sum().clamp_min(1e-6) if mean_row_weight is None else len(weight) * mean_row_weight
    return (per_row * weight).sum() / total


def balanced_class_weights(target: Tensor, *, strength: float) -> Tensor:
    """Weights against class imbalance: inverse frequency to the power ``strength``, mean 1 over labelled rows.

    Args:
        target: Shape (N, 4), NaN rows for unlabelled scans.
        strength: 0 for none, 1 for full balance. Half balances without letting a rare class's few scans dominate.

    Returns:
        Shape (4,). A class without any scan gets the weight of the rarest one present.
    """
    known = target[target.isfinite().all(dim=1)]
    if len(known) == 0:
        return torch.ones(target.shape[1])
    share = known.mean(dim=0)
    rarest = share[share > 0].min()
    weights = share.clamp_min(float(rarest)).pow(-strength)
    return weights / (share * weights).sum()
