"""Walk over the elements of a DICOM data set in memory. Knows tags, lengths and nesting; no attribute's meaning.

Written for speed (a scan folder is 10,000 files, each header about 100 elements) and for hostile input: every length
is checked against the bytes that are there, nesting is bounded, and nothing is allocated from a declared size.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass

UNDEFINED_LENGTH = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
OTHER_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009})  # float and double float pixel data: never CT
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
MAX_DEPTH = 16  # enhanced CT nests 4 deep; deeper than this is an attack or garbage
MAX_ELEMENTS = 200_000  # at one level: real headers hold a few hundred

LONG_VRS = frozenset(b"OB OW OF OD OL OV SQ UC UN UR UT SV UV".split())
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())


class MalformedDicomError(Exception):
    """The bytes break the encoding rules. ``truncated`` tells a cut file from a garbled one."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        self.truncated = truncated
        super().__init__(message)


class NeedMoreBytesError(Exception):
    """The walk left the bytes at hand before it was done; the file goes on.

    Attributes:
        wanted: Smallest number of bytes that would let it go one step further.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        super().__init__(f"{wanted} bytes wanted")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written: explicit or implicit VR, byte order."""

    is_explicit: bool
    is_big_endian: bool = False


@dataclass(frozen=True, slots=True)
class PixelSpan:
    """Where the value of PixelData is.

    Attributes:
        offset: First byte, counted from the start of the walked bytes.
        length: Declared bytes; ``UNDEFINED_LENGTH`` when encapsulated.
        vr: ``OB`` or ``OW``; empty when implicit.
    """

    offset: int
    length: int
    vr: bytes = b""

    @property
    def is_encapsulated(self) -> bool:
        """Compressed frames in fragments."""
        return self.length == UNDEFINED_LENGTH


@dataclass(slots=True)
class Walk:
    """What one level of a data set holds.

    Attributes:
        values: Tag -> raw value of the wanted elements; for a sequence, the bytes of its items.
        pixel: PixelData, where the walk met it; it ends there.
        end: First byte not walked.
        has_other_pixels: Float pixel data was met instead.
    """

    values: dict[int, bytes]
    pixel: PixelSpan | None = None
    end: int = 0
    has_other_pixels: bool = False


_EXPLICIT = {False: struct.Struct("<HH2sH"), True: struct.Struct(">HH2sH")}
_IMPLICIT = {False: struct.Struct("<HHI"), True: struct.Struct(">HHI")}
_LENGTH = {False: struct.Struct("<I"), True: struct.Struct(">I")}


class _Cursor:
    """Bytes being walked, and what to do at their end."""

    __slots__ = ("buffer", "is_complete", "size")

    def __init__(self, buffer: bytes, *, is_complete: bool) -> None:
        self.buffer = buffer
        self.size = len(buffer)
        self.is_complete = is_complete

    def out_of_bytes(self, wanted: int) -> Exception:
        """Ask for more where the file goes on, else say that it is cut."""
        if self.is_complete:
            return MalformedDicomError(f"ends at byte {self.size}, byte {wanted} is declared", truncated=True)
        return NeedMoreBytesError(wanted)


def walk_dataset(buffer: bytes, start: int, encoding: Encoding, wanted: Collection[int], *, is_complete: bool) -> Walk:
    """Collect wanted elements of a data set up to PixelData or the end.

    Args:
        buffer: First bytes of the file, or all of them.
        start: First byte of the data set.
        encoding: Explicit or implicit, byte order.
        wanted: Tags to keep, ``group << 16 | element``.
        is_complete: ``buffer`` holds the whole file.

    Raises:
        NeedMoreBytesError: The buffer ends first and the file goes on.
        MalformedDicomError: Impossible VR, length or nesting; or the file is cut.
    """
    cursor = _Cursor(buffer, is_complete=is_complete)
    return _walk_level(cursor, start, cursor.size if is_complete else None, encoding, wanted, depth=0)


def walk_items(sequence: bytes, encoding: Encoding, wanted: Collection[int]) -> list[Walk]:
    """Collect wanted elements of every item of a sequence, given the bytes of its items.

    Raises:
        MalformedDicomError: The items do not fit.
    """
    cursor, position, items = _Cursor(sequence, is_complete=True), 0, []
    while position + 8 <= cursor.size:
        tag, length = _item_header(cursor, position, encoding)
        position += 8
        if tag == SEQUENCE_END:
            break
        if tag != ITEM:
            raise MalformedDicomError(f"expected an item, found tag {tag:08x}")
        end = None if length == UNDEFINED_LENGTH else position + length
        if end is not None and end > cursor.size:
            raise MalformedDicomError("an item is longer than its sequence", truncated=True)
        item = _walk_level(cursor, position, end, encoding, wanted, depth=1)
        items.append(item)
        position = item.end
    return items


Head = tuple[int, bytes, int, int]  # tag, VR, length, first byte of the value


