"""Lung-window slices of one study with the lung outline and the evidence of the network. No layout is made here."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, map_coordinates

from domain.affine import Affine
from domain.whole_files import write_whole

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float64]
Place = tuple[slice | int, slice | int, slice | int]

WINDOW_HU = (-1350.0, 150.0)  # lung window: centre -600, width 1500
AXIAL_LEVELS = (0.72, 0.48, 0.24)  # share of the lungs' height from below: upper, middle and lower zone
PANEL_PIXELS = 320  # longer side of one panel
GAP_PIXELS = 4
MARGIN_MM = 12.0  # shown around the lungs
OUTLINE_RGB = (64, 208, 255)
EVIDENCE_RGB = np.array([[255, 196, 0], [255, 96, 0], [214, 0, 64]], dtype=np.float64)  # weak, middling, strong
EVIDENCE_FLOOR = 0.25  # share of the maximum below which evidence is not shown
EVIDENCE_ALPHA = 0.55
COMPRESSION = 2  # of PNG: several times as fast as the usual 6, a little larger
FILTER_UP = 2
COARSE = 4  # every fourth voxel is enough to find where the lungs are


@dataclass(frozen=True, eq=False)
class _Scan:
    """A volume turned so that axes run to the right, anterior and superior, cropped to the lungs.

    Attributes:
        voxels: HU, shape (R, A, S).
        lungs: bool, the same shape.
        spacing_mm: Along R, A, S.
        evidence_at: Evidence, 0..1, at voxel indices of this array, shape (3, ...); None without evidence.
    """

    voxels: NDArray[np.int16]
    lungs: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    evidence_at: Callable[[FloatArray], FloatArray] | None


def write_case_pictures(
    voxels: NDArray[np.int16],
    affine: Affine,
    lung_mask: NDArray[np.uint8] | None,
    evidence: NDArray[np.float32] | None,
    folder: Path,
    *,
    stem: str,
    evidence_affine: Affine | None = None,
) -> dict[str, str]:
    """Write the pictures of one study, the patient's right on the viewer's left, front up.

    Args:
        voxels: HU, shape (I, J, K).
        affine: Of ``voxels``, ijk to RAS mm.
        lung_mask: Shape (I, J, K), 0 outside the lungs; None or empty shows the whole scan.
        evidence: Where the network looked, >= 0, any scale, shape of its own grid; None for no evidence pictures.
        folder: Where to; usually ``OUT/cases``.
        stem: First part of the file names, the case key.
        evidence_affine: Of ``evidence``; None when it is on the grid of ``voxels``.

    Returns:
        File name -> what the picture shows.

    Raises:
        ValueError: ``evidence`` has another shape than ``voxels`` and no affine.
    """
    scan = _prepare(voxels, affine, lung_mask, evidence, evidence_affine)
    axial, coronal = [_panel(scan, _axial(scan, level)) for level in AXIAL_LEVELS], [_panel(scan, _coronal(scan))]
    pictures = {
        f"{stem}_axial.png": (
            _row([panel.plain for panel in axial]),
            "Axial slices of the upper, middle and lower lung, lung window, with the outline of the lung mask",
        ),
        f"{stem}_coronal.png": (
            _row([panel.plain for panel in coronal]),
            "Coronal slice through the middle of the lungs, lung window, with the outline of the lung mask",
        ),
    }
    if scan.evidence_at is not None:
        pictures[f"{stem}_evidence.png"] = (
            _row([panel.with_evidence for panel in axial]),
            "The same axial slices with the regions that weighed most in the network's answer (yellow to red)",
        )
        pictures[f"{stem}_coronal_evidence.png"] = (
            _row([panel.with_evidence for panel in coronal]),
            "The same coronal slice with the regions that weighed most in the network's answer (yellow to red)",
        )
    for name, (pixels, _) in pictures.items():
        write_whole(folder / name, _png(pixels))
    return {name: caption for name, (_, caption) in pictures.items()}


# ------------------------------------------------------------------------------------------------ preparing


def _prepare(
    voxels: NDArray[np.int16],
    affine: Affine,
    lung_mask: NDArray[np.uint8] | None,
    evidence: NDArray[np.float32] | None,
    evidence_affine: Affine | None,
) -> _Scan:
    """Turn to RAS (views, no copy), crop to the lungs, and tie the evidence to the result."""
    mask = lung_mask if lung_mask is not None else np.zeros(voxels.shape, np.uint8)
    order = [next(v for v, (world, _) in enumerate(affine.nearest_axes) if world == axis) for axis in range(3)]
    flips = [affine.nearest_axes[v][1] < 0 for v in order]
    steps = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    turned, turned_mask = voxels.transpose(order)[steps], mask.transpose(order)[steps]
    spacing = tuple(affine.spacing_mm[v] for v in order)
    box = _lung_box(turned_mask, spacing)
    # Index of the cropped, turned array -> index of the original array, as one affine step.
    to_source = np.zeros((3, 4))
    for axis, voxel_axis in enumerate(order):
        start = box[axis].start
        to_source[voxel_axis, axis] = -1 if flips[axis] else 1
        to_source[voxel_axis, 3] = voxels.shape[voxel_axis] - 1 - start if flips[axis] else start
    evidence_at = None
    if evidence is not None:
        evidence_at = _evidence_sampler(
            evidence, _to_evidence(voxels, affine, evidence, evidence_affine) @ _4x4(to_source)
        )
    return _Scan(turned[box], turned_mask[box] > 0, (spacing[0], spacing[1], spacing[2]), evidence_at)


def _lung_box(mask: NDArray[np.uint8], spacing_mm: tuple[float, ...]) -> tuple[slice, slice, slice]:
    slices = []
    for axis in range(3):
        coarse = mask[tuple(slice(None) if a == axis else slice(None, None, COARSE) for a in range(3))]
        present = np.flatnonzero(coarse.any(axis=tuple(a for a in range(3) if a != axis)))
        if not present.size:
            return (slice(0, mask.shape[0]), slice(0, mask.shape[1]), slice(0, mask.shape[2]))
        margin = round(MARGIN_MM / spacing_mm[axis])
        slices.append(slice(max(0, int(present[0]) - margin), min(mask.shape[axis], int(present[-1]) + margin + 1)))
    return (slices[0], slices[1], slices[2])


def _4x4(upper: FloatArray) -> FloatArray:
    return np.vstack([upper, [0.0, 0.0, 0.0, 1.0]])


def _to_evidence(
    voxels: NDArray[np.int16], affine: Affine, evidence: NDArray[np.float32], evidence_affine: Affine | None
) -> FloatArray:
    """Voxel index of the scan to voxel index of the evidence, 4 x 4."""
    if evidence_affine is not None:
        return np.linalg.inv(evidence_affine.matrix) @ affine.matrix
    if evidence.shape != voxels.shape:
        raise ValueError(f"evidence of shape {evidence.shape} needs its affine: the scan is {voxels.shape}")
    return np.eye(4)


def _evidence_sampler(evidence: NDArray[np.float32], index_map: FloatArray) -> Callable[[FloatArray], FloatArray]:
    strongest = float(np.nanmax(evidence)) if evidence.size else 0.0
    scaled = np.nan_to_num(evidence / strongest if strongest > 0 else evidence).astype(np.float32)

    def sample(index: FloatArray) -> FloatArray:
        flat = index.reshape(3, -1)
        places = index_map[:3, :3] @ flat + index_map[:3, 3:]
        return np.asarray(map_coordinates(scaled, places, order=1, mode="nearest").reshape(index.shape[1:]))

    return sample


# ------------------------------------------------------------------------------------------------ panels


@dataclass(frozen=True, eq=False)
class _Panel:
    """One plane as RGB, shape (height, width, 3); ``with_evidence`` is the plain one where there is none."""

    plain: UInt8Array
    with_evidence: UInt8Array


def _axial(scan: _Scan, level: float) -> Place:
    heights = np.flatnonzero(scan.lungs[::COARSE, ::COARSE].any(axis=(0, 1)))
    low, high = (int(heights[0]), int(heights[-1])) if heights.size else (0, scan.voxels.shape[2] - 1)
    return slice(None), slice(None), round(low + level * (high - low))


def _coronal(scan: _Scan) -> Place:
    amounts = scan.lungs[::COARSE, :, ::COARSE].sum(axis=(0, 2))
    total = int(amounts.sum())
    plane = int(np.searchsorted(amounts.cumsum(), total / 2)) if total else scan.voxels.shape[1] // 2
    return slice(None), plane, slice(None)


def _panel(scan: _Scan, place: Place) -> _Panel:
    """First axis of the plane to the left, second one up."""
    axes = [axis for axis in range(3) if isinstance(place[axis], slice)]
    plane = scan.voxels[place].astype(np.float32)
    extent_mm = [plane.shape[a] * scan.spacing_mm[axes[a]] for a in range(2)]
    scale = PANEL_PIXELS / max(extent_mm)
    size = (max(1, round(extent_mm[0] * scale)), max(1, round(extent_mm[1] * scale)))  # (width, height)
    low, high = WINDOW_HU
    grey = np.clip((plane - low) / (high - low), 0, 1) * 255
    rgb = np.repeat(_resized(grey, size, Image.Resampling.BILINEAR)[..., None], 3, axis=2)
    lungs = _resized(scan.lungs[place].astype(np.float32), size, Image.Resampling.NEAREST) > 0.5
    outline = binary_dilation(lungs) & ~lungs
    plain = _finished(rgb, outline)
    if scan.evidence_at is None:
        return _Panel(plain, plain)
    evidence = _resized(_plane_evidence(scan, place, plane.shape), size, Image.Resampling.BILINEAR)
    return _Panel(plain, _finished(_overlay(rgb, evidence), outline))


def _finished(rgb: FloatArray, outline: NDArray[np.bool_]) -> UInt8Array:
    picture = rgb.astype(np.uint8)
    picture[outline] = OUTLINE_RGB
    return _with_side(picture)


def _plane_evidence(scan: _Scan, place: Place, shape: tuple[int, ...]) -> FloatArray:
    first, second = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    free = iter((first, second))
    index = np.stack([next(free) if isinstance(item, slice) else np.full(shape, item) for item in place])
    assert scan.evidence_at is not None
    return scan.evidence_at(index.astype(np.float64))


def _resized(plane: NDArray[np.floating], size: tuple[int, int], how: Image.Resampling) -> FloatArray:
    """A plane (left-right or front-back first) as a picture: rows from the top, the patient's right on the left."""
    picture = Image.fromarray(np.ascontiguousarray(plane[::-1, ::-1].T, dtype=np.float32))
    return np.asarray(picture.resize(size, how), dtype=np.float64)


