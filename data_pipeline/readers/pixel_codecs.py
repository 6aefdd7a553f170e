"""Compressed frames to stored values. Checks what a code stream says of itself before a decoder sees it.

Decoders are C and C++ libraries fed with hospital bytes: callers run this in a process that may die
(``decode_worker``), never in the one that holds results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.readers.pixel_errors import PixelError
from data_pipeline.transfer_syntaxes import PixelCodec
from domain.findings import QualityCode

JPEG_DCT_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
JPEG_LOSSLESS_FRAME = 0xC3
JPEG_LS_FRAME = 0xF7
_STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
J2K_START = b"\xff\x4f\xff\x51"
MAX_RLE_SEGMENTS = 15


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a code stream declares."""

    codec: PixelCodec
    rows: int
    columns: int
    num_components: int
    precision: int


def describe_stream(data: bytes) -> StreamFacts | None:
    """Codec and size of a JPEG, JPEG-LS or JPEG 2000 code stream; None where it is none of them."""
    if data[:2] == b"\xff\xd8":
        return _describe_jpeg(data)
    start = data.find(J2K_START, 0, 512)  # 0, or behind the boxes of a JP2 file
    if start < 0 or len(data) < start + 42:
        return None
    body = data[start + 6 :]
    width, height, left, top = (int.from_bytes(body[i : i + 4], "big") for i in (2, 6, 10, 14))
    precision = (body[36] & 0x7F) + 1
    return StreamFacts(PixelCodec.JPEG_2000, height - top, width - left, int.from_bytes(body[34:36], "big"), precision)


def _describe_jpeg(data: bytes) -> StreamFacts | None:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _STANDALONE_MARKERS:
            position += 2
            continue
        if marker in JPEG_DCT_FRAMES or marker in {JPEG_LOSSLESS_FRAME, JPEG_LS_FRAME}:
            body = data[position + 4 : position + 10]
            codec = {JPEG_LOSSLESS_FRAME: PixelCodec.JPEG_LOSSLESS, JPEG_LS_FRAME: PixelCodec.JPEG_LS}.get(
                marker, PixelCodec.JPEG
            )
            if len(body) < 6:
                return None
            rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            return StreamFacts(codec, rows, columns, body[5], body[0])
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def decode_frame(data: bytes, codec: PixelCodec, rows: int, columns: int, bits_allocated: int) -> NDArray[Any]:
    """Decode one frame.

    Args:
        data: The frame's code stream, fragments joined.
        codec: As the transfer syntax declares.
        rows: As the header declares.
        columns: As the header declares.
        bits_allocated: 8 or 16.

    Returns:
        Stored values, 8 or 16 bit integers. Shape (rows, columns).

    Raises:
        PixelError: The stream is of another codec or size, damaged, or cut.
    """
    if codec is PixelCodec.RLE:
        return _decode_rle(data, rows, columns, bits_allocated)
    facts = describe_stream(data)
    if facts is None:
        raise PixelError(QualityCode.UNREADABLE, f"no {codec.value} code stream in the pixel data")
    if facts.codec is not codec:
        raise PixelError(
            QualityCode.WRONG_TRANSFER_SYNTAX, f"declared as {codec.value}, compressed as {facts.codec.value}"
        )
    if (facts.rows, facts.columns, facts.num_components) != (rows, columns, 1) or facts.precision > bits_allocated:
        raise PixelError(
            QualityCode.UNREADABLE,
            f"the header declares {rows} x {columns}, the code stream {facts.rows} x {facts.columns} "
            f"with {facts.num_components} component(s) of {facts.precision} bits",
        )
    decoded = _decode_stream(data, codec)
    if decoded.shape != (rows, columns) or decoded.dtype.kind not in "iu" or decoded.dtype.itemsize > 2:
        raise PixelError(QualityCode.UNREADABLE, f"decoded to {decoded.dtype} of shape {decoded.shape}")
    return np.ascontiguousarray(decoded)


def _decode_stream(data: bytes, codec: PixelCodec) -> NDArray[Any]:
    import imagecodecs

    decoders: dict[PixelCodec, Any] = {
        PixelCodec.JPEG: imagecodecs.jpeg8_decode,
        PixelCodec.JPEG_LOSSLESS: imagecodecs.jpeg8_decode,
        PixelCodec.JPEG_LS: imagecodecs.jpegls_decode,
        PixelCodec.JPEG_2000: imagecodecs.jpeg2k_decode,
    }
    try:
        return np.asarray(decoders[codec](data))
    except (RuntimeError, ValueError, MemoryError, TypeError) as error:
        raise PixelError(QualityCode.UNREADABLE, f"the {codec.value} code stream is damaged") from error


def _decode_rle(data: bytes, rows: int, columns: int, bits_allocated: int) -> NDArray[Any]:
    """PS3.5 annex G: a table of segments, one per byte of a pixel, most significant first, each PackBits coded."""
    import imagecodecs

    num_bytes, num_segments = bits_allocated // 8, int.from_bytes(data[:4], "little")
    if len(data) < 64 or num_segments != num_bytes:
        known = describe_stream(data)
        code = QualityCode.WRONG_TRANSFER_SYNTAX if known else QualityCode.UNREADABLE
        raise PixelError(code, f"the RLE header names {num_segments} segments, {num_bytes} are needed")
    offsets = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "little") for i in range(num_segments)]
    ends = [*offsets[1:], len(data)]
    planes = np.empty((rows * columns, num_bytes), dtype=np.uint8)
    for index, (start, end) in enumerate(zip(offsets, ends, strict=True)):
        if not 64 <= start < end <= len(data):
            raise PixelError(QualityCode.UNREADABLE, "the RLE segment table is garbled")
        try:
            plane = np.frombuffer(imagecodecs.packbits_decode(data[start:end]), dtype=np.uint8)
        except (RuntimeError, ValueError) as error:
            raise PixelError(QualityCode.UNREADABLE, "an RLE segment is damaged") from error
        if len(plane) < rows * columns:
            raise PixelError(QualityCode.TRUNCATED, "an RLE segment is too short")
        planes[:, num_bytes - 1 - index] = plane[: rows * columns]
    return planes.view(f"<u{num_bytes}").reshape(rows, columns)
