"""Turn the volume so that i, j, k run to the right, front and head. Views only: no voxel is copied."""

from __future__ import annotations

from typing import Any

import numpy as np
from monai.transforms.transform import Transform
from numpy.typing import NDArray

from data_pipeline.transforms.registry import TRANSFORMS, NoParams
from domain.affine import Affine
from domain.batch_keys import AFFINE, VOLUME


def to_ras(voxels: NDArray[np.int16], affine: Affine) -> tuple[NDArray[np.int16], Affine]:
    """Permute and flip axes to the nearest RAS order.

    Args:
        voxels: Shape (I, J, K).
        affine: ijk to RAS mm.

    Returns:
        A view of the voxels and the affine of the view. Every voxel stays where it was in the patient.
    """
    source_of = {world: (axis, direction) for axis, (world, direction) in enumerate(affine.nearest_axes)}
    matrix = np.eye(4)
    matrix[:3, 3] = affine.matrix[:3, 3]
    order, flips = [], []
    for world in range(3):
        axis, direction = source_of[world]
        step = affine.matrix[:3, axis]
        order.append(axis)
        flips.append(slice(None, None, direction))
        matrix[:3, world] = step * direction
        if direction < 0:  # the new first voxel is the old last one
            matrix[:3, 3] += step * (voxels.shape[axis] - 1)
    return voxels.transpose(order)[tuple(flips)], Affine(matrix)


class OrientRas(Transform):
    """``VOLUME`` and ``AFFINE`` in RAS order."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Turn the source volume. Shape of ``VOLUME`` (1, I, J, K)."""
        voxels, affine = to_ras(data[VOLUME][0], Affine(data[AFFINE]))
        return data | {VOLUME: voxels[None], AFFINE: np.array(affine.matrix)}


@TRANSFORMS.register("orient_ras", version=1, params=NoParams)
def build_orient_ras(params: NoParams, *, device: str) -> OrientRas:
    """Turn to RAS."""
    return OrientRas()
