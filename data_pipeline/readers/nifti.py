"""NIfTI files to HU volumes. Says no to masks, colours, unknown orientation and anything cut short."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.quality import AIR_LIKE_HU, QualityPolicy
from data_pipeline.readers.hounsfield import INT16, SliceFacts, StoredValues, to_hounsfield
from data_pipeline.readers.nifti_header import READ_BYTES, NiftiHeader, parse_nifti_header
from data_pipeline.readers.pixel_errors import PixelError, cannot_read, reading
from data_pipeline.readers.raw_volume import RawVolume, digest_volume
from data_pipeline.readers.slice_reading import checksum_of
from data_pipeline.readers.volume_header import volume_findings
from data_pipeline.sources import MAX_MEMBER_BYTES, read_span, read_start
from domain.affine import Affine
from domain.findings import Finding, QualityCode
from domain.records import SeriesRef, SeriesTable
from domain.volume import AIR_HU, Acquisition

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 20
GZIP_START_BYTES = 64 << 10  # compressed bytes that surely hold the header


def describe_nifti(source: str, policy: QualityPolicy) -> tuple[SeriesTable, tuple[Finding, ...]]:
    """Header facts of a NIfTI file and what they say against it; voxels are not read."""
    try:
        start, size = read_start(source, GZIP_START_BYTES)
        is_compressed = start[:2] == GZIP_MAGIC
        header = parse_nifti_header(_first_bytes(start) if is_compressed else start[:READ_BYTES])
        if not is_compressed and size < header.offset + header.num_bytes:
            raise PixelError(QualityCode.TRUNCATED, f"{size} bytes, {header.offset + header.num_bytes} are declared")
        if is_compressed:
            _check_trailer(source, size, header)
    except (PixelError, OSError) as error:
        problem = cannot_read(error)
        return SeriesTable(1, 0, transfer_syntax="NIfTI"), (policy.finding(problem.code, problem.message),)
    spacing = header.affine.spacing_mm if header.affine is not None else (None, None, None)
    table = SeriesTable(
        num_files=1,
        num_slices=header.shape[2],
        rows=header.shape[1],
        columns=header.shape[0],
        row_spacing_mm=spacing[1],
        column_spacing_mm=spacing[0],
        slice_gap_mm=spacing[2],
        transfer_syntax="NIfTI, gzip" if is_compressed else "NIfTI",
    )
    holds_hu = header.dtype is not None and header.dtype.itemsize > 1
    is_unsigned = header.dtype is not None and header.dtype.kind == "u" and header.slope > 0
    findings = volume_findings(header.shape, header.affine, policy, num_volumes=header.num_volumes, holds_hu=holds_hu)
    if holds_hu and is_unsigned and header.intercept > AIR_LIKE_HU:
        message = "unsigned values without a negative rescale: nothing can be as low as air and lung"
        findings = (*findings, policy.finding(QualityCode.NOT_HU, message, intercept=header.intercept))
    return table, findings


def read_nifti(series: SeriesRef, policy: QualityPolicy, *, num_workers: int | None = None) -> RawVolume:
    """Read a NIfTI file as HU.

    Args:
        series: One file.
        policy: For the memory limit.
        num_workers: Not used; one file is read by one thread.

    Raises:
        StudyError: With the typed reason.
    """
    del num_workers
    with reading():
        return _read(series.files[0], policy)


def _read(source: str, policy: QualityPolicy) -> RawVolume:
    start, size = read_start(source, GZIP_START_BYTES)
    is_compressed = start[:2] == GZIP_MAGIC
    header = parse_nifti_header(_first_bytes(start) if is_compressed else start[:READ_BYTES])
    affine = header.affine
    if affine is None:
        raise PixelError(QualityCode.ORIENTATION_UNKNOWN, "neither sform nor qform is set: left and right are unknown")
    if header.dtype is None or header.num_volumes != 1:
        raise PixelError(QualityCode.NOT_A_CT_VOLUME, "colours, complex numbers or several volumes are no CT")
    if max(header.num_bytes, 2 * header.num_bytes // header.dtype.itemsize) > policy.max_volume_bytes:
        limit = policy.thresholds.max_volume_gib
        raise PixelError(QualityCode.TOO_LARGE, f"{header.num_bytes} bytes of voxels; the limit is {limit:g} GiB")
    if not is_compressed and size < header.offset + header.num_bytes:
        raise PixelError(QualityCode.TRUNCATED, f"{size} bytes, {header.offset + header.num_bytes} are declared")
    data = _inflate(source, header) if is_compressed else read_span(source, header.offset, header.num_bytes)
    if len(data) < header.num_bytes:
        raise PixelError(QualityCode.TRUNCATED, f"{len(data)} of {header.num_bytes} bytes of voxels are there")
    stored = np.frombuffer(data, dtype=header.dtype, count=header.num_bytes // header.dtype.itemsize)
    return _convert(stored.reshape(header.shape[::-1]), header, affine)


def _convert(stored: NDArray[Any], header: NiftiHeader, affine: Affine) -> RawVolume:
    voxels = np.empty(stored.shape, dtype=np.int16)
    facts, checksums = [], []
    for plane, out in zip(stored, voxels, strict=True):
        facts.append(_convert_plane(plane, out, header))
        checksums.append(checksum_of(out))
    return RawVolume(
        voxels=voxels.transpose(2, 1, 0),
        affine=affine,
        acquisition=Acquisition(),
        lowest_hu=min(fact.lowest_hu for fact in facts),
        num_below_air=sum(fact.num_below_air for fact in facts),
        content_digest=digest_volume(checksums, voxels.shape, affine),
    )


def _convert_plane(plane: NDArray[Any], out: NDArray[np.int16], header: NiftiHeader) -> SliceFacts:
    native = plane.astype(plane.dtype.newbyteorder("="))
    if native.dtype.kind in "iu":
        is_signed = native.dtype.kind == "i"
        rule = StoredValues(8 * native.dtype.itemsize, is_signed, header.slope, header.intercept)
        return to_hounsfield(native, out, rule)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities are clipped below
        scaled = np.rint(native.astype(np.float64) * header.slope + header.intercept)
    missing = np.isnan(scaled)
    scaled[missing] = AIR_HU  # some writers put NaN outside the field of view
    num_below = int(np.count_nonzero(scaled < AIR_HU)) + int(missing.sum())
    out[...] = np.clip(scaled, AIR_HU, INT16.max).astype(np.int16)
    return SliceFacts(float(max(scaled.min(), -1e9)), num_below)


# ------------------------------------------------------------------------------------------------------ gzip


def _first_bytes(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, READ_BYTES)
    except zlib.error as error:
        raise PixelError(QualityCode.UNREADABLE, "the gzip stream is damaged") from error


def _check_trailer(source: str, size: int, header: NiftiHeader) -> None:
    """The last four bytes of a gzip file are its inflated size; where they disagree, inflate to find out why."""
    declared = header.offset + header.num_bytes * header.num_volumes
    trailer = read_span(source, size - 4, 4)
    if int.from_bytes(trailer, "little") != declared % (1 << 32):
        total = sum(len(chunk) for chunk in _inflated_chunks(source, declared + CHUNK_BYTES))
        if total < declared:
            raise PixelError(QualityCode.TRUNCATED, f"{total} bytes inflated, {declared} are declared")


def _inflate(source: str, header: NiftiHeader) -> bytearray:
    """Voxels of a compressed file, never more than declared."""
    data, skip = bytearray(), header.offset
    for chunk in _inflated_chunks(source, header.offset + header.num_bytes * header.num_volumes + CHUNK_BYTES):
        kept = chunk[skip:] if skip else chunk
        skip = max(0, skip - len(chunk))
        data += kept[: header.num_bytes - len(data)]
    return data


def _inflated_chunks(source: str, limit: int) -> Iterator[bytes]:
    """Inflated bytes up to a limit; the check sum at the end of the stream is verified."""
    compressed = read_span(source, 0, MAX_MEMBER_BYTES)
    total = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(compressed)) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                total += len(chunk)
                yield chunk
                if total > limit:
                    return
    except EOFError as error:
        raise PixelError(QualityCode.TRUNCATED, "the gzip stream is cut") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise PixelError(QualityCode.UNREADABLE, "the gzip stream is damaged") from error
