"""Our header parser against pydicom, and against bytes that are no header."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import pydicom
import pytest

from data_pipeline.dicom_elements import Encoding, MalformedDicomError, walk_dataset, walk_items
from data_pipeline.dicom_header import HeaderError, read_header
from domain.findings import QualityCode

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "real"
EXPLICIT = Encoding(is_explicit=True)


def real_files() -> list[Path]:
    files = [path for path in sorted(REAL.rglob("*")) if path.is_file() and "nifti" not in str(path)]
    return [path for path in files if "P001" not in str(path) or path.stem.endswith("_1")]


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared real scans are not on this machine")
def test_every_real_header_gives_the_facts_pydicom_gives() -> None:
    compared = 0
    for path in real_files():
        try:
            first = read_header(str(path)).instances[0]
        except HeaderError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            shared = first.shared
            assert shared.modality == expected.get("Modality", "")
            assert shared.series_uid == str(expected.get("SeriesInstanceUID", ""))
            assert (shared.rows, shared.columns) == (expected.get("Rows"), expected.get("Columns"))
            assert first.sop_uid == str(expected.get("SOPInstanceUID") or "")
            if "ImagePositionPatient" in expected:
                assert first.position_mm == pytest.approx(list(expected.ImagePositionPatient))
        compared += 1
    assert compared > 100


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    if vr in {b"OB", b"OW", b"SQ", b"UN"}:
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


UNDEFINED = 0xFFFFFFFF


def test_sequences_of_undefined_length_are_walked_over() -> None:
    inner = element(0x0008, 0x0100, b"SH", b"CODE")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    sequence = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, UNDEFINED) + item
    sequence += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = sequence + element(0x0010, 0x0020, b"LO", b"ID")
    walk = walk_dataset(data, 0, EXPLICIT, {0x00100020, 0x00081140}, is_complete=True)
    assert walk.values[0x00100020] == b"ID"
    items = walk_items(walk.values[0x00081140], EXPLICIT, {0x00080100})
    assert [found.values for found in items] == [{0x00080100: b"CODE"}]


def test_endless_nesting_is_refused() -> None:
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, UNDEFINED)
    opening += struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
    with pytest.raises(MalformedDicomError, match="nested"):
        walk_dataset(opening * 1000, 0, EXPLICIT, (), is_complete=True)


@pytest.mark.parametrize("length", [0xFFFE, 200])
def test_lengths_that_leave_the_file_are_refused(length: int) -> None:
    data = struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", length) + b"CT"
    with pytest.raises(MalformedDicomError) as caught:
        walk_dataset(data, 0, EXPLICIT, {0x00080060}, is_complete=True)
    assert caught.value.truncated


def declare(path: Path, uid: str) -> None:
    """Change the transfer syntax that a file declares, leaving the rest as it is."""
    dataset = pydicom.dcmread(path)
    written = dataset.file_meta.TransferSyntaxUID
    data = path.read_bytes()
    old, new = written.encode(), uid.encode()
    old += b"\0" * (len(old) % 2)
    new += b"\0" * (len(new) % 2)
    place = data.index(b"UI" + struct.pack("<H", len(old)) + old)
    changed = data[:place] + b"UI" + struct.pack("<H", len(new)) + new + data[place + 4 + len(old) :]
    path.write_bytes(changed)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_a_data_set_not_written_as_declared_is_refused(make_series: object, uid: str) -> None:
    path = make_series()[0]  # type: ignore[operator]
    declare(path, uid)
    with pytest.raises(HeaderError) as caught:
        read_header(str(path))
    assert caught.value.code is QualityCode.WRONG_TRANSFER_SYNTAX


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"])
def test_pixels_not_compressed_as_declared_are_refused(make_series: object, uid: str) -> None:
    path = make_series()[0]  # type: ignore[operator]
    declare(path, uid)
    assert read_header(str(path)).instances[0].problem is QualityCode.WRONG_TRANSFER_SYNTAX


def test_a_header_longer_than_the_first_read_is_read_whole(make_series: object) -> None:
    long_value = "x" * 40_000
    path = make_series(elements={(0x0009, 0x1001): ("OB", long_value.encode())})[0]  # type: ignore[operator]
    assert read_header(str(path)).instances[0].shared.modality == "CT"
