"""Where voxels are: a 4 x 4 ijk-to-RAS map with named properties. LPS lives in the DICOM reader and writer only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

AXIS_NAMES = (("L", "R"), ("P", "A"), ("I", "S"))  # (negative, positive) end of each RAS axis


@dataclass(frozen=True, eq=False)
class Affine:
    """Voxel index (i, j, k) to patient coordinates, RAS+, mm.

    Attributes:
        matrix: Shape (4, 4), float64, last row (0, 0, 0, 1), invertible.

    Raises:
        ValueError: On any other shape, a non-finite entry or a singular matrix.
    """

    matrix: FloatArray

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"an affine is a finite 4 x 4 matrix, found shape {matrix.shape}")
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
            raise ValueError("an affine must be invertible; two axes coincide or a spacing is zero")
        matrix = matrix.copy()
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along i, j, k, mm."""
        lengths = np.linalg.norm(self.matrix[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """RAS position of the centre of voxel (0, 0, 0), mm."""
        return float(self.matrix[0, 3]), float(self.matrix[1, 3]), float(self.matrix[2, 3])

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel, mm^3."""
        return float(abs(np.linalg.det(self.matrix[:3, :3])))

    @cached_property
    def nearest_axes(self) -> tuple[tuple[int, int], ...]:
        """For i, j, k: the RAS axis (0, 1, 2) it runs along most, and the direction (+1 or -1)."""
        cosines = self.matrix[:3, :3] / np.linalg.norm(self.matrix[:3, :3], axis=0)
        remaining, axes = {0, 1, 2}, [(0, 1)] * 3
        for voxel_axis in np.argsort(-np.abs(cosines).max(axis=0)):
            world_axis = max(remaining, key=lambda axis: abs(cosines[axis, voxel_axis]))
            remaining.discard(world_axis)
            axes[voxel_axis] = (world_axis, 1 if cosines[world_axis, voxel_axis] >= 0 else -1)
        return tuple(axes)

    @property
    def orientation(self) -> str:
        """Axis names such as ``"RAS"`` or ``"LPS"``: the end towards which i, j, k grow."""
        return "".join(AXIS_NAMES[axis][direction > 0] for axis, direction in self.nearest_axes)

    @classmethod
    def from_spacing(
        cls, spacing_mm: tuple[float, float, float], origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> Affine:
        """An axis-aligned RAS affine."""
        matrix = np.diag([*spacing_mm, 1.0])
        matrix[:3, 3] = origin_mm
        return cls(matrix)