def _overlay(rgb: FloatArray, evidence: FloatArray) -> FloatArray:
    strength = np.clip((evidence - EVIDENCE_FLOOR) / (1 - EVIDENCE_FLOOR), 0, 1)
    stops = np.linspace(0, 1, len(EVIDENCE_RGB))
    colour = np.stack([np.interp(strength, stops, EVIDENCE_RGB[:, channel]) for channel in range(3)], axis=2)
    alpha = (EVIDENCE_ALPHA * np.minimum(1, strength * 3))[..., None]
    return rgb * (1 - alpha) + colour * alpha


def _with_side(rgb: UInt8Array) -> UInt8Array:
    """Say on the picture which side is the patient's right."""
    picture = Image.fromarray(rgb)
    draw = ImageDraw.Draw(picture)
    draw.text((5, 3), "R", fill=(255, 255, 255))
    draw.text((picture.width - 11, 3), "L", fill=(255, 255, 255))
    return np.asarray(picture)


def _row(panels: list[UInt8Array]) -> UInt8Array:
    """Panels side by side on black, centred in height."""
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + GAP_PIXELS * (len(panels) - 1)
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    left = 0
    for panel in panels:
        top = (height - panel.shape[0]) // 2
        canvas[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        left += panel.shape[1] + GAP_PIXELS
    return canvas


def _png(rgb: UInt8Array) -> bytes:
    """A PNG file. Its writer here is half the time of Pillow's, which tries every filter on every line.

    Source:
        W3C PNG specification, sections 5 (chunks), 9.2 (filter type 2: difference from the line above).
    """
    height, width, _ = rgb.shape
    lines = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    lines[:, 0] = FILTER_UP
    lines[:, 1:] = rgb.reshape(height, -1)
    lines[1:, 1:] -= rgb[:-1].reshape(height - 1, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits of red, green and blue
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), COMPRESSION)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
