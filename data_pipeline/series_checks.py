"""What the headers of a stack say against it: kind of image, files, acquisition. Looks at no voxel."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from data_pipeline import description_words as words
from data_pipeline.dicom_images import CT_IMAGE_CLASS, ENHANCED_CT_CLASSES, SharedFacts
from data_pipeline.geometry import slice_normal
from data_pipeline.geometry_checks import geometry_findings
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

DOSE_IMAGE_TYPES = frozenset({"DOSE_INFO", "DOSE INFO", "SCREEN SAVE", "DOSE REPORT"})
# Planes through the volume, and projections or pictures of it. VOLUME is what enhanced CT calls the scan itself.
PLANE_TYPES = frozenset({"MPR", "REFORMATTED", "REFORMAT", "RESAMPLED", "AVERAGE"})
PROJECTION_TYPES = frozenset(
    {"MIP", "MINIP", "MIN_IP", "MAX_IP", "PROJECTION", "VRT", "SSD", "RENDERED", "CURVED", "SUBTRACTION"}
    | {"MAXIMUM", "MINIMUM"}
)
# Dual energy and photon counting (PS3.3 C.8.15.3.10 and vendors' words): maps of other quantities, and computed HU.
MAP_TYPES = frozenset(
    {
        "IODINE",
        "IODINE_MAP",
        "MATERIAL_DENSITY",
        "MATERIAL_FRACTIONAL",
        "MATERIAL_VALUE_BASED",
        "Z_EFF",
        "EFF_ATOMIC_NUM",
    }
    | {"ELECTRON_DENSITY", "MD", "PBV", "PERFUSION", "CBF", "CBV", "MTT", "TTP", "VENTILATION"}
)
COMPUTED_TYPES = frozenset(
    {
        "VMI",
        "VIRTUAL_MONOENERGETIC",
        "MONOENERGETIC",
        "DE_MONOENERGETIC",
        "VNC",
        "VIRTUAL_NON_CONTRAST",
        "MATERIAL_REMOVED",
    }
    | {"MATERIAL_MODIFIED"}
)
HU_TYPES = frozenset({"", "HU", "HU_MOD", "US"})  # RescaleType; unspecified (US) is judged on the voxels
# Parts that never share a series with the lungs; ABDOMEN, NECK or PELVIS often stand on scans that hold the chest.
NOT_CHEST_PARTS = frozenset(
    {"HEAD", "BRAIN", "SKULL", "CSPINE", "SINUS", "JAW", "LEG", "ANKLE", "KNEE", "FOOT", "HAND", "WRIST", "ELBOW"}
    | {"EXTREMITY"}
)


def check_series(candidate: Candidate, policy: QualityPolicy) -> tuple[Finding, ...]:
    """All findings of a stack that its headers give, those of building it first."""
    return (
        *candidate.findings,
        *_kind_findings(candidate, policy),
        *_file_findings(candidate, policy),
        *_pixel_findings(candidate, policy),
        *geometry_findings(candidate, policy),
        *_acquisition_findings(candidate, policy),
    )


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
    typed = words.words_of(shared)
    if shared.sop_class == DOSE_SR_CLASS:
        yield policy.finding(QualityCode.DOSE_REPORT, "a radiation dose report, no image")
    elif shared.modality == "CT" and (words.DOSE.search(typed) or DOSE_IMAGE_TYPES & set(shared.image_type)):
        yield policy.finding(QualityCode.DOSE_REPORT, "a dose screen or protocol summary, not a scan")
    is_few = len(candidate.instances) <= 3
    if "LOCALIZER" in shared.image_type or (is_few and words.LOCALIZER.search(typed)):
        yield policy.finding(QualityCode.LOCALIZER, "a localizer (scout view), not a scan")
    elif shared.modality == "CT":
        yield from _reformat_findings(shared, policy)
        yield from _quantity_findings(shared, policy)


def _reformat_findings(shared: SharedFacts, policy: QualityPolicy) -> Iterator[Finding]:
    """Reformats. Axial planes of the volume are usable where nothing better is there; all else is refused."""
    types, typed = _types(shared), words.plain(shared.series_description)
    is_derived = shared.image_type[:1] == ("DERIVED",)
    angle = _degrees_off_axial(shared)
    if angle > policy.thresholds.oblique_tolerance_degrees:
        reason, severe = f"the slices stand {angle:.0f} degrees off axial: coronal, sagittal or oblique reformats", True
    elif types & PROJECTION_TYPES or (is_derived and words.PROJECTIONS.search(typed)):
        reason, severe = "a projection or rendering computed from another series", True
    elif words.MIP.search(typed):
        reason, severe = "called a maximum or minimum intensity projection, though not by its image type", False
    elif types & PLANE_TYPES or (is_derived and words.PLANES.search(typed)):
        reason, severe = "axial planes computed from another series: smoother than a reconstruction", False
    elif types & COMPUTED_TYPES or words.COMPUTED_HU.search(typed):
        reason, severe = "HU computed from a scan with several energies: they depend on the energy asked for", False
    else:
        return
    yield policy.finding(QualityCode.DERIVED_REFORMAT, reason, severe=severe, degrees_off_axial=round(angle, 1))


def _quantity_findings(shared: SharedFacts, policy: QualityPolicy) -> Iterator[Finding]:
    """Maps of iodine, effective atomic number, blood flow: CT images whose values are no HU."""
    kind = shared.rescale_type.upper()
    if kind not in HU_TYPES:
        yield policy.finding(
            QualityCode.NOT_HU, f"the header says that the values are {kind}, not HU", rescale_type=kind
        )
    elif _types(shared) & MAP_TYPES or words.NOT_HU_MAPS.search(words.plain(shared.series_description)):
        message = "a map of another quantity (iodine, atomic number, blood flow), not HU"
        yield policy.finding(QualityCode.NOT_HU, message)


def _types(shared: SharedFacts) -> set[str]:
    """Words of ImageType behind the first two: ``CSA MPR`` holds MPR."""
    return {part for value in shared.image_type[2:] for part in (value, *value.split())}


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
    if words.has_contrast(shared):
        yield policy.finding(QualityCode.CONTRAST_ENHANCED, "a contrast agent is named: lung density is raised")
    if lying := words.lying(shared):
        position = shared.patient_position or "by description"
        yield policy.finding(QualityCode.PRONE, f"patient lies {lying} ({position})", patient_position=position)
    if words.phase_of(shared) == "expiration":
        yield policy.finding(QualityCode.EXPIRATORY, "expiratory scan: normal lung looks like ground glass")
    body_part = shared.body_part.upper().replace(" ", "").replace("_", "")
    if body_part in NOT_CHEST_PARTS and not words.CHEST.search(words.words_of(shared)):
        yield policy.finding(QualityCode.NOT_CHEST, f"body part examined is {body_part}", body_part=body_part)
