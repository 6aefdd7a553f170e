"""One DICOM file's header: where its data set starts, how it is written, which images it holds. Decodes no pixel."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import lru_cache

from data_pipeline.dicom_elements import (
    LONG_VRS,
    SHORT_VRS,
    MalformedDicomError,
    NeedMoreBytesError,
    PixelSpan,
    Walk,
    walk_dataset,
)
from data_pipeline.dicom_images import (
    ACQUISITION_NUMBER,
    ACQUISITION_TIME,
    ENHANCED_CT_CLASSES,
    FRAME_GROUPS,
    INSTANCE_NUMBER,
    NUM_FRAMES,
    POSITION,
    SHARED_GROUPS,
    SHARED_TAG_LIST,
    SOP_INSTANCE_UID,
    TEMPORAL_POSITION,
    TRIGGER_TIME,
    Instance,
    integer_of,
    number_of,
    shared_facts,
    text_of,
    vector_of,
)
from data_pipeline.enhanced_frames import enhanced_frames
from data_pipeline.sources import archive_kind, read_span, read_start
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

FIRST_READ_BYTES = 16 << 10  # holds nearly every CT header; one page-cached read
MAX_HEADER_BYTES = 256 << 20  # enhanced objects with thousands of frames reach tens of MB
MAX_INFLATED_BYTES = 1 << 30  # of a deflated data set
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
WANTED = frozenset(
    {*SHARED_TAG_LIST, SOP_INSTANCE_UID, ACQUISITION_TIME, ACQUISITION_NUMBER, INSTANCE_NUMBER, POSITION}
    | {TEMPORAL_POSITION, TRIGGER_TIME, NUM_FRAMES, SHARED_GROUPS, FRAME_GROUPS}
)
_META_CLASS, _META_SYNTAX = 0x00020002, 0x00020010


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
        if text_of(meta.get(_META_CLASS)) == DICOMDIR_CLASS:
            raise HeaderError(None, "a DICOMDIR is an index, not an image", is_ignored=True)
        declared = text_of(meta.get(_META_SYNTAX))
        if declared:
            return start, declared
    guessed = _guess_encoding(buffer[start : start + 12])
    if guessed is None:
        if not any(buffer):
            raise HeaderError(QualityCode.TRUNCATED, "the file holds zeros: a copy that was never finished")
        if kind := archive_kind(buffer):
            raise HeaderError(QualityCode.UNSUPPORTED_ARCHIVE, f"a {kind} archive is not opened: unpack it")
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


@lru_cache(maxsize=8192)
def _one_span(span: PixelSpan) -> PixelSpan:
    """Equal spans are one object: the files of a series nearly all have the same."""
    return span


def _instances_of(source: str, walk: Walk, syntax: TransferSyntax, size: int) -> tuple[Instance, ...]:
    values = walk.values
    raw = tuple([values.get(tag) for tag in SHARED_TAG_LIST])
    shared = shared_facts(raw, syntax.uid, is_big_endian=syntax.encoding.is_big_endian)
    if not shared.modality and not shared.sop_class and walk.pixel is None:
        raise HeaderError(QualityCode.NOT_DICOM, "neither modality nor SOP class: not an image", is_ignored=True)
    first = Instance(
        source,
        shared,
        sop_uid=text_of(values.get(SOP_INSTANCE_UID)),
        position_mm=vector_of(values.get(POSITION)),
        instance_number=integer_of(values.get(INSTANCE_NUMBER)),
        acquisition_number=integer_of(values.get(ACQUISITION_NUMBER)),
        temporal_position=integer_of(values.get(TEMPORAL_POSITION)),
        acquisition_time=text_of(values.get(ACQUISITION_TIME)),
        trigger_time_ms=number_of(values.get(TRIGGER_TIME)),
        pixel=None if walk.pixel is None else _one_span(walk.pixel),
    )
    num_frames = integer_of(values.get(NUM_FRAMES))
    if shared.sop_class in ENHANCED_CT_CLASSES or (FRAME_GROUPS in values and shared.modality == "CT"):
        frames = enhanced_frames(first, walk, syntax.encoding, num_frames or 1)
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
