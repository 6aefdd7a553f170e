"""MetaImage and NRRD files to HU volumes, through SimpleITK. No such file is trusted with its sizes before a check."""

from __future__ import annotations

import math
import re
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from data_pipeline.quality import QualityPolicy
from data_pipeline.readers.hounsfield import INT16
from data_pipeline.readers.pixel_errors import PixelError, cannot_read, reading
from data_pipeline.readers.raw_volume import RawVolume, digest_volume
from data_pipeline.readers.slice_reading import checksum_of
from data_pipeline.readers.volume_header import volume_findings
from data_pipeline.sources import is_member, read_start
from domain.affine import Affine
from domain.findings import Finding, QualityCode
from domain.records import SeriesRef, SeriesTable
from domain.volume import AIR_HU, Acquisition

HEADER_BYTES = 64 << 10
DATA_FILE = re.compile(r"^(?:ElementDataFile\s*=|data ?file\s*:)\s*(\S[^\r\n]*)", re.MULTILINE | re.IGNORECASE)
PRINTED_NUMBER = re.compile(r"%\d*d")  # in the name of a run of files
# What a header must say of where its voxels are; what is silent ITK takes for 1 mm and upright.
METAIMAGE_PLACE = (r"^(?:ElementSpacing|ElementSize)\s*=", r"^(?:TransformMatrix|Rotation|Orientation)\s*=")
NRRD_PLACE = (r"^space:\s*(?:\w+-\w+-superior|[RL][AP]S)", r"^space directions:")


def describe_metaimage(source: str, policy: QualityPolicy) -> tuple[SeriesTable, tuple[Finding, ...]]:
    """Header facts of a MetaImage or NRRD file and what they say against it; voxels are not read."""
    try:
        reader = _open(source)
        shape, num_volumes, affine = _geometry(reader)
    except (PixelError, OSError) as error:
        problem = cannot_read(error)
        return SeriesTable(1, 0, transfer_syntax=_name(source)), (policy.finding(problem.code, problem.message),)
    table = SeriesTable(
        num_files=1,
        num_slices=shape[2],
        rows=shape[1],
        columns=shape[0],
        row_spacing_mm=affine.spacing_mm[1],
        column_spacing_mm=affine.spacing_mm[0],
        slice_gap_mm=affine.spacing_mm[2],
        transfer_syntax=_name(source),
    )
    findings = volume_findings(shape, affine, policy, num_volumes=num_volumes, holds_hu=_holds_hu(reader))
    return table, findings


def data_files(source: str) -> tuple[str, ...]:
    """Files beside a header that hold its voxels, as it names them; none where it holds them itself.

    Patterns (``slice%03d.raw 1 90 1``) give every file that fits.
    """
    try:
        names = [name for name in _named_files(_header_text(source)) if not _leads_out(name)]
    except OSError:
        return ()
    folder = Path(source).parent
    found: list[Path] = []
    for name in names:
        if (folder / name).is_file():
            found.append(folder / name)
        elif PRINTED_NUMBER.search(name):
            found += sorted(folder.glob("*".join(escape(part) for part in PRINTED_NUMBER.split(name.split()[0]))))
    return tuple(str(path) for path in found)


def read_metaimage(series: SeriesRef, policy: QualityPolicy, *, num_workers: int | None = None) -> RawVolume:
    """Read a MetaImage or NRRD file as HU.

    Raises:
        StudyError: With the typed reason.
    """
    del num_workers
    with reading():
        return _read(series.files[0], policy)


def _read(source: str, policy: QualityPolicy) -> RawVolume:
    import SimpleITK

    reader = _open(source)
    shape, num_volumes, affine = _geometry(reader)
    if num_volumes != 1 or not _holds_hu(reader):
        raise PixelError(QualityCode.NOT_A_CT_VOLUME, "8-bit values, colours or several volumes are no CT")
    num_bytes = 8 * math.prod(shape)  # doubles on the way, whatever is stored
    if num_bytes > 2 * policy.max_volume_bytes:
        raise PixelError(
            QualityCode.TOO_LARGE, f"{shape} voxels; the limit is {policy.thresholds.max_volume_gib:g} GiB"
        )
    try:
        image = reader.Execute()  # kept by name: the view below does not keep its memory alive
    except RuntimeError as error:
        raise PixelError(QualityCode.TRUNCATED, "the voxels cannot be read: cut or damaged") from error
    stored = np.asarray(SimpleITK.GetArrayViewFromImage(image)).reshape(shape[::-1])
    values = np.nan_to_num(stored, nan=AIR_HU)
    voxels = np.clip(np.rint(values) if values.dtype.kind == "f" else values, AIR_HU, INT16.max).astype(np.int16)
    return RawVolume(
        voxels=voxels.transpose(2, 1, 0),
        affine=affine,
        acquisition=Acquisition(),
        lowest_hu=float(values.min()),
        num_below_air=int(np.count_nonzero(values < AIR_HU)),
        content_digest=digest_volume([checksum_of(plane) for plane in voxels], voxels.shape, affine),
    )


