"""Registry of deterministic preprocessing steps. Random steps have their own registry."""

from __future__ import annotations

from monai.transforms.transform import Transform

from domain.registry import Registry
from domain.specs import Settings

TRANSFORMS: Registry[Transform] = Registry("preprocessing step")


class PointwiseTransform(Transform):
    """A cheap step that maps each voxel by itself: a cache stores what comes before it."""


class NoParams(Settings):
    """A step without parameters."""
