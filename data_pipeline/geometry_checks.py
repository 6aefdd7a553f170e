"""What positions, orientation, matrix and number of slices of a stack say against it. Looks at no voxel."""

from __future__ import annotations

from collections.abc import Iterator

from data_pipeline.dicom_images import SharedFacts
from data_pipeline.geometry import SliceStack, judge_spacing
from data_pipeline.quality import QualityPolicy
from data_pipeline.series_building import Candidate
from domain.findings import Finding, QualityCode

HEADER_TILT_DEGREES = 1.0  # headers give the tilt in whole or half degrees


def geometry_findings(candidate: Candidate, policy: QualityPolicy) -> Iterator[Finding]:
    """What positions, orientation, matrix and number of slices say against a stack."""
    shared, stack, limits = candidate.instances[0].shared, candidate.stack, policy.thresholds
    if shared.modality != "CT":
        return
    if shared.orientation is None and candidate.instances[0].position_mm is not None:
        yield policy.finding(QualityCode.ORIENTATION_UNKNOWN, "no image orientation: left and right are unknown")
    elif stack is None or shared.pixel_spacing_mm is None or min(shared.pixel_spacing_mm) <= 0:
        yield policy.finding(QualityCode.NO_GEOMETRY, "no usable position, orientation or pixel spacing")
    smallest = min(shared.rows or 0, shared.columns or 0)
    if smallest < limits.small_matrix:
        message = f"matrix of {shared.rows} x {shared.columns} pixels"
        severe = smallest < limits.min_matrix
        yield policy.finding(QualityCode.MATRIX_TOO_SMALL, message, severe=severe, pixels=smallest)
    num_slices = len(candidate.instances)
    if num_slices == 1:
        yield policy.finding(QualityCode.SINGLE_SLICE, "one image is no volume", num_slices=1)
    elif num_slices < limits.few_slices:
        severe = num_slices < limits.min_slices
        yield policy.finding(
            QualityCode.TOO_FEW_SLICES, f"only {num_slices} slices", severe=severe, num_slices=num_slices
        )
    if stack is not None and num_slices > 1:
        yield from _stack_findings(candidate, policy)
    yield from _coverage_findings(candidate, policy)


def _stack_findings(candidate: Candidate, policy: QualityPolicy) -> Iterator[Finding]:
    stack, shared, limits = candidate.stack, candidate.instances[0].shared, policy.thresholds
    if stack is None or stack.gap_mm <= 0:
        return
    yield from _tilt_findings(stack, shared, policy)
    spacing = judge_spacing(stack, limits.spacing_tolerance)
    if spacing.num_missing:
        places = ", ".join(f"{place:g}" for place in spacing.missing_at_mm[:5])
        message = f"{spacing.num_missing} slices missing, {places} mm from the first (gaps of {stack.gap_mm:g} mm)"
        yield policy.finding(
            QualityCode.MISSING_SLICES,
            message,
            num_missing=spacing.num_missing,
            num_gaps=len(spacing.missing_at_mm),
            largest_gap_mm=round(spacing.largest_gap_mm, 3),
            usual_gap_mm=round(stack.gap_mm, 3),
        )
    elif not spacing.is_even:
        message = f"gaps between {spacing.smallest_gap_mm:g} and {spacing.largest_gap_mm:g} mm"
        yield policy.finding(
            QualityCode.UNEVEN_SPACING,
            message,
            smallest_gap_mm=round(spacing.smallest_gap_mm, 3),
            largest_gap_mm=round(spacing.largest_gap_mm, 3),
        )
    if stack.sideways_mm > limits.sideways_tolerance_mm:
        message = f"slices are shifted sideways by up to {stack.sideways_mm:.1f} mm against each other"
        yield policy.finding(QualityCode.UNEVEN_SPACING, message, sideways_mm=round(stack.sideways_mm, 2))
    if is_sequential(candidate, policy):
        message = f"slices of {shared.slice_thickness_mm:g} mm every {stack.gap_mm:g} mm: nothing is known between them"
        yield policy.finding(QualityCode.SEQUENTIAL_ACQUISITION, message, slice_gap_mm=round(stack.gap_mm, 3))


def _tilt_findings(stack: SliceStack, shared: SharedFacts, policy: QualityPolicy) -> Iterator[Finding]:
    """A tilt that positions show is straightened when the scan is read; one that only the header names is not known."""
    limits, tilt = policy.thresholds, stack.tilt_degrees
    named = abs(shared.gantry_tilt_degrees or 0.0)
    if tilt > limits.tilt_tolerance_degrees:
        message = f"the table moves {tilt:.1f} degrees off the slice normal: a tilted gantry, straightened when read"
        severe = tilt > limits.max_tilt_degrees
        if severe:
            message = f"the table moves {tilt:.1f} degrees off the slice normal: no gantry leans that far"
        yield policy.finding(QualityCode.GANTRY_TILT, message, severe=severe, tilt_degrees=round(tilt, 2))
    elif named > limits.tilt_tolerance_degrees + HEADER_TILT_DEGREES:
        message = f"the header names a gantry tilt of {named:g} degrees that positions and orientation do not show"
        yield policy.finding(QualityCode.GANTRY_TILT, message, severe=True, tilt_degrees=round(named, 2))


def is_sequential(candidate: Candidate, policy: QualityPolicy) -> bool:
    """Thin slices with gaps between them, as sequential HRCT is made (1 mm every 10 mm)."""
    thickness, stack, limits = candidate.instances[0].shared.slice_thickness_mm, candidate.stack, policy.thresholds
    if not thickness or thickness <= 0 or stack is None or len(candidate.instances) < limits.min_slices:
        return False
    excess = stack.gap_mm - thickness
    return stack.gap_mm >= limits.sequential_gap_ratio * thickness and excess >= limits.sequential_gap_excess_mm


def _coverage_findings(candidate: Candidate, policy: QualityPolicy) -> Iterator[Finding]:
    """A box too small for a chest. What a larger box holds is judged on voxels, when they are read."""
    shared, stack, limits = candidate.instances[0].shared, candidate.stack, policy.thresholds
    if stack is None or shared.pixel_spacing_mm is None or len(candidate.instances) < limits.min_slices:
        return
    width = (shared.columns or 0) * shared.pixel_spacing_mm[1]
    height = float(stack.offsets_mm[-1] - stack.offsets_mm[0]) + stack.gap_mm
    if width < limits.min_field_of_view_mm or height < limits.min_chest_height_mm:
        message = f"a box {width:.0f} mm wide and {height:.0f} mm high does not hold an adult's lungs"
        yield policy.finding(
            QualityCode.PARTIAL_LUNG_COVERAGE, message, width_mm=round(width, 1), height_mm=round(height, 1)
        )
