"""Add the lung mask and what its checks found. The search itself is in ``data_pipeline/lungs``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from monai.transforms.transform import Transform
from numpy.typing import NDArray

from data_pipeline.lungs import LungMask, find_lungs
from data_pipeline.lungs.external_masks import Method, lungs_from, mask_source
from data_pipeline.transforms.registry import TRANSFORMS
from domain.affine import Affine
from domain.batch_keys import AFFINE, FINDINGS, LUNG_MASK, VOLUME
from domain.specs import Settings

Finder = Callable[[NDArray[np.int16], tuple[float, float, float]], LungMask]


class LungMaskParams(Settings):
    """Who finds the lungs.

    Attributes:
        method: ``search`` needs no weights; ``lungmask`` and ``totalsegmentator`` are packages of their own.
        weights: Where their weights are; nothing is downloaded.
        fall_back: Search without weights where a package finds no lungs.
    """

    method: Method = "search"
    weights: str | None = None
    fall_back: bool = True


class FindLungs(Transform):
    """``LUNG_MASK`` on the native grid; findings about it are added to ``FINDINGS``."""

    def __init__(self, finder: Finder) -> None:
        self.finder = finder

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Find the lungs of an RAS volume.

        Raises:
            StudyError: ``mask_failed``: no lungs.
        """
        mask = self.finder(data[VOLUME][0], Affine(data[AFFINE]).spacing_mm)
        return data | {LUNG_MASK: mask.labels[None], FINDINGS: [*data[FINDINGS], *mask.findings]}


@TRANSFORMS.register("lung_mask", version=2, params=LungMaskParams)
def build_lung_mask(params: LungMaskParams, *, device: str) -> FindLungs:
    """Find lungs; the search without weights runs on the CPU.

    Raises:
        SettingsError: A package or its weights are missing.
    """
    if params.method == "search":
        return FindLungs(find_lungs)
    source = mask_source(params.method, params.weights, device)
    return FindLungs(partial(lungs_from, source, params.method, fall_back=params.fall_back))
