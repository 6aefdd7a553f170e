"""Left and right exchanged. Patterns do not depend on the side; heart and liver then lie on the wrong one."""

from __future__ import annotations

import torch

from data_pipeline.augmentations.registry import AUGMENTATIONS, BatchAugmentation, ChanceParams


class SideFlipParams(ChanceParams):
    """Chance of a flip. 0 keeps the anatomy."""


class SideFlip(BatchAugmentation):
    """Mirror images. No quantity a network sees depends on the side."""

    def __init__(self, params: SideFlipParams) -> None:
        super().__init__(params.probability)

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Mirrored scans."""
        return image.flip(2)


@AUGMENTATIONS.register("side_flip", version=1, params=SideFlipParams)
def build_side_flip(params: SideFlipParams) -> SideFlip:
    """Mirror."""
    return SideFlip(params)
