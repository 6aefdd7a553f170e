"""What every reader hands over: voxels and affine before their content is judged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.affine import Affine
from domain.volume import Acquisition


@dataclass(frozen=True, eq=False)
class RawVolume:
    """A volume before its content is judged.

    Attributes:
        voxels: HU, int16, shape (I, J, K).
        affine: ijk to RAS, mm.
        acquisition: Facts of the header.
        lowest_hu: Lowest value before clipping.
        num_below_air: Voxels that were clipped to air, or were no number.
        content_digest: Digest of voxels and affine.
    """

    voxels: NDArray[np.int16]
    affine: Affine
    acquisition: Acquisition
    lowest_hu: float
    num_below_air: int
    content_digest: str


def digest_volume(checksums: Sequence[int], shape: Sequence[int], affine: Affine) -> str:
    """Digest of a volume from the checksums of its slices: equal for equal scans."""
    text = f"{tuple(shape)} {np.round(affine.matrix, 4).tolist()} {list(checksums)}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
