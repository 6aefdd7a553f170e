"""One DICOM file's header as typed facts: what a series shares, what an image has of its own. Decodes no pixel."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache

from data_pipeline.dicom_elements import (
    LONG_VRS,
    SHORT_VRS,
    Encoding,
    MalformedDicomError,
    NeedMoreBytesError,
    PixelSpan,
    Walk,
    walk_dataset,
    walk_items,
)
from data_pipeline.sources import read_span, read_start
from data_pipeline.transfer_syntaxes import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    TRANSFER_SYNTAXES,
    PixelCodec,
    TransferSyntax,
    transfer_syntax,
)
from domain.findings import QualityCode

Vector = tuple[float, float, float]

FIRST_READ_BYTES = 16 << 10  # holds nearly every CT header; one page-cached read
MAX_HEADER_BYTES = 256 << 20  # enhanced objects with thousands of frames reach tens of MB
MAX_INFLATED_BYTES = 1 << 30  # of a deflated data set
MAX_FRAMES = 20_000

CT_IMAGE_CLASS = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"

# Shared by the images of a series: (field, tag), in the order of the raw tuple they are parsed from.
_SHARED_TAGS: tuple[tuple[str, int], ...] = (
    ("image_type", 0x00080008),
    ("sop_class", 0x00080016),
    ("study_date", 0x00080020),
    ("modality", 0x00080060),
    ("manufacturer", 0x00080070),
    ("study_description", 0x00081030),
    ("series_description", 0x0008103E),
    ("model", 0x00081090),
    ("patient_id", 0x00100020),
    ("contrast_agent", 0x00180010),
    ("body_part", 0x00180015),
    ("slice_thickness_mm", 0x00180050),
    ("protocol", 0x00181030),
    ("gantry_tilt_degrees", 0x00181120),
    ("kernel", 0x00181210),
    ("patient_position", 0x00185100),
    ("study_uid", 0x0020000D),
    ("series_uid", 0x0020000E),
    ("series_number", 0x00200011),
    ("orientation", 0x00200037),
    ("samples_per_pixel", 0x00280002),
    ("photometric", 0x00280004),
    ("rows", 0x00280010),
    ("columns", 0x00280011),
    ("pixel_spacing_mm", 0x00280030),
    ("bits_allocated", 0x00280100),
    ("bits_stored", 0x00280101),
    ("pixel_representation", 0x00280103),
    ("burned_in", 0x00280301),
    ("intercept", 0x00281052),
    ("slope", 0x00281053),
    ("lossy", 0x00282110),
)
_SHARED_TAG_LIST = tuple(tag for _, tag in _SHARED_TAGS)
SOP_INSTANCE_UID, ACQUISITION_TIME, ACQUISITION_NUMBER = 0x00080018, 0x00080032, 0x00200012
INSTANCE_NUMBER, POSITION, TEMPORAL_POSITION, NUM_FRAMES = 0x00200013, 0x00200032, 0x00200100, 0x00280008
SHARED_GROUPS, FRAME_GROUPS = 0x52009229, 0x52009230
WANTED = frozenset(
    {*_SHARED_TAG_LIST, SOP_INSTANCE_UID, ACQUISITION_TIME, ACQUISITION_NUMBER, INSTANCE_NUMBER, POSITION}
    | {TEMPORAL_POSITION, NUM_FRAMES, SHARED_GROUPS, FRAME_GROUPS}
)
_META_CLASS, _META_SYNTAX = 0x00020002, 0x00020010
_NUMBERS = frozenset({"slice_thickness_mm", "gantry_tilt_degrees", "intercept", "slope"})
_COUNTS = frozenset({"samples_per_pixel", "rows", "columns", "bits_allocated", "bits_stored", "pixel_representation"})


@dataclass(frozen=True, slots=True)
class SharedFacts:
    """Facts that the images of a series share; None or empty where the header is silent."""

    image_type: tuple[str, ...] = ()
    sop_class: str = ""
    study_date: str = ""
    modality: str = ""
    manufacturer: str = ""
    study_description: str = ""
    series_description: str = ""
    model: str = ""
    patient_id: str = ""
    contrast_agent: str = ""
    body_part: str = ""
    slice_thickness_mm: float | None = None
    protocol: str = ""
    gantry_tilt_degrees: float | None = None
    kernel: str = ""
    patient_position: str = ""
    study_uid: str = ""
    series_uid: str = ""
    series_number: str = ""
    orientation: tuple[float, ...] | None = None
    samples_per_pixel: int | None = None
    photometric: str = ""
    rows: int | None = None
    columns: int | None = None
    pixel_spacing_mm: tuple[float, ...] | None = None
    bits_allocated: int | None = None
    bits_stored: int | None = None
    pixel_representation: int | None = None
    burned_in: str = ""
    intercept: float | None = None
    slope: float | None = None
    lossy: str = ""
    transfer_syntax: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One image: a single-frame file, or one frame of an enhanced object.

    Attributes:
        source: File, or archive member.
        frame_index: Frame within the file.
        num_frames: Frames the file holds.
        position_mm: ImagePositionPatient, LPS.
        pixel: Where PixelData is, counted from the start of the file (of the inflated data set when deflated).
        problem: The file is damaged: it counts towards its series, but cannot be read.
    """

    source: str
    shared: SharedFacts
    sop_uid: str = ""
    position_mm: Vector | None = None
    instance_number: int | None = None
    acquisition_number: int | None = None
    temporal_position: int | None = None
    acquisition_time: str = ""
    frame_index: int = 0
    num_frames: int = 1
    pixel: PixelSpan | None = None
    problem: QualityCode | None = None


