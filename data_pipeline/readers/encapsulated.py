"""Compressed pixel data: which fragments make which frame. Decodes nothing."""

from __future__ import annotations

from functools import lru_cache

from data_pipeline.dicom_elements import PixelSpan
from data_pipeline.readers.pixel_errors import PixelError
from data_pipeline.sources import read_span
from domain.findings import QualityCode

Fragment = tuple[int, int]  # first byte and length within the pixel data value

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP")
MAX_FRAGMENTS = 1_000_000
MAX_VALUE_BYTES = 4 << 30


def read_frame(source: str, pixel: PixelSpan, frame_index: int, num_frames: int) -> bytes:
    """Code stream of one frame, its fragments joined.

    Args:
        source: File or archive member.
        pixel: Where the value is; its length is not known beforehand.
        frame_index: Which frame.
        num_frames: How many there are.

    Raises:
        PixelError: The items are garbled, cut, or do not make that many frames.
        OSError: The source cannot be read.
    """
    value = _value(source, pixel.offset)
    frames = _frames(source, pixel.offset, num_frames)
    return b"".join([value[start : start + length] for start, length in frames[frame_index]])


@lru_cache(maxsize=4)
def _value(source: str, offset: int) -> bytes:
    return read_span(source, offset, MAX_VALUE_BYTES)


@lru_cache(maxsize=4)
def _frames(source: str, offset: int, num_frames: int) -> tuple[tuple[Fragment, ...], ...]:
    value = _value(source, offset)
    table, fragments = _fragments(value)
    if num_frames == 1:
        return (tuple(fragments),)
    if len(fragments) == num_frames:
        return tuple((fragment,) for fragment in fragments)
    starts = _frame_starts(value, table, fragments)
    if len(starts) != num_frames:
        raise PixelError(QualityCode.UNREADABLE, f"{num_frames} frames declared, {len(starts)} found in the fragments")
    ends = [*starts[1:], len(fragments)]
    return tuple(tuple(fragments[start:end]) for start, end in zip(starts, ends, strict=True))


def _fragments(value: bytes) -> tuple[list[int], list[Fragment]]:
    """Basic offset table and the fragments behind it."""
    position, spans = 0, []
    for _ in range(MAX_FRAGMENTS):
        tag, length = value[position : position + 4], int.from_bytes(value[position + 4 : position + 8], "little")
        position += 8
        if tag == _DELIMITER:
            break
        if tag != _ITEM or position + length > len(value):
            raise PixelError(QualityCode.TRUNCATED, "the compressed pixel data is cut or garbled")
        spans.append((position, length))
        position += length
    if len(spans) < 2:
        raise PixelError(QualityCode.NO_PIXEL_DATA, "the compressed pixel data is empty")
    first, length = spans[0]
    table = [int.from_bytes(value[i : i + 4], "little") for i in range(first, first + length - length % 4, 4)]
    return table, spans[1:]


def _frame_starts(value: bytes, table: list[int], fragments: list[Fragment]) -> list[int]:
    """Index of the first fragment of each frame, by the offset table, else by the code streams' first bytes."""
    if len(table) > 1:
        base = fragments[0][0] - 8
        places = {start - 8 - base: index for index, (start, _) in enumerate(fragments)}
        if all(offset in places for offset in table):
            return [places[offset] for offset in table]
    return [index for index, (start, _) in enumerate(fragments) if value[start : start + 8].startswith(_STARTS)]
