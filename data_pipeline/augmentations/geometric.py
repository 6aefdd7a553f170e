"""Small rotations, zooms and shifts: patients do not lie straight, and lungs differ in size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field

from data_pipeline.augmentations.registry import AUGMENTATIONS, BatchAugmentation, ChanceParams


class GeometricParams(ChanceParams):
    """Largest change each way."""

    rotation_degrees: float = Field(default=8.0, ge=0, le=45)
    zoom: float = Field(default=0.08, ge=0, lt=0.5)
    shift: float = Field(default=0.05, ge=0, lt=0.5, description="share of the field of view")


class Geometric(BatchAugmentation):
    """One affine map per scan, linear interpolation, air outside."""

    def __init__(self, params: GeometricParams) -> None:
        super().__init__(params.probability)
        self.params = params

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Map the scans."""
        theta = self.sample(image)
        grid = F.affine_grid(theta, list(image.shape), align_corners=False)
        return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def sample(self, image: torch.Tensor) -> torch.Tensor:
        """Random maps of normalised coordinates. Shape (B, 3, 4), in torch's order: last axis of the image first.

        Rotation is about the head-foot axis, in the axial plane. Lengths of the axes differ, so that it is made in
        voxels and scaled to normalised coordinates.
        """
        size = image.shape[0]
        angle = torch.empty(size, device=image.device).uniform_(-1, 1) * math.radians(self.params.rotation_degrees)
        zoom = 1 + torch.empty((size, 3), device=image.device).uniform_(-1, 1) * self.params.zoom
        shift = torch.empty((size, 3), device=image.device).uniform_(-2, 2) * self.params.shift
        aspect = image.shape[3] / image.shape[2]  # J over I
        theta = torch.zeros((size, 3, 4), device=image.device)
        theta[:, 0, 0] = zoom[:, 0]  # K
        theta[:, 1, 1] = torch.cos(angle) * zoom[:, 1]  # J
        theta[:, 1, 2] = -torch.sin(angle) * zoom[:, 2] / aspect
        theta[:, 2, 1] = torch.sin(angle) * zoom[:, 1] * aspect  # I
        theta[:, 2, 2] = torch.cos(angle) * zoom[:, 2]
        theta[:, :, 3] = shift
        return theta


@AUGMENTATIONS.register("geometric", version=1, params=GeometricParams)
def build_geometric(params: GeometricParams) -> Geometric:
    """Rotation, zoom and shift."""
    return Geometric(params)
