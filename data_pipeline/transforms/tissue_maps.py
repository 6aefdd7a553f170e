"""Where quantitative CT saw which finding, on the network's grid: texture that the grid is too coarse to show.

A mesh of fine lines is a grey haze at 6 mm. The classes are read on bins of 1.5 mm, corrected for kernel and noise, so
that a network on a coarse grid still sees where reticulation, ground glass and consolidation lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.transforms.transform import Transform
from numpy.typing import NDArray
from pydantic import Field, field_validator

from data_pipeline.quantitative import CLASSES, TissueMap, has_class
from data_pipeline.transforms.registry import TRANSFORMS
from domain.affine import Affine
from domain.batch_keys import AFFINE, IMAGE, IMAGE_AFFINE, IMAGE_TISSUE, TISSUE
from domain.specs import Settings


class TissueMapsParams(Settings):
    """Classes of quantitative CT, in channel order."""

    classes: tuple[str, ...] = Field(default=("ggo", "reticulation", "consolidation", "honeycombing"), min_length=1)

    @field_validator("classes")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(names) - set(CLASSES))
        if unknown:
            raise ValueError(
                f"no class of quantitative CT is called {', '.join(unknown)}; there are {', '.join(CLASSES)}"
            )
        if len(set(names)) < len(names):
            raise ValueError("a class stands twice")
        return names


def overlaps(num_cells: int, first: float, size: float, num_bins: int) -> NDArray[np.float32]:
    """Share of each cell of the network's grid that each bin covers, along one axis.

    Args:
        num_cells: Cells of the grid.
        first: Where the first cell begins, in bins.
        size: Of a cell, in bins.
        num_bins: Bins; what lies beyond them covers nothing.

    Returns:
        Shape (num_cells, num_bins); rows add up to the share of the cell that lies within the bins.
    """
    edges = first + size * np.arange(num_cells + 1)
    bins = np.arange(num_bins)
    covered = np.minimum(edges[1:, None], bins + 1) - np.maximum(edges[:-1, None], bins)
    return np.asarray(np.maximum(covered, 0.0) / size, dtype=np.float32)


class TissueMaps(Transform):
    """``IMAGE_TISSUE``: percent of every voxel of ``IMAGE`` that carries each class, (T, I', J', K') uint8."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Comes after the steps that fix the network's grid, before ``window``. Grids are parallel: both are RAS."""
        tissue: TissueMap = data[TISSUE]
        source, grid = Affine(data[AFFINE]), Affine(data[IMAGE_AFFINE])
        # centre of the first cell, in native voxels
        centre = np.linalg.solve(source.matrix, grid.matrix[:, 3])[:3]
        weights = []
        for axis in range(3):
            size = grid.spacing_mm[axis] / source.spacing_mm[axis]
            first = centre[axis] + 0.5 - size / 2 - tissue.first_voxel[axis]
            factor, num_cells = tissue.factors[axis], data[IMAGE].shape[axis + 1]
            weights.append(overlaps(num_cells, first / factor, size / factor, tissue.bits.shape[axis]))
        along_i, along_j, along_k = weights
        maps = []
        for name in self.classes:
            carries = has_class(tissue.bits, name).astype(np.float32)
            share = np.einsum("ai,ijk->ajk", along_i, carries, optimize=True)
            maps.append(np.einsum("bj,ajk,ck->abc", along_j, share, along_k, optimize=True))
        percent = torch.from_numpy(np.stack(maps)).mul_(100.0).round_().clamp_(0, 100).to(torch.uint8)
        return data | {IMAGE_TISSUE: percent.to(data[IMAGE].device)}


@TRANSFORMS.register("tissue_maps", version=1, params=TissueMapsParams)
def build_tissue_maps(params: TissueMapsParams, *, device: str) -> TissueMaps:
    """Maps on the CPU, where quantitative CT is."""
    return TissueMaps(params.classes)
