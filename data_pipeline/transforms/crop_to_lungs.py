"""Cut the network's image out around the lungs, before anything expensive touches it. Views only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from monai.transforms.transform import Transform
from numpy.typing import NDArray
from pydantic import Field

from data_pipeline.transforms.registry import TRANSFORMS
from domain.affine import Affine
from domain.batch_keys import AFFINE, IMAGE, IMAGE_AFFINE, IMAGE_MASK, LUNG_MASK, VOLUME
from domain.specs import Settings

Box = tuple[slice, slice, slice]


class CropToLungsParams(Settings):
    """How much is kept around the lungs."""

    margin_mm: float = Field(default=10.0, ge=0)


def lung_box(labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float], margin_mm: float) -> Box:
    """Box around all labelled voxels with a margin, inside the volume; the whole volume where none is labelled."""
    sides = []
    remaining = labels
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.nonzero(remaining.any(axis=others))[0]
        margin = math.ceil(margin_mm / spacing_mm[axis])
        size = labels.shape[axis]
        first, last = (int(filled[0]), int(filled[-1])) if filled.size else (0, size - 1)
        sides.append(slice(max(0, first - margin), min(size, last + 1 + margin)))
    return sides[0], sides[1], sides[2]


def shifted(affine: Affine, first: tuple[int, int, int]) -> Affine:
    """The affine of a box that starts at voxel ``first``."""
    matrix = np.array(affine.matrix)
    matrix[:3, 3] += matrix[:3, :3] @ np.asarray(first, dtype=np.float64)
    return Affine(matrix)


class CropToLungs(Transform):
    """``IMAGE``, ``IMAGE_MASK`` and ``IMAGE_AFFINE``: the box around ``LUNG_MASK``, still in HU and native voxels."""

    def __init__(self, margin_mm: float) -> None:
        self.margin_mm = margin_mm

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Cut; ``VOLUME`` and ``LUNG_MASK`` stay whole."""
        affine = Affine(data[AFFINE])
        labels = data[LUNG_MASK][0]
        box = lung_box(labels, affine.spacing_mm, self.margin_mm)
        first = (box[0].start, box[1].start, box[2].start)
        return data | {
            IMAGE: data[VOLUME][(slice(None), *box)],
            IMAGE_MASK: labels[box][None],
            IMAGE_AFFINE: np.array(shifted(affine, first).matrix),
        }


@TRANSFORMS.register("crop_to_lungs", version=1, params=CropToLungsParams)
def build_crop_to_lungs(params: CropToLungsParams, *, device: str) -> CropToLungs:
    """Cut around the lungs."""
    return CropToLungs(params.margin_mm)