def _explicit_head(cursor: _Cursor, position: int, encoding: Encoding) -> Head:
    group, element, vr, length = _EXPLICIT[encoding.is_big_endian].unpack_from(cursor.buffer, position)
    position += 8
    if vr in SHORT_VRS:
        return group << 16 | element, vr, length, position
    if group == 0xFFFE:
        return group << 16 | element, b"", 0, position
    if vr not in LONG_VRS:
        raise MalformedDicomError(f"({group:04x},{element:04x}) has no valid VR")
    if position + 4 > cursor.size:
        raise cursor.out_of_bytes(position + 4)
    return (
        group << 16 | element,
        vr,
        _LENGTH[encoding.is_big_endian].unpack_from(cursor.buffer, position)[0],
        position + 4,
    )


def _implicit_head(cursor: _Cursor, position: int, encoding: Encoding) -> Head:
    group, element, length = _IMPLICIT[encoding.is_big_endian].unpack_from(cursor.buffer, position)
    return group << 16 | element, b"", length, position + 8


def _walk_level(
    cursor: _Cursor, position: int, end: int | None, encoding: Encoding, wanted: Collection[int], *, depth: int
) -> Walk:
    """Elements of one level: to ``end``, to an item delimiter where that is None, or to PixelData."""
    size, walk = cursor.size, Walk({})
    read_head = _explicit_head if encoding.is_explicit else _implicit_head
    stop = UNDEFINED_LENGTH << 16 if end is None else end
    for _ in range(MAX_ELEMENTS):
        if encoding.is_explicit:
            position = _walk_plain(cursor, position, min(stop, size), encoding, wanted, walk.values)
        if position >= stop:
            walk.end = position
            return walk
        if position + 8 > size or (position + 12 > size and not cursor.is_complete):
            raise cursor.out_of_bytes(position + 12)
        tag, vr, length, position = read_head(cursor, position, encoding)
        if tag >= 0x7FE00008 and _is_end(walk, tag, vr, length, position, depth):
            return walk
        if length == UNDEFINED_LENGTH:
            # UN of undefined length is an implicit little-endian sequence (PS3.5 6.2.2 note 2)
            inner = Encoding(is_explicit=False) if vr == b"UN" else encoding
            value_end = _skip_sequence(cursor, position, inner, depth + 1)
        else:
            value_end = position + length
            if end is not None and value_end > end:
                raise MalformedDicomError(f"{tag:08x} is longer than what holds it", truncated=True)
        if tag in wanted:
            if value_end > size:
                raise cursor.out_of_bytes(value_end)
            walk.values[tag] = cursor.buffer[position:value_end]
        position = value_end
    raise MalformedDicomError("more elements than any real data set holds")


def _walk_plain(
    cursor: _Cursor, position: int, stop: int, encoding: Encoding, wanted: Collection[int], values: dict[int, bytes]
) -> int:
    """Step over a run of explicit elements with two-byte lengths, nearly all of a header; stop before any other.

    Does nothing that the loop it is called from would not do: it is that loop's quick half.
    """
    buffer, unpack, last = cursor.buffer, _EXPLICIT[encoding.is_big_endian].unpack_from, stop - 12
    for _ in range(MAX_ELEMENTS):
        if position > last:
            break
        group, element, vr, length = unpack(buffer, position)
        value_end = position + 8 + length
        if vr not in SHORT_VRS or group >= 0x7FE0 or value_end > stop:
            break
        tag = group << 16 | element
        if tag in wanted:
            values[tag] = buffer[position + 8 : value_end]
        position = value_end
    return position


def _is_end(walk: Walk, tag: int, vr: bytes, length: int, position: int, depth: int) -> bool:
    """Whether a level ends with this element: PixelData of the image, or the delimiter of an item."""
    if tag == PIXEL_DATA and depth == 0:
        walk.pixel, walk.end = PixelSpan(position, length, vr), position
        return True
    if tag in OTHER_PIXEL_DATA and depth == 0:
        walk.has_other_pixels = True
    if tag >> 16 != 0xFFFE:
        return False
    if tag == ITEM_END and depth:
        walk.end = position
        return True
    raise MalformedDicomError(f"{tag:08x} stands outside a sequence")


def _item_header(cursor: _Cursor, position: int, encoding: Encoding) -> tuple[int, int]:
    if position + 8 > cursor.size:
        raise cursor.out_of_bytes(position + 8)
    group, element, length = _IMPLICIT[encoding.is_big_endian].unpack_from(cursor.buffer, position)
    return group << 16 | element, length


def _skip_sequence(cursor: _Cursor, position: int, encoding: Encoding, depth: int) -> int:
    """First byte behind a sequence of undefined length whose first item starts at ``position``."""
    if depth > MAX_DEPTH:
        raise MalformedDicomError(f"sequences are nested deeper than {MAX_DEPTH}")
    for _ in range(MAX_ELEMENTS):
        tag, length = _item_header(cursor, position, encoding)
        position += 8
        if tag == SEQUENCE_END:
            return position
        if tag != ITEM:
            raise MalformedDicomError(f"expected an item, found tag {tag:08x}")
        if length == UNDEFINED_LENGTH:
            position = _walk_level(cursor, position, None, encoding, (), depth=depth).end
        else:
            position += length
    raise MalformedDicomError("more items than any real sequence holds")
