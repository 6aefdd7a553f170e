"""Add the lung mask and what its checks found. The search itself is in ``data_pipeline/lungs``."""

from __future__ import annotations

from typing import Any

from monai.transforms.transform import Transform

from data_pipeline.lungs import find_lungs
from data_pipeline.transforms.registry import TRANSFORMS, NoParams
from domain.affine import Affine
from domain.batch_keys import AFFINE, FINDINGS, LUNG_MASK, VOLUME


class FindLungs(Transform):
    """``LUNG_MASK`` on the native grid; findings about it are added to ``FINDINGS``."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Find the lungs of an RAS volume.

        Raises:
            StudyError: ``mask_failed``: no lungs.
        """
        mask = find_lungs(data[VOLUME][0], Affine(data[AFFINE]).spacing_mm)
        return data | {LUNG_MASK: mask.labels[None], FINDINGS: [*data[FINDINGS], *mask.findings]}


@TRANSFORMS.register("lung_mask", version=2, params=NoParams)
def build_lung_mask(params: NoParams, *, device: str) -> FindLungs:
    """Find lungs without weights, on the CPU."""
    return FindLungs()
