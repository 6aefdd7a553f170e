"""Image noise of a lower dose: Gaussian in HU, the same in every channel."""

from __future__ import annotations

import torch
from pydantic import Field

from data_pipeline.augmentations.registry import (
    AUGMENTATIONS,
    BatchAugmentation,
    DensityParams,
    uniform,
    units_per_hu,
)


class NoiseParams(DensityParams):
    """Largest standard deviation on the network's grid, HU."""

    max_sd_hu: float = Field(default=30.0, ge=0)


class Noise(BatchAugmentation):
    """Adds noise."""

    changes_tissue = False

    def __init__(self, params: NoiseParams) -> None:
        super().__init__(params.probability)
        self.params = params

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Noisier scans."""
        sd_hu = uniform(image, 0.0, self.params.max_sd_hu)
        noise_hu = torch.randn_like(image[:, :1]) * sd_hu  # (B, 1, I, J, K)
        return (image + noise_hu * units_per_hu(self.params.hu_per_unit, image)).clamp_(0.0, 1.0)


@AUGMENTATIONS.register("noise", version=1, params=NoiseParams)
def build_noise(params: NoiseParams) -> Noise:
    """Noise."""
    return Noise(params)
