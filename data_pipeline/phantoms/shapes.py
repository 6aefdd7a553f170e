"""Signed distances of simple shapes, mm, negative inside. First-order distances: exact near the surface only."""

from __future__ import annotations

import numpy as np

from data_pipeline.phantoms.grid import Field

FAR_MM = np.float32(200.0)  # distances are cut here; nothing looks further than that
SQUARE_SHARE = np.float32(0.3)  # share of the fourth power in a superellipse: 0 an ellipse, 1 nearly a box


def superellipse(x: Field, y: Field, half_x: Field | float, half_y: Field | float) -> Field:
    """Signed distance to a superellipse in the axial plane.

    The implicit function is (1 - s)(X^2 + Y^2) + s(X^4 + Y^4) - 1 with X = x / half_x; the distance is the function
    over the length of its gradient. Only sums, products and a root: equal bits on every processor.
    """
    scaled_x, scaled_y = x / half_x, y / half_y
    square_x, square_y = scaled_x * scaled_x, scaled_y * scaled_y
    value = (1 - SQUARE_SHARE) * (square_x + square_y) + SQUARE_SHARE * (square_x * square_x + square_y * square_y)
    slope_x = scaled_x * (2 * (1 - SQUARE_SHARE) + 4 * SQUARE_SHARE * square_x) / half_x
    slope_y = scaled_y * (2 * (1 - SQUARE_SHARE) + 4 * SQUARE_SHARE * square_y) / half_y
    slope = np.sqrt(slope_x * slope_x + slope_y * slope_y)
    return np.clip((value - 1) / np.maximum(slope, np.float32(1e-3)), -FAR_MM, FAR_MM).astype(np.float32, copy=False)


def ellipsoid(offsets: tuple[Field, Field, Field], radii_mm: tuple[float, float, float]) -> Field:
    """Signed distance to an ellipsoid.

    Args:
        offsets: (z, y, x) from its centre, mm.
        radii_mm: (z, y, x) half axes, mm.
    """
    value: Field = np.zeros(1, np.float32)
    slope: Field = np.zeros(1, np.float32)
    for offset, radius in zip(offsets, radii_mm, strict=True):
        scaled = offset / np.float32(radius)
        value = value + scaled * scaled
        slope = slope + (scaled / np.float32(radius)) ** 2
    distance = (value - 1) / np.maximum(2 * np.sqrt(slope), np.float32(1e-3))
    return np.asarray(np.clip(distance, -FAR_MM, FAR_MM).astype(np.float32, copy=False))


def circle(x: Field, y: Field, radius_mm: Field | float) -> Field:
    """Signed distance to a circle (a cylinder along z where x and y do not depend on z)."""
    return np.asarray((np.sqrt(x * x + y * y) - radius_mm).astype(np.float32, copy=False))


def coverage(distance: Field, width_mm: float) -> Field:
    """Share of a voxel inside a surface: 1 deep inside, 0 outside, a ramp of ``width_mm`` across the surface."""
    return np.clip(np.float32(0.5) - distance / np.float32(width_mm), 0, 1)