class HeaderError(Exception):
    """A file that gives no image; ``is_ignored`` when that is no fault of the file."""

    def __init__(self, code: QualityCode | None, message: str, *, is_ignored: bool = False) -> None:
        self.code = code
        self.is_ignored = is_ignored
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header and, for a deflated or archived file, the inflated bytes its pixel span counts from."""

    instances: tuple[Instance, ...]
    syntax: TransferSyntax
    inflated: bytes | None = None


def read_header(source: str) -> Header:
    """Parse the header of a file or archive member.

    Raises:
        HeaderError: Not DICOM, damaged, or no image at all.
        OSError: The file cannot be read.
    """
    buffer, size = read_start(source, FIRST_READ_BYTES)
    while True:
        try:
            return parse_header(source, buffer, size)
        except NeedMoreBytesError as more:
            target = min(max(more.wanted, 4 * len(buffer)), size, MAX_HEADER_BYTES)
            if len(buffer) >= target:
                raise HeaderError(QualityCode.TRUNCATED, "the header goes on behind the end of the file") from more
            longer = read_start(source, target)[0]
            if len(longer) <= len(buffer):
                raise HeaderError(QualityCode.TRUNCATED, "the file became shorter while it was read") from more
            buffer = longer


def parse_header(source: str, buffer: bytes, size: int) -> Header:
    """Parse a header from the first bytes of a file.

    Args:
        source: Name kept in the instances.
        buffer: First bytes, or all.
        size: Bytes of the whole file.

    Raises:
        NeedMoreBytesError: The buffer does not hold the whole header.
        HeaderError: Not DICOM, damaged, or no image at all.
    """
    if size == 0:
        raise HeaderError(QualityCode.TRUNCATED, "the file is empty")
    start, syntax_uid = _find_dataset(buffer, size)
    syntax = transfer_syntax(syntax_uid)
    inflated = None
    if syntax.is_deflated:
        inflated = _inflate(source, start)
        buffer, start, size = inflated, 0, len(inflated)
    is_complete = len(buffer) >= size
    _check_declared_encoding(buffer, start, syntax)
    try:
        walk = walk_dataset(buffer, start, syntax.encoding, WANTED, is_complete=is_complete)
        instances = _instances_of(source, walk, syntax, size)
    except MalformedDicomError as error:
        code = QualityCode.TRUNCATED if error.truncated else QualityCode.UNREADABLE
        raise HeaderError(code, str(error)) from error
    return Header(instances, syntax, inflated)


def _find_dataset(buffer: bytes, size: int) -> tuple[int, str]:
    """First byte of the data set and its transfer syntax, declared or guessed."""
    has_preamble = buffer[128:132] == b"DICM"
    start = 132 if has_preamble else 0
    if buffer[start : start + 2] == b"\x02\x00" and buffer[start + 4 : start + 6] in SHORT_VRS | LONG_VRS:
        start, meta = _walk_meta(buffer, start, size)
        if _text(meta.get(_META_CLASS)) == DICOMDIR_CLASS:
            raise HeaderError(None, "a DICOMDIR is an index, not an image", is_ignored=True)
        declared = _text(meta.get(_META_SYNTAX))
        if declared:
            return start, declared
    guessed = _guess_encoding(buffer[start : start + 12])
    if guessed is None:
        code = QualityCode.UNREADABLE if has_preamble else QualityCode.NOT_DICOM
        raise HeaderError(code, "no DICOM data set at the start of the file", is_ignored=not has_preamble)
    return start, guessed


def _walk_meta(buffer: bytes, start: int, size: int) -> tuple[int, dict[int, bytes]]:
    """Group 2, always explicit little endian; its group length is not trusted."""
    values: dict[int, bytes] = {}
    position = start
    while buffer[position : position + 2] == b"\x02\x00":
        vr = buffer[position + 4 : position + 6]
        is_long = vr in LONG_VRS
        head = 12 if is_long else 8
        length = int.from_bytes(buffer[position + head - (4 if is_long else 2) : position + head], "little")
        if vr not in SHORT_VRS and not is_long:
            raise HeaderError(QualityCode.UNREADABLE, "the file meta group is garbled")
        if position + head + length > len(buffer):
            if len(buffer) < size:
                raise NeedMoreBytesError(position + head + length + 12)
            raise HeaderError(QualityCode.TRUNCATED, "the file ends within its meta group")
        tag = 0x00020000 | int.from_bytes(buffer[position + 2 : position + 4], "little")
        values[tag] = buffer[position + head : position + head + length]
        position += head + length
    return position, values


def _guess_encoding(head: bytes) -> str | None:
    """Transfer syntax of a bare data set from its first element, or None where it is none."""
    if len(head) < 8:
        return None
    vr = head[4:6]
    if head[:2] == b"\x08\x00" and head[3] == 0:
        if vr in SHORT_VRS or vr in LONG_VRS:
            return EXPLICIT_LITTLE
        return IMPLICIT_LITTLE if int.from_bytes(head[4:8], "little") < 1024 else None
    if head[:2] == b"\x00\x08" and head[2] == 0 and vr in SHORT_VRS:
        return EXPLICIT_BIG
    return None


def _check_declared_encoding(buffer: bytes, start: int, syntax: TransferSyntax) -> None:
    """Refuse a data set that is plainly not written as its meta group says."""
    guessed = _guess_encoding(buffer[start : start + 12])
    if guessed is not None and TRANSFER_SYNTAXES[guessed].encoding != syntax.encoding:
        raise HeaderError(
            QualityCode.WRONG_TRANSFER_SYNTAX,
            f"declared as {syntax.name}, written as {TRANSFER_SYNTAXES[guessed].name}",
        )


def _inflate(source: str, start: int) -> bytes:
    compressed = read_span(source, start, MAX_INFLATED_BYTES)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(compressed, MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise HeaderError(QualityCode.UNREADABLE, "the deflated data set is damaged") from error
    if inflater.unconsumed_tail:
        raise HeaderError(QualityCode.TOO_LARGE, f"the data set inflates to more than {MAX_INFLATED_BYTES} bytes")
    if not inflater.eof:
        raise HeaderError(QualityCode.TRUNCATED, "the deflated data set is cut")
    return inflated


# ------------------------------------------------------------------------------------------------- typed facts


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode("latin-1").strip(" \0\r\n\t")


def _numbers(raw: bytes | None) -> tuple[float, ...] | None:
    """Values of a decimal string; None where any is no finite number."""
    if not raw or b"_" in raw:
        return None
    try:
        values = tuple(float(part) for part in raw.replace(b"\0", b"").split(b"\\"))
    except ValueError:
        return None
    return values if all(math.isfinite(value) and abs(value) < 1e9 for value in values) else None


def _number(raw: bytes | None) -> float | None:
    values = _numbers(raw)
    return values[0] if values else None


def _integer(raw: bytes | None) -> int | None:
    value = _number(raw)
    return None if value is None else int(value)


def _vector(raw: bytes | None) -> Vector | None:
    values = _numbers(raw)
    return (values[0], values[1], values[2]) if values is not None and len(values) == 3 else None


@lru_cache(maxsize=8192)
def _shared_facts(raw: tuple[bytes | None, ...], syntax_uid: str, *, is_big_endian: bool) -> SharedFacts:
    """Parse the shared attributes once per different set of them, not once per file."""
    order = "big" if is_big_endian else "little"
    fields: dict[str, object] = {"transfer_syntax": syntax_uid}
    for (name, _), value in zip(_SHARED_TAGS, raw, strict=True):
        if name in _COUNTS:
            is_short = value is not None and len(value) >= 2
            fields[name] = int.from_bytes(value[:2], order) if value is not None and is_short else None  # type: ignore[arg-type]
        elif name in _NUMBERS:
            fields[name] = _number(value)
        elif name in {"orientation", "pixel_spacing_mm"}:
            numbers = _numbers(value)
            fields[name] = numbers if numbers and len(numbers) == (6 if name == "orientation" else 2) else None
        elif name == "image_type":
            fields[name] = tuple(part.strip().upper() for part in _text(value).split("\\")) if value else ()
        else:
            fields[name] = _text(value)
    return SharedFacts(**fields)  # type: ignore[arg-type]


@lru_cache(maxsize=8192)
def _one_span(span: PixelSpan) -> PixelSpan:
    """Equal spans are one object: the files of a series nearly all have the same."""
    return span


def _instances_of(source: str, walk: Walk, syntax: TransferSyntax, size: int) -> tuple[Instance, ...]:
    values = walk.values
    raw = tuple([values.get(tag) for tag in _SHARED_TAG_LIST])
    shared = _shared_facts(raw, syntax.uid, is_big_endian=syntax.encoding.is_big_endian)
    if not shared.modality and not shared.sop_class and walk.pixel is None:
        raise HeaderError(QualityCode.NOT_DICOM, "neither modality nor SOP class: not an image", is_ignored=True)
    first = Instance(
        source,
        shared,
        sop_uid=_text(values.get(SOP_INSTANCE_UID)),
        position_mm=_vector(values.get(POSITION)),
        instance_number=_integer(values.get(INSTANCE_NUMBER)),
        acquisition_number=_integer(values.get(ACQUISITION_NUMBER)),
        temporal_position=_integer(values.get(TEMPORAL_POSITION)),
        acquisition_time=_text(values.get(ACQUISITION_TIME)),
        pixel=None if walk.pixel is None else _one_span(walk.pixel),
    )
    num_frames = _integer(values.get(NUM_FRAMES))
    if shared.sop_class in ENHANCED_CT_CLASSES or (FRAME_GROUPS in values and shared.modality == "CT"):
        frames = _enhanced_frames(first, walk, syntax.encoding, num_frames or 1)
    else:
        frames = (first if num_frames in {None, 1} else replace(first, num_frames=num_frames or 1),)
    problem = _pixel_problem(frames[0], syntax, size)
    return frames if problem is None else tuple(replace(frame, problem=problem) for frame in frames)


def _pixel_problem(first: Instance, syntax: TransferSyntax, size: int) -> QualityCode | None:
    """What is wrong with the pixel data as far as lengths tell."""
    pixel, shared = first.pixel, first.shared
    if pixel is None:
        return QualityCode.NO_PIXEL_DATA
    if syntax.codec is PixelCodec.UNSUPPORTED:
        return QualityCode.UNSUPPORTED_TRANSFER_SYNTAX
    if pixel.is_encapsulated != (syntax.codec is not PixelCodec.NATIVE):
        return QualityCode.WRONG_TRANSFER_SYNTAX
    if pixel.is_encapsulated:
        return None if _ends_with_delimiter(first, size, is_inflated=syntax.is_deflated) else QualityCode.TRUNCATED
    if pixel.offset + pixel.length > size:
        return QualityCode.TRUNCATED
    bits = (shared.rows or 0) * (shared.columns or 0) * (shared.samples_per_pixel or 1) * (shared.bits_allocated or 0)
    return QualityCode.TRUNCATED if pixel.length < bits * first.num_frames // 8 else None


def _ends_with_delimiter(first: Instance, size: int, *, is_inflated: bool) -> bool:
    """Compressed pixel data closes with a delimiter, nearly always the last 8 bytes; else its items are walked."""
    delimiter = b"\xfe\xff\xdd\xe0"
    if is_inflated or read_span(first.source, size - 8, 4) == delimiter:
        return True
    position = first.pixel.offset if first.pixel else size
    while position + 8 <= size:
        head = read_span(first.source, position, 8)
        if head[:4] == delimiter:
            return True
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"\xfe\xff\x00\xe0" or length == 0xFFFFFFFF:
            return False
        position += 8 + length
    return False


# ----------------------------------------------------------------------------------- enhanced multi-frame objects

_PLANE_POSITION, _PLANE_ORIENTATION, _PIXEL_MEASURES = 0x00209113, 0x00209116, 0x00289110
_VALUE_TRANSFORM, _FRAME_CONTENT, _CT_RECONSTRUCTION, _CT_FRAME_TYPE = 0x00289145, 0x00209111, 0x00189314, 0x00189329
_FRAME_TYPE, _ACQUISITION_FRAME, _TEMPORAL_INDEX = 0x00089007, 0x00209156, 0x00209128
_GROUP_SEQUENCES = frozenset(
    {_PLANE_POSITION, _PLANE_ORIENTATION, _PIXEL_MEASURES, _VALUE_TRANSFORM, _FRAME_CONTENT}
    | {_CT_RECONSTRUCTION, _CT_FRAME_TYPE}
)
_GROUP_VALUES = frozenset({*_SHARED_TAG_LIST, POSITION, _FRAME_TYPE, _ACQUISITION_FRAME, _TEMPORAL_INDEX})


def _functional_groups(sequence: bytes | None, encoding: Encoding) -> list[dict[int, bytes]]:
    """For each item: the wanted values of all its functional groups, flat."""
    if sequence is None:
        return []
    flat = []
    for item in walk_items(sequence, encoding, _GROUP_SEQUENCES):
        values: dict[int, bytes] = {}
        for group in item.values.values():
            for walk in walk_items(group, encoding, _GROUP_VALUES)[:1]:
                values |= walk.values
        flat.append(values)
    return flat


def _enhanced_frames(first: Instance, walk: Walk, encoding: Encoding, num_frames: int) -> tuple[Instance, ...]:
    """One instance per frame, each with its own geometry and rescale (PS3.3 C.7.6.16)."""
    shared_groups = _functional_groups(walk.values.get(SHARED_GROUPS), encoding)
    frame_groups = _functional_groups(walk.values.get(FRAME_GROUPS), encoding)
    if num_frames > MAX_FRAMES or num_frames < 1 or len(frame_groups) != num_frames:
        raise MalformedDicomError(f"{num_frames} frames declared, {len(frame_groups)} described")
    common = {tag: value for tag, value in walk.values.items() if tag in _GROUP_VALUES}
    common |= shared_groups[0] if shared_groups else {}
    frames = []
    for index, group in enumerate(frame_groups):
        values = common | group
        if _FRAME_TYPE in values:
            values[0x00080008] = values[_FRAME_TYPE]
        raw = tuple([values.get(tag) for tag in _SHARED_TAG_LIST])
        facts = _shared_facts(raw, first.shared.transfer_syntax, is_big_endian=encoding.is_big_endian)
        temporal = group.get(_TEMPORAL_INDEX)
        acquisition = group.get(_ACQUISITION_FRAME)
        order = "big" if encoding.is_big_endian else "little"
        frames.append(
            replace(
                first,
                shared=facts,
                position_mm=_vector(values.get(POSITION)),
                temporal_position=int.from_bytes(temporal, order) if temporal else None,  # type: ignore[arg-type]
                acquisition_number=int.from_bytes(acquisition, order) if acquisition else None,  # type: ignore[arg-type]
                frame_index=index,
                num_frames=num_frames,
            )
        )
    return tuple(frames)
