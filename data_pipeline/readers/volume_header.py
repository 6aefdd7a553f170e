"""What the header of a whole-volume file (NIfTI, MetaImage, NRRD) says against it. DICOM has ``series_checks``."""

from __future__ import annotations

from collections.abc import Iterator

from data_pipeline.quality import QualityPolicy
from data_pipeline.straightening import plane_degrees, shear_degrees
from domain.affine import Affine
from domain.findings import Finding, QualityCode


def volume_findings(
    shape: tuple[int, int, int], affine: Affine | None, policy: QualityPolicy, *, num_volumes: int, holds_hu: bool
) -> tuple[Finding, ...]:
    """Findings of a header.

    Args:
        shape: i, j, k.
        affine: None where orientation is unknown.
        policy: Severities and thresholds.
        num_volumes: How many volumes the file holds.
        holds_hu: The stored type can hold HU: more than 8 bits, plain numbers.
    """
    return tuple(_findings(shape, affine, policy, num_volumes=num_volumes, holds_hu=holds_hu))


def _findings(
    shape: tuple[int, int, int], affine: Affine | None, policy: QualityPolicy, *, num_volumes: int, holds_hu: bool
) -> Iterator[Finding]:
    limits = policy.thresholds
    if not holds_hu:
        yield policy.finding(QualityCode.NOT_A_CT_VOLUME, "8-bit, colour or complex values: a mask or picture, not HU")
    if num_volumes != 1:
        message = f"{num_volumes} volumes in one file: not a CT scan"
        yield policy.finding(QualityCode.NOT_A_CT_VOLUME, message, num_volumes=num_volumes)
    smallest = min(shape[:2])
    if smallest < limits.small_matrix:
        message, severe = f"matrix of {shape[1]} x {shape[0]} pixels", smallest < limits.min_matrix
        yield policy.finding(QualityCode.MATRIX_TOO_SMALL, message, severe=severe, pixels=smallest)
    if shape[2] == 1:
        yield policy.finding(QualityCode.SINGLE_SLICE, "one image is no volume", num_slices=1)
    elif shape[2] < limits.few_slices:
        severe = shape[2] < limits.min_slices
        message = f"only {shape[2]} slices"
        yield policy.finding(QualityCode.TOO_FEW_SLICES, message, severe=severe, num_slices=shape[2])
    if affine is None:
        yield policy.finding(QualityCode.ORIENTATION_UNKNOWN, "no usable orientation: left and right are unknown")
    elif holds_hu and num_volumes == 1:
        yield from _axes_findings(affine, policy)
        yield from _size_findings(shape, affine, policy)


def _axes_findings(affine: Affine, policy: QualityPolicy) -> Iterator[Finding]:
    """Axes that do not stand at right angles: a slice axis that leans is straightened, rows on columns are not."""
    limits, tilt = policy.thresholds, shear_degrees(affine)
    skew = abs(90.0 - plane_degrees(affine))
    if skew > limits.tilt_tolerance_degrees:
        message = f"rows and columns stand {skew:.1f} degrees off a right angle: a skewed image"
        yield policy.finding(QualityCode.NO_GEOMETRY, message, skew_degrees=round(skew, 2))
    elif tilt > limits.tilt_tolerance_degrees:
        message = f"the slices are shifted against each other as by a gantry tilt of {tilt:.1f} degrees"
        severe = tilt > limits.max_tilt_degrees
        yield policy.finding(QualityCode.GANTRY_TILT, message, severe=severe, tilt_degrees=round(tilt, 2))


def _size_findings(shape: tuple[int, int, int], affine: Affine, policy: QualityPolicy) -> Iterator[Finding]:
    limits = policy.thresholds
    extents = {axis: shape[place] * affine.spacing_mm[place] for place, (axis, _) in enumerate(affine.nearest_axes)}
    if extents[0] < limits.min_field_of_view_mm or extents[2] < limits.min_chest_height_mm:
        yield policy.finding(
            QualityCode.PARTIAL_LUNG_COVERAGE,
            f"a box {extents[0]:.0f} mm wide and {extents[2]:.0f} mm high does not hold an adult's lungs",
            width_mm=round(extents[0], 1),
            height_mm=round(extents[2], 1),
        )
    gap = max(affine.spacing_mm)
    if gap > limits.thick_slices_mm:
        message = f"voxels of {gap:.3g} mm: too coarse for fine texture"
        yield policy.finding(QualityCode.THICK_SLICES, message, slice_gap_mm=round(gap, 3))
