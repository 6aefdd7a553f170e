"""Images to stacks: grouped by study and series, split where they cannot be one volume, duplicates taken out.

Splits follow what makes a volume impossible (orientation, matrix, repeated positions), never what merely differs
(exposure, current, time of each slice).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

import numpy as np

from data_pipeline.dicom_images import Instance
from data_pipeline.geometry import (
    GeometryError,
    SliceStack,
    SpacingVerdict,
    build_stack,
    judge_spacing,
    repeated_places,
    slice_normal,
)
from data_pipeline.image_shelf import SeriesKey
from data_pipeline.pixel_digests import pixel_digest
from data_pipeline.quality import QualityPolicy
from data_pipeline.readers.dicom_series import decoded_digest
from domain.archive_members import split_source
from domain.findings import Finding, QualityCode

ORIENTATION_TOLERANCE = 0.01  # of a direction cosine: 0.6 degrees
SPACING_TOLERANCE_MM = 0.002


@dataclass(frozen=True)
class Candidate:
    """One stack of images that may be a volume.

    Attributes:
        study: StudyInstanceUID, or a stand-in made of the folder where there is none.
        series: SeriesInstanceUID or stand-in, and the part where a series was split.
        part: Number of the part, 0 for the first or only one.
        instances: In slice order where there is a geometry, else as found.
        stack: Measured geometry; None where there is none.
        findings: What building it noticed.
        duplicates: Images left out because an equal one is in ``instances``, or the whole one of a damaged copy.
    """

    study: str
    series: str
    part: int
    instances: tuple[Instance, ...]
    stack: SliceStack | None = None
    findings: tuple[Finding, ...] = ()
    duplicates: tuple[Instance, ...] = field(default=())


def series_key_of(instance: Instance) -> SeriesKey:
    """Study and series of an image: its UIDs, or folder and series number where it has none."""
    shared = instance.shared
    if shared.study_uid and shared.series_uid:
        return shared.study_uid, shared.series_uid
    path, member = split_source(instance.source)
    folder = f"{path}!{PurePath(member).parent}" if member else str(PurePath(path).parent)
    study = shared.study_uid or f"folder {folder} of {shared.patient_id}"
    return study, shared.series_uid or f"folder {folder} number {shared.series_number} {shared.series_description}"


def build_candidates(key: SeriesKey, instances: Sequence[Instance], policy: QualityPolicy) -> list[Candidate]:
    """Split the images of one series into stacks, each ordered and free of duplicates.

    Args:
        key: Study and series.
        instances: All images of the series, any order.
        policy: Severities and spacing tolerance.
    """
    ordered = sorted(instances, key=lambda item: (item.source, item.frame_index))
    by_kind = _split_by_kind(ordered)
    largest = max(len(group) for group in by_kind.values())
    candidates: list[Candidate] = []
    for group in by_kind.values():
        findings = _mixture_findings(list(by_kind), policy, is_remnant=2 * len(group) < largest)
        for part in _resolve(group, policy):
            own = replace(part, study=key[0], series=key[1], part=len(candidates))
            candidates.append(replace(own, findings=(*findings, *own.findings)))
    return candidates


def _split(instances: Iterable[Instance], attribute: Callable[[Instance], Hashable]) -> dict[Hashable, list[Instance]]:
    groups: dict[Hashable, list[Instance]] = defaultdict(list)
    for instance in instances:
        groups[attribute(instance)].append(instance)
    return dict(groups)


# Which orientation and which matrix of the series, whether a localizer, SOP class, modality, patient.
Kind = tuple[int | None, tuple[Hashable, ...], bool, str, str, str]


def _split_by_kind(instances: Sequence[Instance]) -> dict[Kind, list[Instance]]:
    """Images that can never share a volume apart. Cosines and spacings that differ by rounding are one."""
    orientations: list[tuple[float, ...]] = []
    spacings: list[tuple[float, ...]] = []
    groups: dict[Kind, list[Instance]] = defaultdict(list)
    for instance in instances:
        shared = instance.shared
        orientation = _place_of(shared.orientation, orientations, ORIENTATION_TOLERANCE)
        spacing = _place_of(shared.pixel_spacing_mm, spacings, SPACING_TOLERANCE_MM)
        matrix = (shared.rows, shared.columns, spacing)
        is_localizer = "LOCALIZER" in shared.image_type
        groups[orientation, matrix, is_localizer, shared.sop_class, shared.modality, shared.patient_id].append(instance)
    return dict(groups)


def _place_of(values: tuple[float, ...] | None, known: list[tuple[float, ...]], tolerance: float) -> int | None:
    """Place of a vector among those met so far, near ones being the same; it is added where it is new."""
    if values is None:
        return None
    for place, other in enumerate(known):
        if max(abs(one - two) for one, two in zip(values, other, strict=True)) <= tolerance:
            return place
    known.append(values)
    return len(known) - 1


def _mixture_findings(kinds: Sequence[Kind], policy: QualityPolicy, *, is_remnant: bool) -> list[Finding]:
    """What is said of each stack of a mixed series; the small ones are refused, lest one stands for the whole."""
    images = [kind for kind in kinds if not kind[2] and kind[0] is not None]
    fate = "this one is a remnant" if is_remnant else "this one is the largest or as large"
    findings = []
    for code, place, word in (
        (QualityCode.MIXED_ORIENTATION, 0, "orientations"),
        (QualityCode.MIXED_MATRIX, 1, "sizes"),
    ):
        number = len({kind[place] for kind in images})
        if number > 1:
            message = f"the series holds slices of {number} {word}, each taken as a stack of its own; {fate}"
            findings.append(policy.finding(code, message, severe=is_remnant, num_kinds=number))
    return findings


# ------------------------------------------------------------------------- duplicates and repeated positions


def _resolve(group: list[Instance], policy: QualityPolicy) -> list[Candidate]:
    """One stack if the positions allow, else one per acquisition (or whatever tells the repeats apart)."""
    if not _has_geometry(group):
        return [Candidate("", "", 0, tuple(_by_number(group)))]
    kept, duplicates = _drop_duplicates(group)
    findings: list[Finding] = []
    if duplicates:
        message = f"{len(duplicates)} images are copies of others and were left out"
        findings.append(policy.finding(QualityCode.DUPLICATE_SLICES, message, num_removed=len(duplicates)))
    stack = _stack(kept)
    repeats = repeated_places(stack)
    if not repeats and (len(kept) < 4 or _spacing(kept, policy).is_even):
        return [_candidate(kept, stack, findings, duplicates)]
    parts = _split_by_acquisition(kept, policy) if repeats else _split_interleaved(kept, policy)
    if parts is not None:
        name, groups = parts
        message = f"the series holds {len(groups)} stacks over the same region, told apart by {name}"
        findings.append(policy.finding(QualityCode.REPEATED_POSITIONS, message, num_stacks=len(groups)))
        return [
            _candidate(part, _stack(part), findings, duplicates if not index else [])
            for index, part in enumerate(groups)
        ]
    if repeats:
        message = f"{len(repeats)} positions hold more than one image and nothing in the headers tells them apart"
        findings.append(
            policy.finding(QualityCode.REPEATED_POSITIONS, message, severe=True, num_positions=len(repeats))
        )
    return [_candidate(kept, stack, findings, duplicates)]


def _has_geometry(group: Sequence[Instance]) -> bool:
    orientation = group[0].shared.orientation
    if orientation is None or any(instance.position_mm is None for instance in group):
        return False
    try:
        slice_normal(orientation)
    except GeometryError:
        return False
    return True


def _stack(group: Sequence[Instance]) -> SliceStack:
    positions = [instance.position_mm for instance in group if instance.position_mm is not None]
    return build_stack(positions, group[0].shared.orientation or ())


def _spacing(group: Sequence[Instance], policy: QualityPolicy) -> SpacingVerdict:
    return judge_spacing(_stack(group), policy.thresholds.spacing_tolerance)


def _candidate(
    group: Sequence[Instance], stack: SliceStack, findings: Sequence[Finding], duplicates: Sequence[Instance]
) -> Candidate:
    ordered = tuple(group[index] for index in stack.order)
    return Candidate("", "", 0, ordered, stack, tuple(findings), tuple(duplicates))


def _by_number(group: Sequence[Instance]) -> list[Instance]:
    return sorted(group, key=lambda item: (item.instance_number or 0, item.source, item.frame_index))


def _drop_duplicates(group: list[Instance]) -> tuple[list[Instance], list[Instance]]:
    """Leave out images at a position another image holds with equal pixels. UIDs alone decide nothing.

    They do of a damaged image: where a whole one of the same UID lies at its position, it is a copy that broke off.

    Empty or repeated SOPInstanceUIDs must not collapse a scan, and copies under new UIDs must not double it.
    """
    dropped: set[int] = set()
    for places in repeated_places(_stack(group)):
        seen: set[bytes] = set()
        whole_uids = {group[place].sop_uid for place in places if group[place].problem is None} - {""}
        broken = {place for place in places if group[place].problem and group[place].sop_uid in whole_uids}
        dropped |= broken
        is_mixed = len({group[place].shared.transfer_syntax for place in places}) > 1
        for place in sorted(set(places) - broken):
            digest = decoded_digest(group[place]) if is_mixed else pixel_digest(group[place])
            if digest in seen:
                dropped.add(place)
            seen.add(digest)
    kept = [instance for index, instance in enumerate(group) if index not in dropped]
    return kept, [group[index] for index in sorted(dropped)]


# In the order tried: what a scanner changes between two passes over the same region.
_DISTINCTIONS: tuple[tuple[str, Callable[[Instance], Hashable]], ...] = (
    ("acquisition number", lambda item: item.acquisition_number),
    ("temporal position", lambda item: item.temporal_position),
    ("image type", lambda item: item.shared.image_type),
    ("kernel", lambda item: item.shared.kernel),
    ("slice thickness", lambda item: item.shared.slice_thickness_mm),
    ("description", lambda item: item.shared.series_description),
    ("trigger time", lambda item: item.trigger_time_ms),
    ("acquisition time", lambda item: item.acquisition_time),
    ("folder", lambda item: str(PurePath(item.source).parent)),
)


Parts = tuple[str, list[list[Instance]]]


def _split_by_acquisition(group: list[Instance], policy: QualityPolicy) -> Parts | None:
    """The first distinction that leaves stacks without repeats, each of them even; None where none does."""
    ways = [(name, _split_in_order(group, attribute)) for name, attribute in _DISTINCTIONS]
    for name, parts in [*ways, ("the order of the image numbers", _runs_by_number(group))]:
        if _are_stacks(parts, policy):
            return name, parts
    return None


def _split_interleaved(group: list[Instance], policy: QualityPolicy) -> Parts | None:
    """Acquisitions over one region whose slices fall between each other's; None where it is one stack with a gap.

    Folders, thickness or descriptions that change along a stack would make two even ones of a stack with a lost middle.
    """
    name, attribute = _DISTINCTIONS[0]
    parts = _split_in_order(group, attribute)
    if not _are_stacks(parts, policy):
        return None
    reach = [[_offset_mm(item) for item in part] for part in parts]
    is_one_region = max(min(offsets) for offsets in reach) < min(max(offsets) for offsets in reach)
    return (name, parts) if is_one_region else None


def _are_stacks(parts: Sequence[list[Instance]], policy: QualityPolicy) -> bool:
    least = policy.thresholds.min_slices
    return 1 < len(parts) <= sum(map(len, parts)) // least and all(
        len(part) >= least and not repeated_places(_stack(part)) and _spacing(part, policy).is_even for part in parts
    )


def _offset_mm(item: Instance) -> float:
    """Place of an image along the slice normal."""
    return float(np.dot(item.position_mm or (0, 0, 0), slice_normal(item.shared.orientation or ())))


def _split_in_order(group: list[Instance], attribute: Callable[[Instance], Hashable]) -> list[list[Instance]]:
    """Parts by an attribute, the lowest value first: of equal phases the first is used."""

    def place(value: Hashable) -> tuple[bool, float, str]:
        is_number = isinstance(value, int | float)
        return not is_number, float(value) if isinstance(value, int | float) else 0.0, str(value)

    parts = _split(group, attribute)
    return [parts[value] for value in sorted(parts, key=place)]


def _runs_by_number(group: Sequence[Instance]) -> list[list[Instance]]:
    """Images in the order of their numbers, a new run wherever the table jumps back: phases written one by one.

    Nothing where numbers are missing or used twice: their order then says nothing.
    """
    numbers = [item.instance_number for item in group]
    if None in numbers or len(set(numbers)) < len(numbers):
        return []
    ordered = _by_number(group)
    offsets = [_offset_mm(item) for item in ordered]
    direction = 1.0 if offsets[1] >= offsets[0] else -1.0
    runs = [[ordered[0]]]
    for before, here, item in zip(offsets, offsets[1:], ordered[1:], strict=False):
        if direction * (here - before) <= 0:
            runs.append([])
        runs[-1].append(item)
    return runs
