"""How sharp a scan is in the axial plane, read from the edge of its lungs; the kernel's name says it only roughly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_pipeline.lungs.coarse_grid import BoolArray, Spacing

REACH_MM = 6.0  # half of a profile across the pleura
PLATEAU_MM = 3.0  # its ends, which give the densities on both sides
MIN_STEP_HU = 500.0  # aerated lung against chest wall; less is diseased or blurred by another edge
MIN_PROFILES = 100  # fewer say nothing
SHARPEST_SHARE = 0.5  # slanting edges only look blurred: the sharper half tells
SLICE_STEP_MM = 4.0  # neighbouring slices say the same
MIDDLE = (0.2, 0.8)  # of the height: there the pleura stands upright
WAVELENGTH_MM = 6.0  # of the lines that matter: the mesh of reticulation is 3-8 mm wide
EDGE_STEP_MM = 0.25  # sampling of the mean edge
EDGE_REACH_MM = 3.0  # what a kernel does to an edge happens within this distance
USUAL_VARIANCE_MM2 = 0.3  # between sharp (0) and soft (0.7) kernels


def blur_variance_mm2(voxels: NDArray[np.int16], labels: NDArray[np.uint8], spacing_mm: Spacing) -> float:
    """Variance of the Gaussian that dampens waves of ``WAVELENGTH_MM`` in the plane as the scanner did.

    The mean of many profiles across the lateral pleura, aligned below a pixel, is the edge response; its derivative,
    transformed at one frequency f, the modulation M; the variance -ln(M) / (2 pi^2 f^2).

    Args:
        voxels: HU, RAS order. Shape (I, J, K).
        labels: 0 outside, 1 right lung, 2 left lung. Same shape.
        spacing_mm: Spacing along i, j, k, mm.

    Returns:
        mm2, pixel included; below 0 where the kernel enhances edges; ``USUAL_VARIANCE_MM2`` where too little pleura is
        seen.
    """
    reach = max(4, int(np.ceil(REACH_MM / spacing_mm[0])))
    step = max(1, round(SLICE_STEP_MM / spacing_mm[2]))
    first, stop = (int(share * labels.shape[2]) for share in MIDDLE)
    profiles = [_profiles(voxels[:, :, k], labels[:, :, k] > 0, reach) for k in range(first, stop, step)]
    if sum(map(len, profiles)) < MIN_PROFILES:
        return USUAL_VARIANCE_MM2
    offset, height = _aligned(np.concatenate(profiles), reach, max(2, round(PLATEAU_MM / spacing_mm[0])))
    if len(offset) < MIN_PROFILES:
        return USUAL_VARIANCE_MM2
    modulation = _modulation(offset * spacing_mm[0], height)
    frequency = 1.0 / WAVELENGTH_MM
    return float(-np.log(np.clip(modulation, 0.3, 1.5)) / (2 * np.pi**2 * frequency**2))


def _profiles(plane: NDArray[np.int16], lung: BoolArray, reach: int) -> NDArray[np.float32]:
    """HU from chest wall to lung across both lateral edges, where they run along j. Shape (N, 2 reach + 1)."""
    found = []
    shown = lung.any(axis=0)
    for first, inward in ((lung.argmax(axis=0), 1), (lung.shape[0] - 1 - lung[::-1].argmax(axis=0), -1)):
        edge = np.where(shown, first, -10 * reach)
        upright = np.zeros(shown.shape, dtype=np.bool_)
        upright[1:-1] = (np.abs(edge[2:] - edge[:-2]) <= 1) & (np.abs(edge[2:] - edge[1:-1]) <= 1)
        inside = (edge >= reach) & (edge < lung.shape[0] - reach)
        j = np.nonzero(upright & inside)[0]
        found.append(plane[edge[j, None] + inward * np.arange(-reach, reach + 1), j[:, None]])
    return np.concatenate(found).astype(np.float32)


def _aligned(
    profiles: NDArray[np.float32], reach: int, plateau: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The sharper profiles: distance of every sample to the middle of the edge, pixels, and height of the step."""
    wall = np.median(profiles[:, reach - plateau - 1 : reach - 1], axis=1)
    lung = np.median(profiles[:, reach + 2 : reach + 3 + plateau], axis=1)
    chosen = wall - lung > MIN_STEP_HU
    height = (profiles[chosen] - lung[chosen, None]) / (wall - lung)[chosen, None]
    quarter, middle, three_quarters = (_crossing(height[:, : reach + 3], level) for level in (0.25, 0.5, 0.75))
    rise = np.where(quarter - three_quarters > 0, quarter - three_quarters, np.nan)
    known = np.isfinite(rise) & np.isfinite(middle)
    if known.any():
        known &= rise <= np.quantile(rise[known], SHARPEST_SHARE)
    return np.arange(profiles.shape[1]) - middle[known, None], height[known]


def _crossing(height: NDArray[np.float32], level: float) -> NDArray[np.float64]:
    """Where the innermost fall through a level is, in samples; NaN where there is none."""
    above = height > level
    last = height.shape[1] - 1 - above[:, ::-1].argmax(axis=1)
    known = above.any(axis=1) & (last < height.shape[1] - 1)
    row = np.arange(len(height))
    here, beyond = height[row, last], height[row, np.minimum(last + 1, height.shape[1] - 1)]
    return np.where(known, last + (here - level) / np.maximum(here - beyond, 1e-3), np.nan)


def _modulation(offset_mm: NDArray[np.float64], height: NDArray[np.float32]) -> float:
    """Modulation of the edge's derivative at ``WAVELENGTH_MM``, 1 for a perfect edge."""
    count = round(2 * EDGE_REACH_MM / EDGE_STEP_MM) + 1
    place = np.round((offset_mm + EDGE_REACH_MM) / EDGE_STEP_MM).astype(np.int64)
    inside = (place >= 0) & (place < count)
    order = np.argsort(place[inside], kind="stable")
    place, height = place[inside][order], height[inside][order]
    groups = np.split(height, np.searchsorted(place, np.arange(1, count)))
    known = np.array([len(group) > 0 for group in groups])
    edge = np.array([np.median(group) for group in groups if len(group)])
    at_mm = np.arange(count)[known] * EDGE_STEP_MM - EDGE_REACH_MM
    fall, middle = -np.diff(edge), (at_mm[1:] + at_mm[:-1]) / 2
    wave = np.exp(2j * np.pi * middle / WAVELENGTH_MM)
    return float(abs(np.sum(fall * wave)) / max(float(np.sum(fall)), 1e-3))
