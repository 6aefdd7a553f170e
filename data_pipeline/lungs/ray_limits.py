"""Where one lung begins and ends on each ray, also where consolidation hides it. Maps (K', NUM_ANGLES), mm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.lungs.chest_wall import NUM_ANGLES, FloatMap
from data_pipeline.lungs.coarse_grid import CoarseGrid

MIN_DENT_MM = 10.0  # lung that ends further than this from the expected pleura is dense beyond
BUMP_MM = 44.0  # along the body and
BUMP_DEGREES = 40.0  # around it: a narrower rise of the mediastinal surface may be dense lung
MAX_HIDDEN_MM = 50.0  # along the body, lung without any air is bridged up to this length
MAX_HIDDEN_DEGREES = 50.0  # and around it up to this angle
SYMMETRIC_TOP_MM = 80.0  # this far below its top one lung tells where the other should be


def without_bumps(inner: FloatMap, other: FloatMap, grid: CoarseGrid) -> FloatMap:
    """The mediastinal surface without narrow bumps that the other lung does not mirror: those are dense lung.

    The heart is wider than the window, and both hila look alike.
    """
    window = (max(3, round(BUMP_MM / grid.spacing_mm[2]) | 1), round(BUMP_DEGREES * NUM_ANGLES / 360) | 1)
    opened = ndimage.grey_opening(np.nan_to_num(inner, nan=1e4), size=window, mode=("nearest", "wrap"))
    level = np.fmax(opened, np.nan_to_num(other, nan=np.inf) + np.float32(4.0))
    return np.asarray(np.minimum(inner, level), dtype=np.float32)


def top_of(inner: FloatMap, grid: CoarseGrid) -> FloatMap:
    """The part of a map near the top of its lung; NaN below, where heart and liver differ between the sides."""
    top = np.full_like(inner, np.nan)
    slices = np.nonzero(np.isfinite(inner).any(axis=1))[0]
    if slices.size:
        first = max(int(slices[0]), int(slices[-1]) - round(SYMMETRIC_TOP_MM / grid.spacing_mm[2]))
        top[first : slices[-1]] = inner[first : slices[-1]]
    return top


def ray_limits(
    inner: FloatMap, outer: FloatMap, pleura: FloatMap, other: FloatMap, grid: CoarseGrid
) -> tuple[FloatMap, FloatMap]:
    """Inner and outer radius of one lung on each ray, mm; an empty range where the ray has no such lung.

    Args:
        inner: Innermost lung of this side.
        outer: Outermost lung of this side.
        pleura: Where lung should end.
        other: Innermost lung of the other side, mirrored, near its top.
        grid: The coarse volume.
    """
    shown = np.isfinite(outer)
    window = (2 * round(MAX_HIDDEN_MM / 2 / grid.spacing_mm[2]) + 1, 2 * round(MAX_HIDDEN_DEGREES / 4) + 1)
    hidden = _closed(shown, window) & ~shown
    inner = np.where(hidden, _interpolated(inner, window), inner)
    like_other = ~shown & ~hidden & np.isfinite(other)
    hidden |= like_other
    inner = np.where(like_other, other, inner)
    envelope = ndimage.maximum_filter(np.nan_to_num(outer, nan=-np.inf), size=window, mode=("nearest", "wrap"))
    pleura = np.minimum(pleura, envelope + np.float32(MIN_DENT_MM))  # breast and shoulder lie beyond gaps of the ribs
    is_dent = hidden | (pleura - outer > MIN_DENT_MM)
    outer = np.where(is_dent & np.isfinite(pleura), pleura, outer)
    return np.nan_to_num(inner, nan=np.inf), np.nan_to_num(outer, nan=-np.inf)


def _closed(shown: NDArray[np.bool_], window: tuple[int, int]) -> NDArray[np.bool_]:
    """Rays between rays with lung, around the body (which closes on itself) and along it."""
    padded = np.pad(shown.astype(np.uint8), ((window[0], window[0]), (0, 0)))
    closed = ndimage.grey_closing(padded, size=window, mode=("constant", "wrap"))
    middle: NDArray[np.bool_] = closed[window[0] : -window[0]] > 0
    return middle


def _interpolated(values: FloatMap, window: tuple[int, int]) -> FloatMap:
    """Mean of the known neighbours, weighted by nearness."""
    known = np.isfinite(values)
    sigma = [size / 3 for size in window]
    mode = ("nearest", "wrap")
    total = ndimage.gaussian_filter(np.where(known, values, 0.0).astype(np.float32), sigma, mode=mode)
    weight = ndimage.gaussian_filter(known.astype(np.float32), sigma, mode=mode)
    return np.asarray(total / np.maximum(weight, 1e-6), dtype=np.float32)
