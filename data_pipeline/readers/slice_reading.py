"""One slice of a DICOM series into its place in a volume: bytes, decoding, rescale, checksum. Runs in any process."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from io import FileIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.dicom_header import HeaderError, read_header
from data_pipeline.dicom_images import Instance
from data_pipeline.readers.encapsulated import read_frame
from data_pipeline.readers.hounsfield import StoredValues, to_hounsfield
from data_pipeline.readers.pixel_codecs import decode_frame
from data_pipeline.readers.pixel_errors import PixelError, cannot_read
from data_pipeline.sources import is_member, read_span
from data_pipeline.transfer_syntaxes import PixelCodec, transfer_syntax
from domain.findings import QualityCode


@dataclass(frozen=True, slots=True)
class SliceReport:
    """What reading one slice found.

    Attributes:
        lowest_hu: Before clipping.
        num_below_air: Pixels that were clipped.
        checksum: Of the slice's HU, 64 bits.
    """

    lowest_hu: float
    num_below_air: int
    checksum: int


def read_slice_into(instance: Instance, out: NDArray[np.int16]) -> SliceReport:
    """Read one slice as HU into its place.

    Args:
        instance: Its header.
        out: Where to; C-contiguous, int16. Shape (rows, columns).

    Raises:
        PixelError: The pixels cannot be had, with the typed reason.
    """
    if instance.problem is not None or instance.pixel is None:
        code = instance.problem or QualityCode.NO_PIXEL_DATA
        raise PixelError(code, f"the image is damaged: {code.value}")
    shared = instance.shared
    if (shared.rows, shared.columns) != out.shape:
        raise PixelError(QualityCode.MIXED_MATRIX, f"{shared.rows} x {shared.columns} in a stack of {out.shape}")
    try:
        raw = _stored_values(instance, out)
    except OSError as error:
        raise cannot_read(error) from error
    facts = to_hounsfield(raw, out, rescale_of(instance))
    return SliceReport(facts.lowest_hu, facts.num_below_air, checksum_of(out))


def checksum_of(values: NDArray[Any]) -> int:
    """64-bit checksum of an array's bytes: tells scans apart, withstands no forger."""
    data: Any = memoryview(np.ascontiguousarray(values)).cast("B")  # type: ignore[arg-type]
    try:
        from imagecodecs import deflate_adler32, deflate_crc32
    except ImportError:
        return zlib.crc32(data) << 32 | zlib.adler32(data)
    return int(deflate_crc32(data)) << 32 | int(deflate_adler32(data))


def rescale_of(instance: Instance) -> StoredValues:
    """Bits, sign and rescale; a missing rescale is the identity, and what comes of it is judged on the voxels."""
    shared = instance.shared
    allocated = shared.bits_allocated or 16
    stored = shared.bits_stored or allocated
    return StoredValues(
        bits_stored=min(stored, allocated),
        is_signed=bool(shared.pixel_representation),
        slope=1.0 if shared.slope is None else shared.slope,
        intercept=0.0 if shared.intercept is None else shared.intercept,
    )


def _stored_values(instance: Instance, out: NDArray[np.int16]) -> NDArray[Any]:
    shared, pixel = instance.shared, instance.pixel
    syntax = transfer_syntax(shared.transfer_syntax)
    allocated = shared.bits_allocated or 0
    if allocated not in {8, 16, 32} or (shared.samples_per_pixel or 1) != 1 or pixel is None:
        raise PixelError(QualityCode.NOT_HU, f"{allocated} bits in {shared.samples_per_pixel} samples hold no HU")
    if syntax.codec is not PixelCodec.NATIVE:
        data = read_frame(instance.source, pixel, instance.frame_index, instance.num_frames)
        return decode_frame(data, syntax.codec, shared.rows or 0, shared.columns or 0, allocated)
    num_bytes = out.size * allocated // 8
    start = pixel.offset + instance.frame_index * num_bytes
    order = ">" if syntax.encoding.is_big_endian else "<"
    if allocated == 16 and not syntax.is_deflated and not is_member(instance.source):
        _read_into(instance.source, start, out)
        raw: NDArray[Any] = out
        if np.dtype(f"{order}i2") != np.dtype(np.int16):
            raw = out.byteswap(inplace=True)
        return raw
    if syntax.is_deflated:
        data = (_inflated(instance.source) or b"")[start : start + num_bytes]
    else:
        data = read_span(instance.source, start, num_bytes)
    if len(data) < num_bytes:
        raise PixelError(QualityCode.TRUNCATED, f"{len(data)} of {num_bytes} bytes of pixels are there")
    values = np.frombuffer(data, dtype=f"{order}u{allocated // 8}").reshape(out.shape)
    return values.astype(values.dtype.newbyteorder("="))


def _read_into(source: str, start: int, out: NDArray[np.int16]) -> None:
    """Bytes of a file straight into the volume; the GIL is free meanwhile."""
    view = memoryview(out).cast("B")  # type: ignore[arg-type]
    with FileIO(source) as stream:
        stream.seek(start)
        done = 0
        while done < len(view):
            count = stream.readinto(view[done:])
            if not count:
                raise PixelError(QualityCode.TRUNCATED, f"{done} of {len(view)} bytes of pixels are there")
            done += count


def _inflated(source: str) -> bytes | None:
    try:
        return read_header(source).inflated
    except HeaderError as error:
        raise PixelError(error.code or QualityCode.UNREADABLE, str(error)) from error
