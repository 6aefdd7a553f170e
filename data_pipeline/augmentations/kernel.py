"""Reconstruction kernels: softer or sharper in the axial plane."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field

from data_pipeline.augmentations.registry import AUGMENTATIONS, BatchAugmentation, ChanceParams, uniform


class KernelParams(ChanceParams):
    """Strength of the unsharp mask: -1 replaces a scan by its local mean, above 0 sharpens."""

    softest: float = Field(default=-0.8, ge=-1, le=0)
    sharpest: float = Field(default=0.8, ge=0, le=3)


class Kernel(BatchAugmentation):
    """Unsharp mask of random sign."""

    changes_tissue = False

    def __init__(self, params: KernelParams) -> None:
        super().__init__(params.probability)
        self.params = params

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Softer or sharper scans."""
        strength = uniform(image, self.params.softest, self.params.sharpest)
        padded = F.pad(image, (0, 0, 1, 1, 1, 1), mode="replicate")
        mean = F.avg_pool3d(padded, kernel_size=(3, 3, 1), stride=1)
        return (image + strength * (image - mean)).clamp_(0.0, 1.0)


@AUGMENTATIONS.register("kernel", version=1, params=KernelParams)
def build_kernel(params: KernelParams) -> Kernel:
    """Softer or sharper."""
    return Kernel(params)
