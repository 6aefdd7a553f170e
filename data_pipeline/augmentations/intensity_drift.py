"""Calibration drift and inspiration: all densities shifted and stretched a little."""

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


class IntensityDriftParams(DensityParams):
    """Largest change each way."""

    offset_hu: float = Field(default=20.0, ge=0)
    gain: float = Field(default=0.03, ge=0, lt=0.5)


class IntensityDrift(BatchAugmentation):
    """Offset and gain per scan."""

    changes_tissue = False

    def __init__(self, params: IntensityDriftParams) -> None:
        super().__init__(params.probability)
        self.params = params

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Drifted scans; a channel without density stays as it is."""
        per_hu = units_per_hu(self.params.hu_per_unit, image)
        offset = uniform(image, -self.params.offset_hu, self.params.offset_hu) * per_hu
        gain = 1 + uniform(image, -self.params.gain, self.params.gain) * (per_hu > 0)
        return (image * gain + offset).clamp_(0.0, 1.0)


@AUGMENTATIONS.register("intensity_drift", version=1, params=IntensityDriftParams)
def build_intensity_drift(params: IntensityDriftParams) -> IntensityDrift:
    """Offset and gain."""
    return IntensityDrift(params)
