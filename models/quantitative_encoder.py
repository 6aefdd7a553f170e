"""Quantitative CT to features: standardised, missing values flagged. How the measures are made is not here."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLIP_SD = 5.0  # standardised values beyond it say "off the scale" and no more


class QuantitativeEncoder(nn.Module):
    """Standardises with the training cohort's centre and scale, then a small perceptron.

    A missing measure becomes 0 (the training median) beside a flag that says it is missing.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, num_quantities: int, num_features: int, dropout: float) -> None:
        super().__init__()
        self.num_features = num_features
        self.register_buffer("centre", torch.zeros(num_quantities))
        self.register_buffer("scale", torch.ones(num_quantities))
        self.layers = nn.Sequential(
            nn.Linear(2 * num_quantities, num_features),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(num_features, num_features),
        )

    def fit_scaling(self, quantitative: Tensor) -> None:
        """Take centre and scale from training rows: median and 1.48 x median absolute deviation.

        Args:
            quantitative: Shape (N, Q), physical units, NaN where unknown. A column that does not vary, or is
                never known, keeps scale 1.
        """
        known = quantitative.isfinite()
        centre = torch.nan_to_num(quantitative.nanmedian(dim=0).values)
        deviation = torch.where(known, (quantitative - centre).abs(), torch.nan)
        spread = 1.4826 * torch.nan_to_num(deviation.nanmedian(dim=0).values)
        # Shares that are 0 in most patients have a median deviation of 0; their mean deviation still has a size.
        spread = torch.where(spread > 0, spread, 1.2533 * torch.nan_to_num(deviation.nanmean(dim=0)))
        self.centre.copy_(centre)
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def forward(self, quantitative: Tensor) -> Tensor:
        """Shape (B, Q), NaN allowed -> (B, num_features)."""
        known = quantitative.isfinite()  # (B, Q)
        filled = torch.where(known, quantitative, self.centre)
        standardised = ((filled - self.centre) / self.scale).clamp(-CLIP_SD, CLIP_SD)  # (B, Q)
        features: Tensor = self.layers(torch.cat([standardised, (~known).to(standardised.dtype)], dim=1))
        return features