def _open(source: str) -> Any:
    """A SimpleITK reader that has read the header."""
    import SimpleITK

    if is_member(source):
        raise PixelError(QualityCode.UNREADABLE, "MetaImage and NRRD files inside archives are not read: unpack them")
    if Path(source).stat().st_size == 0:
        raise PixelError(QualityCode.TRUNCATED, "the file is empty")
    _check_start(source)
    reader: Any = SimpleITK.ImageFileReader()  # type: ignore[no-untyped-call]
    reader.SetFileName(source)
    reader.SetImageIO("NrrdImageIO" if _name(source) == "NRRD" else "MetaImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise PixelError(QualityCode.UNREADABLE, f"not readable as {_name(source)}") from error
    return reader


def _check_start(source: str) -> None:
    """Refuse what is no such header, one silent of its place, and one that names a data file outside its folder."""
    start = _header_text(source)
    if not (start.startswith("NRRD") if _name(source) == "NRRD" else "NDims" in start):
        raise PixelError(QualityCode.UNREADABLE, f"not readable as {_name(source)}")
    for name in _named_files(start):
        if _leads_out(name):
            raise PixelError(QualityCode.UNREADABLE, "the header names a data file outside its folder")
    wanted = NRRD_PLACE if _name(source) == "NRRD" else METAIMAGE_PLACE
    if not all(re.search(pattern, start, re.MULTILINE | re.IGNORECASE) for pattern in wanted):
        message = "the header gives no spacing or no orientation: left and right are unknown"
        raise PixelError(QualityCode.ORIENTATION_UNKNOWN, message)


def _header_text(source: str) -> str:
    return read_start(source, HEADER_BYTES)[0].decode("latin-1")


def _named_files(text: str) -> list[str]:
    """Names of data files in a header; those of a list stand on the lines behind it."""
    names: list[str] = []
    for found in DATA_FILE.finditer(text):
        first = found[1].strip()
        if first.split()[0].upper() == "LIST":
            names += [line.strip() for line in text[found.end() :].splitlines() if line.strip()]
        elif first.upper() != "LOCAL":
            names.append(first)
    return names


def _leads_out(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or name[1:2] == ":"


def _name(source: str) -> str:
    return "NRRD" if source.lower().endswith(("nrrd", "nhdr")) else "MetaImage"


def _holds_hu(reader: Any) -> bool:
    import SimpleITK

    small = {SimpleITK.sitkUInt8, SimpleITK.sitkInt8}
    return reader.GetNumberOfComponents() == 1 and reader.GetPixelID() not in small


def _geometry(reader: Any) -> tuple[tuple[int, int, int], int, Affine]:
    """Shape, number of volumes and affine of what the reader found, LPS turned into RAS."""
    size = reader.GetSize()
    if len(size) not in {3, 4} or any(extent < 1 for extent in size):
        raise PixelError(QualityCode.NOT_A_CT_VOLUME, f"{len(size)} dimensions, not a volume")
    num_dimensions = len(size)
    direction = np.array(reader.GetDirection()).reshape(num_dimensions, num_dimensions)[:3, :3]
    matrix = np.eye(4)
    matrix[:3, :3] = direction * np.array(reader.GetSpacing()[:3])
    matrix[:3, 3] = reader.GetOrigin()[:3]
    matrix[:2] *= -1
    try:
        affine = Affine(matrix)
    except ValueError as error:
        raise PixelError(QualityCode.ORIENTATION_UNKNOWN, str(error)) from error
    return (size[0], size[1], size[2]), math.prod(size[3:]), affine
