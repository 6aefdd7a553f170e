"""What the headers of a stack say against it: kind of image, geometry, acquisition. Looks at no voxel."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from data_pipeline.dicom_images import CT_IMAGE_CLASS, ENHANCED_CT_CLASSES, SharedFacts
from data_pipeline.geometry import judge_spacing, slice_normal
from data_pipeline.quality import AIR_LIKE_HU, MIN_VOXELS, QualityPolicy, load_kernel_table
from data_pipeline.series_building import Candidate
from data_pipeline.transfer_syntaxes import transfer_syntax
from domain.findings import Finding, QualityCode
from domain.volume import KernelClass

CT_CLASSES = ENHANCED_CT_CLASSES | {CT_IMAGE_CLASS}
SECONDARY_CAPTURE_PREFIX = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame variants .7.1 to .7.4
DOSE_SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.67"
UID_PATTERN = re.compile(r"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+$")
MAX_UID_LENGTH = 64

LOCALIZER_WORDS = re.compile(r"\b(scout|topogram|surview|scanogram|scano|localizer|localiser|pilot)\b", re.IGNORECASE)
DOSE_WORDS = re.compile(r"\b(dose|dosis|patient protocol|exam summary|screen ?save)\b", re.IGNORECASE)
DOSE_IMAGE_TYPES = frozenset({"DOSE_INFO", "DOSE INFO", "SCREEN SAVE", "DOSE REPORT"})
# Planes through the volume, and projections or pictures of it. VOLUME is what enhanced CT calls the scan itself.
PLANE_TYPES = frozenset({"MPR", "REFORMATTED", "REFORMAT", "RESAMPLED"})
PROJECTION_TYPES = frozenset(
    {"MIP", "MINIP", "MIN_IP", "MAX_IP", "AVERAGE", "PROJECTION", "VRT", "SSD", "RENDERED", "CURVED", "SUBTRACTION"}
    | {"MAXIMUM", "MINIMUM"}
)
PLANE_WORDS = re.compile(r"\b(mpr|coronal|sagittal|cor|sag|reformat\w*)\b", re.IGNORECASE)
PROJECTION_WORDS = re.compile(r"\b(mip|minip|min ?ip|vrt|3d)\b", re.IGNORECASE)
EXPIRATORY_WORDS = re.compile(r"(?<![a-z])(expi\w*|exp|exsp\w*|end[- ]?exp\w*)(?![a-z])", re.IGNORECASE)
INSPIRATORY_WORDS = re.compile(r"(?<![a-z])(inspi\w*|insp?|deep breath)(?![a-z])", re.IGNORECASE)
CONTRAST_WORDS = re.compile(r"(?<![\w])(\+c|c\+|ctpa|cta|angio\w*|post.?contrast|with contrast)(?![\w])", re.IGNORECASE)
PRONE_WORDS = re.compile(r"(?<![a-z])(prone|bauchlage)(?![a-z])", re.IGNORECASE)
NO_CONTRAST = re.compile(r"^(no|none|n/?a|0|-|without|nativ\w*|non.?contrast|ohne)\b", re.IGNORECASE)
# Parts that never share a series with the lungs; ABDOMEN, NECK or PELVIS often stand on scans that hold the chest.
NOT_CHEST_PARTS = frozenset(
    {"HEAD", "BRAIN", "SKULL", "CSPINE", "SINUS", "JAW", "LEG", "ANKLE", "KNEE", "FOOT", "HAND", "WRIST", "ELBOW"}
    | {"EXTREMITY"}
)
CHEST_WORDS = re.compile(r"chest|thorax|thor|lung|pulmo|hrct", re.IGNORECASE)


def check_series(candidate: Candidate, policy: QualityPolicy) -> tuple[Finding, ...]:
    """All findings of a stack that its headers give, those of building it first."""
    return (
        *candidate.findings,
        *_kind_findings(candidate, policy),
        *_file_findings(candidate, policy),
        *_pixel_findings(candidate, policy),
        *_geometry_findings(candidate, policy),
        *_acquisition_findings(candidate, policy),
    )


def words_of(shared: SharedFacts) -> str:
    """The descriptions people typed, in one text for word searches."""
    return f"{shared.series_description} {shared.protocol}"


def phase_of(shared: SharedFacts) -> str | None:
    """``expiration``, ``inspiration`` or None, as far as descriptions say; the series' own outweighs the protocol's."""
    for text in (shared.series_description, shared.protocol):
        if EXPIRATORY_WORDS.search(text):
            return "expiration"
        if INSPIRATORY_WORDS.search(text):
            return "inspiration"
    return None


def is_prone(shared: SharedFacts) -> bool:
    """Lying face down, by patient position or by description."""
    return shared.patient_position.endswith("P") or bool(PRONE_WORDS.search(shared.series_description))


def has_contrast(shared: SharedFacts) -> bool:
    """A contrast agent is named; where the header is silent, by description."""
    agent = shared.contrast_agent.strip()
    return bool(CONTRAST_WORDS.search(words_of(shared))) if not agent else not NO_CONTRAST.search(agent)


# ------------------------------------------------------------------------------------------ what the images are


def _kind_findings(candidate: Candidate, policy: QualityPolicy) -> Iterator[Finding]:
    shared = candidate.instances[0].shared
    if shared.modality != "CT":
        modality = shared.modality or "not given"
        yield policy.finding(QualityCode.WRONG_MODALITY, f"modality is {modality}, not CT", modality=modality)
    if shared.sop_class.startswith(SECONDARY_CAPTURE_PREFIX):
        yield policy.finding(QualityCode.SECONDARY_CAPTURE, "a secondary capture: a picture of an image, not a scan")
    elif shared.modality == "CT" and shared.sop_class and shared.sop_class not in CT_CLASSES:
        yield policy.finding(QualityCode.WRONG_MODALITY, "the SOP class is not CT image storage")
    words = words_of(shared)
    if shared.sop_class == DOSE_SR_CLASS:
        yield policy.finding(QualityCode.DOSE_REPORT, "a radiation dose report, no image")
    elif shared.modality == "CT" and (DOSE_WORDS.search(words) or DOSE_IMAGE_TYPES & set(shared.image_type)):
        yield policy.finding(QualityCode.DOSE_REPORT, "a dose screen or protocol summary, not a scan")
    if "LOCALIZER" in shared.image_type or (len(candidate.instances) <= 3 and LOCALIZER_WORDS.search(words)):
        yield policy.finding(QualityCode.LOCALIZER, "a localizer (scout view), not a scan")
    elif shared.modality == "CT":
        yield from _reformat_findings(shared, policy)


def _reformat_findings(shared: SharedFacts, policy: QualityPolicy) -> Iterator[Finding]:
    """Reformats. Axial planes of the volume are usable where nothing better is there; all else is refused."""
    types = {part for value in shared.image_type[2:] for part in (value, *value.split())}
    is_derived = shared.image_type[:1] == ("DERIVED",)
    angle = _degrees_off_axial(shared)
    if angle > policy.thresholds.oblique_tolerance_degrees:
        reason, severe = f"the slices stand {angle:.0f} degrees off axial: coronal, sagittal or oblique reformats", True
    elif types & PROJECTION_TYPES or (is_derived and PROJECTION_WORDS.search(shared.series_description)):
        reason, severe = "a projection or rendering computed from another series", True
    elif types & PLANE_TYPES or (is_derived and PLANE_WORDS.search(shared.series_description)):
        reason, severe = "axial planes computed from another series: smoother than a reconstruction", False
    else:
        return
    yield policy.finding(QualityCode.DERIVED_REFORMAT, reason, severe=severe, degrees_off_axial=round(angle, 1))


def _degrees_off_axial(shared: SharedFacts) -> float:
    """Angle between the slices and the axial plane; 0 where it is not known."""
    try:
        cosine = abs(float(slice_normal(shared.orientation or ())[2]))
    except (ValueError, IndexError):
        return 0.0
    return math.degrees(math.acos(min(1.0, cosine)))


def _file_findings(candidate: Candidate, policy: QualityPolicy) -> Iterator[Finding]:
    instances = candidate.instances
    for code, num in Counter(item.problem for item in instances if item.problem is not None).items():
        yield policy.finding(code, f"{num} of {len(instances)} images are damaged: {code.value}", num_images=num)
    num_missing = sum(not item.sop_uid for item in instances)
    if num_missing or not instances[0].shared.series_uid or not instances[0].shared.study_uid:
        message = f"{num_missing} of {len(instances)} images have no SOPInstanceUID, or the series or study has no UID"
        yield policy.finding(QualityCode.MISSING_UID, message, num_images=num_missing)
    uids = {item.sop_uid for item in instances} | {instances[0].shared.series_uid, instances[0].shared.study_uid}
    if any(uid and (not UID_PATTERN.match(uid) or len(uid) > MAX_UID_LENGTH) for uid in uids):
        yield policy.finding(QualityCode.INVALID_UID, "a UID holds characters that UIDs cannot hold, or is too long")


def _pixel_findings(candidate: Candidate, policy: QualityPolicy) -> Iterator[Finding]:
    shared = candidate.instances[0].shared
    lossy = [
        item
        for item in candidate.instances
        if item.shared.lossy == "01" or transfer_syntax(item.shared.transfer_syntax).is_lossy
    ]
    if lossy:
        syntax = transfer_syntax(lossy[0].shared.transfer_syntax)
        message = f"lossy compression in {len(lossy)} images ({syntax.name}): fine texture may be changed"
        yield policy.finding(QualityCode.LOSSY_COMPRESSED, message, transfer_syntax=syntax.uid)
    if shared.modality != "CT" or candidate.instances[0].problem is QualityCode.NO_PIXEL_DATA:
        return
    is_colour = (shared.samples_per_pixel or 1) != 1 or not shared.photometric.startswith("MONOCHROME")
    if is_colour or (shared.bits_stored or 0) <= 8:
        message = f"{shared.bits_stored} bits, {shared.photometric or 'no photometric interpretation'}: cannot hold HU"
        yield policy.finding(QualityCode.NOT_HU, message, bits_stored=shared.bits_stored or 0)
    elif _cannot_be_negative(candidate):
        message = "unsigned values without a negative rescale: nothing can be as low as air and lung"
        yield policy.finding(QualityCode.NOT_HU, message, intercept=shared.intercept or 0.0)
    elif shared.photometric == "MONOCHROME1":
        yield policy.finding(QualityCode.NOT_HU, "MONOCHROME1: a picture with inverted grey values, not HU")
    has_frames = any(item.num_frames > 1 for item in candidate.instances)
    if has_frames and shared.sop_class not in ENHANCED_CT_CLASSES:
        yield policy.finding(QualityCode.NO_GEOMETRY, "several frames in one image without a position for each")


def _cannot_be_negative(candidate: Candidate) -> bool:
    shared = candidate.instances[0].shared
    num_voxels = (shared.rows or 0) * (shared.columns or 0) * len(candidate.instances)
    is_unsigned = not shared.pixel_representation and (shared.slope or 1.0) > 0
    return num_voxels >= MIN_VOXELS and is_unsigned and (shared.intercept or 0.0) > AIR_LIKE_HU


# ------------------------------------------------------------------------------------------------ geometry


def _geometry_findings(candidate: Candidate, policy: QualityPolicy) -> Iterator[Finding]:
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
    if stack.tilt_degrees > limits.tilt_tolerance_degrees:
        message = f"the table moves {stack.tilt_degrees:.1f} degrees off the slice normal: the stack is a sheared box"
        yield policy.finding(QualityCode.GANTRY_TILT, message, tilt_degrees=round(stack.tilt_degrees, 2))
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


# ---------------------------------------------------------------------------------------------- acquisition


def _acquisition_findings(candidate: Candidate, policy: QualityPolicy) -> Iterator[Finding]:
    shared, limits = candidate.instances[0].shared, policy.thresholds
    if shared.modality != "CT":
        return
    thickness = shared.slice_thickness_mm
    if thickness is not None and thickness > limits.thick_slices_mm:
        severe = thickness > limits.max_slice_thickness_mm
        message = f"slices {thickness:g} mm thick: too thick for fine texture"
        yield policy.finding(QualityCode.THICK_SLICES, message, severe=severe, slice_thickness_mm=round(thickness, 3))
    kernel_class = load_kernel_table().classify(shared.manufacturer, shared.kernel)
    if kernel_class is KernelClass.SOFT:
        yield policy.finding(QualityCode.SOFT_KERNEL, f"soft kernel {shared.kernel}", kernel=shared.kernel)
    elif kernel_class is KernelClass.UNKNOWN:
        known = shared.kernel or "not given"
        yield policy.finding(QualityCode.UNKNOWN_KERNEL, f"kernel {known}: sharpness unknown", kernel=known)
    if has_contrast(shared):
        yield policy.finding(QualityCode.CONTRAST_ENHANCED, "a contrast agent is named: lung density is raised")
    if is_prone(shared):
        position = shared.patient_position or "by description"
        yield policy.finding(QualityCode.PRONE, f"patient lies prone ({position})", patient_position=position)
    if phase_of(shared) == "expiration":
        yield policy.finding(QualityCode.EXPIRATORY, "expiratory scan: normal lung looks like ground glass")
    body_part = shared.body_part.upper().replace(" ", "").replace("_", "")
    if body_part in NOT_CHEST_PARTS and not CHEST_WORDS.search(words_of(shared)):
        yield policy.finding(QualityCode.NOT_CHEST, f"body part examined is {body_part}", body_part=body_part)
