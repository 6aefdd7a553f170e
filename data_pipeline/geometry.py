"""Slice order, gaps, tilt and affine from projected positions. SliceThickness plays no part: it is a beam width.

Positions come in LPS, as DICOM writes them, and leave as a RAS affine; LPS is not met behind this file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.affine import Affine

FloatArray = NDArray[np.float64]

ORTHOGONALITY_TOLERANCE = 0.02  # |row . column| and |length - 1|: headers write cosines with 4 digits or more
SAME_POSITION_MM = 0.01  # closer than this along the normal is the same slice position
ROUNDING_MM = 0.06  # positions are written with as few as one decimal
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


class GeometryError(ValueError):
    """Orientation or positions describe no stack of slices."""


@dataclass(frozen=True, eq=False)
class SliceStack:
    """Parallel slices in order along their normal.

    Attributes:
        order: Index of the slice at each place, first to last along the normal.
        offsets_mm: Position along the normal of each place, rising. Shape (S,).
        gap_mm: Median distance of neighbours; 0 for a single slice.
        step_mm: Mean step from slice to slice, LPS. Shape (3,).
        tilt_degrees: Angle between the step and the normal; 0 for a single slice.
        first_position_mm: LPS position of the first place. Shape (3,).
        sideways_mm: Largest distance of a slice from the straight line through the stack, across the normal.
    """

    order: tuple[int, ...]
    offsets_mm: FloatArray
    gap_mm: float
    step_mm: FloatArray
    tilt_degrees: float
    first_position_mm: FloatArray
    sideways_mm: float = 0.0

    @property
    def gaps_mm(self) -> FloatArray:
        """Distance between neighbours along the normal. Shape (S - 1,)."""
        return np.diff(self.offsets_mm)

    @property
    def mean_gap_mm(self) -> float:
        """Mean distance between neighbours along the normal; 0 for a single slice."""
        return float(self.offsets_mm[-1] - self.offsets_mm[0]) / max(1, len(self.offsets_mm) - 1)


def slice_normal(orientation: Sequence[float]) -> FloatArray:
    """Unit normal of a slice from its row and column direction cosines, LPS.

    Raises:
        GeometryError: The six numbers are no two perpendicular unit vectors.
    """
    row, column = np.asarray(orientation[:3], dtype=float), np.asarray(orientation[3:], dtype=float)
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > ORTHOGONALITY_TOLERANCE or abs(float(row @ column)) > ORTHOGONALITY_TOLERANCE:
        raise GeometryError("the image orientation is no pair of perpendicular unit vectors")
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal))


def build_stack(positions_mm: Sequence[Sequence[float]], orientation: Sequence[float]) -> SliceStack:
    """Order slices along their normal and measure the stack.

    Args:
        positions_mm: ImagePositionPatient per slice, LPS, any order. Shape (S, 3).
        orientation: ImageOrientationPatient: six direction cosines.

    Raises:
        GeometryError: No slice, or an impossible orientation.

    Source:
        DICOM PS3.3 C.7.6.2.1.1.
    """
    if not len(positions_mm):
        raise GeometryError("a stack needs at least one slice")
    positions = np.asarray(positions_mm, dtype=float).reshape(-1, 3)
    normal = slice_normal(orientation)
    offsets = positions @ normal
    order = np.argsort(offsets, kind="stable")
    ordered = positions[order]
    if len(order) == 1:
        return SliceStack((0,), offsets, 0.0, normal, 0.0, ordered[0])
    step = (ordered[-1] - ordered[0]) / (len(order) - 1)
    length = float(np.linalg.norm(step))
    cosine = float(step @ normal) / length if length > 0 else 1.0
    extent = float(offsets[order[-1]] - offsets[order[0]])
    share = (offsets[order] - offsets[order[0]]) / extent if extent > 0 else np.zeros(len(order))
    off_line = ordered - ordered[0] - share[:, None] * (ordered[-1] - ordered[0])
    return SliceStack(
        order=tuple(int(index) for index in order),
        offsets_mm=offsets[order],
        gap_mm=float(np.median(np.diff(offsets[order]))),
        step_mm=step,
        tilt_degrees=math.degrees(math.acos(min(1.0, max(-1.0, cosine)))),
        first_position_mm=ordered[0],
        sideways_mm=float(np.linalg.norm(off_line, axis=1).max()),
    )


def repeated_places(stack: SliceStack) -> tuple[tuple[int, ...], ...]:
    """Places that lie at one position, as groups of two or more indices into the unordered slices."""
    groups: list[list[int]] = [[stack.order[0]]]
    for place, gap in enumerate(stack.gaps_mm, start=1):
        if gap < SAME_POSITION_MM:
            groups[-1].append(stack.order[place])
        else:
            groups.append([stack.order[place]])
    return tuple(tuple(group) for group in groups if len(group) > 1)


@dataclass(frozen=True, slots=True)
class SpacingVerdict:
    """Whether the gaps of a stack are equal.

    Attributes:
        is_even: All gaps agree within rounding.
        num_missing: Slices that seem to be missing: gaps that are whole multiples of the usual one.
        missing_at_mm: Where, as offset along the normal from the first slice.
        largest_gap_mm: Largest gap.
        smallest_gap_mm: Smallest gap.
    """

    is_even: bool
    num_missing: int
    missing_at_mm: tuple[float, ...]
    largest_gap_mm: float
    smallest_gap_mm: float


def judge_spacing(stack: SliceStack, relative_tolerance: float) -> SpacingVerdict:
    """Tell even gaps, missing slices and uneven gaps apart.

    Args:
        stack: Two slices or more, no two at one position.
        relative_tolerance: Allowed departure of a slice from its place, as a share of the gap.
    """
    gaps, gap = stack.gaps_mm, stack.gap_mm
    tolerance = max(relative_tolerance * gap, ROUNDING_MM)
    multiples = np.rint(gaps / gap)
    is_whole = np.abs(gaps - multiples * gap) <= 2 * tolerance
    wide = (multiples >= 2) & (gaps - gap > 2 * tolerance)
    places = np.arange(len(stack.offsets_mm)) - (len(stack.offsets_mm) - 1) / 2
    centred = stack.offsets_mm - stack.offsets_mm.mean()
    residual = centred - places * float(places @ centred) / float(places @ places)  # from the line of best fit
    is_even = bool(np.abs(residual).max() <= tolerance and np.abs(gaps - gap).max() <= 2 * tolerance)
    is_missing = not is_even and bool(wide.any()) and bool(is_whole.all())
    holes = np.flatnonzero(wide) if is_missing else np.empty(0, dtype=int)
    middle = stack.offsets_mm[holes] + gaps[holes] / 2 - stack.offsets_mm[0]
    return SpacingVerdict(
        is_even=is_even,
        num_missing=int((multiples[holes] - 1).sum()),
        missing_at_mm=tuple(round(float(value), 2) for value in middle),
        largest_gap_mm=float(gaps.max()),
        smallest_gap_mm=float(gaps.min()),
    )


def stack_affine(stack: SliceStack, orientation: Sequence[float], pixel_spacing_mm: Sequence[float]) -> Affine:
    """Affine of a volume whose voxel (i, j, k) is column i of row j of the slice at place k, RAS mm.

    Args:
        stack: The slices. The affine steps from the first to the last in even steps.
        orientation: Six direction cosines, LPS: along a row, then along a column.
        pixel_spacing_mm: As DICOM writes it: between rows, then between columns.
    """
    row, column = np.asarray(orientation[:3], dtype=float), np.asarray(orientation[3:], dtype=float)
    matrix = np.eye(4)
    matrix[:3, 0] = row * pixel_spacing_mm[1]
    matrix[:3, 1] = column * pixel_spacing_mm[0]
    matrix[:3, 2] = stack.step_mm
    matrix[:3, 3] = stack.first_position_mm
    matrix[:3] = LPS_TO_RAS @ matrix[:3]
    return Affine(matrix)
