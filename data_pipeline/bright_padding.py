"""Padding brighter than tissue: found where it hides and set to air. Padding below air is clipped by every reader."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domain.volume import AIR_HU

BRIGHT_HU = 1500  # outside the field of view nothing real is brighter than the table, which is plastic
MIN_SHARE_OF_SLICES = 0.5


def remove_bright_padding(voxels: NDArray[np.int16]) -> tuple[int, int]:
    """Set padding that is bright to air, in place.

    Some writers fill the outside of the round field of view with the largest value, or store a negative padding value
    as unsigned. It is told by all four corners of most slices holding one and the same bright value.

    Args:
        voxels: HU, int16, shape (I, J, K); changed only where padding is found.

    Returns:
        The value, and how many voxels held it; (0, 0) where there is none.
    """
    corners = np.stack([voxels[i, j] for i in (0, -1) for j in (0, -1)])  # (4, K)
    is_constant = (corners == corners[0]).all(axis=0) & (corners[0] > BRIGHT_HU)
    if is_constant.mean() < MIN_SHARE_OF_SLICES:
        return 0, 0
    values, counts = np.unique(corners[0][is_constant], return_counts=True)
    padding = int(values[counts.argmax()])
    is_padding = voxels == padding
    num_padding = int(np.count_nonzero(is_padding))
    voxels[is_padding] = AIR_HU
    return padding, num_padding
