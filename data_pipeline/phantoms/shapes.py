"""Signed distances of simple shapes, mm, negative inside. First-order distances: exact near the surface only."""

from __future__ import annotations

import numpy as np

from data_pipeline.phantoms.grid import Field

FAR_MM = np.float32(200.0)  # distances are cut here; nothing looks further than that
SQUARE_SHARE = np.float32(0.5)  # share of the fourth power in a superellipse: 0 an ellipse, 1 nearly a box
SMALLEST = np.float32(1e-6)


def superellipse(
    x: Field, y: Field, half_x: Field | float, half_y: Field | float, square: np.float32 = SQUARE_SHARE
) -> Field:
    """Signed distance to a superellipse in the axial plane.

    With X = x / half_x the norm N = ((1 - s)(X^2 + Y^2)^2 + s(X^4 + Y^4))^(1/4) is 1 on the curve and grows linearly
    outwards; the distance is N - 1 over the length of its gradient. Only sums, products, quotients and roots: equal
    bits on every processor.
    """
    first, other = np.asarray(x / half_x, np.float32), np.asarray(y / half_y, np.float32)
    square_x, square_y = first * first, other * other
    both = (1 - square) * (square_x + square_y)
    fourth = both * (square_x + square_y) + square * (square_x * square_x + square_y * square_y)
    slope_x = (both + square * square_x) * (first / half_x)
    slope_y = (both + square * square_y) * (other / half_y)
    slope = np.sqrt(slope_x * slope_x + slope_y * slope_y)
    root = np.sqrt(fourth)
    return _limited((root - np.sqrt(root)) * root, slope)


def _limited(value: Field, slope: Field) -> Field:
    """A distance from an implicit function times the length of its gradient; both are overwritten."""
    np.maximum(slope, SMALLEST, out=slope)
    np.divide(value, slope, out=value)
    return np.asarray(np.clip(value, -FAR_MM, FAR_MM, out=value), np.float32)


def ellipsoid(offsets: tuple[Field, Field, Field], radii_mm: tuple[float, float, float]) -> Field:
    """Signed distance to an ellipsoid.

    Args:
        offsets: (z, y, x) from its centre, mm.
        radii_mm: (z, y, x) half axes, mm.
    """
    value: Field = np.zeros((1, 1, 1), np.float32)
    slope: Field = np.zeros((1, 1, 1), np.float32)
    for offset, radius in zip(offsets, radii_mm, strict=True):
        scaled = np.asarray(offset / np.float32(radius), np.float32)
        value = value + scaled * scaled
        slope = slope + (scaled * np.float32(1 / radius)) ** 2
    return _limited(value - np.sqrt(value), np.sqrt(slope))


def circle(x: Field, y: Field, radius_mm: Field | float) -> Field:
    """Signed distance to a circle (a cylinder along z where x and y do not depend on z)."""
    return np.asarray((np.sqrt(x * x + y * y) - radius_mm).astype(np.float32, copy=False))


def blend(one: Field, other: Field, width_mm: float) -> Field:
    """Union of two shapes whose seam is rounded over ``width_mm``, as skin and fat round it."""
    share = np.clip(np.float32(0.5) + (other - one) * np.float32(0.5 / width_mm), 0, 1)
    return np.asarray(other + share * (one - other) - np.float32(width_mm) * share * (1 - share))


def capsule(offsets: tuple[Field, Field, Field], end_mm: tuple[float, float, float], radius_mm: float) -> Field:
    """Signed distance to a straight tube with round ends.

    Args:
        offsets: (z, y, x) from its start, mm.
        end_mm: (z, y, x) of its end from its start, mm.
        radius_mm: Radius.
    """
    length = np.float32(sum(part * part for part in end_mm))
    along = sum(offset * np.float32(part / length) for offset, part in zip(offsets, end_mm, strict=True))
    along = np.clip(np.asarray(along), 0, 1)
    squared = sum((offset - along * np.float32(part)) ** 2 for offset, part in zip(offsets, end_mm, strict=True))
    return np.asarray(np.sqrt(np.asarray(squared)) - np.float32(radius_mm))


def bump(value: Field, centre: float, half_width: float) -> Field:
    """1 at the centre, falling as a parabola to 0 at ``half_width`` from it."""
    scaled = (value - np.float32(centre)) * np.float32(1 / half_width)
    return np.asarray(np.clip(1 - scaled * scaled, 0, 1))


def coverage(distance: Field, width_mm: float) -> Field:
    """Share of a voxel inside a surface: 1 deep inside, 0 outside, a ramp of ``width_mm`` across the surface."""
    return np.clip(np.float32(0.5) - distance / np.float32(width_mm), 0, 1)


def smooth_step(value: Field) -> Field:
    """0 below 0, 1 above 1, a smooth ramp between; one half at one half."""
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))
