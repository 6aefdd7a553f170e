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
    value: Field = np.full((1, 1, 1), -1, np.float32)
    slope: Field = np.zeros((1, 1, 1), np.float32)
    for offset, half in ((x, half_x), (y, half_y)):
        # What depends on one coordinate only stays small until the two are added.
        scaled = np.asarray(offset / half, np.float32)
        square = scaled * scaled
        value = value + ((1 - SQUARE_SHARE) * square + SQUARE_SHARE * square * square)
        gradient = scaled * (2 * (1 - SQUARE_SHARE) + 4 * SQUARE_SHARE * square) / half
        slope = slope + gradient * gradient
    return _first_order(np.asarray(value, np.float32), np.asarray(slope, np.float32))


def _first_order(value: Field, squared_slope: Field) -> Field:
    """Distance from an implicit function and the square of its gradient; both are overwritten."""
    np.sqrt(squared_slope, out=squared_slope)
    np.maximum(squared_slope, np.float32(1e-3), out=squared_slope)
    np.divide(value, squared_slope, out=value)
    return np.asarray(np.clip(value, -FAR_MM, FAR_MM, out=value))


def ellipsoid(offsets: tuple[Field, Field, Field], radii_mm: tuple[float, float, float]) -> Field:
    """Signed distance to an ellipsoid.

    Args:
        offsets: (z, y, x) from its centre, mm.
        radii_mm: (z, y, x) half axes, mm.
    """
    value: Field = np.full((1, 1, 1), -1, np.float32)
    slope: Field = np.zeros((1, 1, 1), np.float32)
    for offset, radius in zip(offsets, radii_mm, strict=True):
        scaled = np.asarray(offset / np.float32(radius), np.float32)
        value = value + scaled * scaled
        slope = slope + (scaled * np.float32(2 / radius)) ** 2
    return _first_order(np.asarray(value, np.float32), np.asarray(slope, np.float32))


def circle(x: Field, y: Field, radius_mm: Field | float) -> Field:
    """Signed distance to a circle (a cylinder along z where x and y do not depend on z)."""
    return np.asarray((np.sqrt(x * x + y * y) - radius_mm).astype(np.float32, copy=False))


def coverage(distance: Field, width_mm: float) -> Field:
    """Share of a voxel inside a surface: 1 deep inside, 0 outside, a ramp of ``width_mm`` across the surface."""
    return np.clip(np.float32(0.5) - distance / np.float32(width_mm), 0, 1)


def smooth_step(value: Field) -> Field:
    """0 below 0, 1 above 1, a smooth ramp between; one half at one half."""
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))
