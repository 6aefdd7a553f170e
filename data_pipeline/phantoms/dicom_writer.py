"""Writes a volume as a classic CT Image Storage series, Explicit VR Little Endian. The only place that knows LPS.

The encoder is ours and small: a slice differs from its neighbour in five elements, so the rest is encoded once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.randomness import stable_uid

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
IMPLEMENTATION_UID = stable_uid("myolung", "phantom writer", 1)
LONG_VRS = frozenset({"OB", "OW", "UN", "UT", "SQ"})  # four-byte length, PS3.5 7.1.2

Compression = Literal["none", "jpegls"]
SYNTAXES: dict[Compression, str] = {"none": EXPLICIT_LITTLE_ENDIAN, "jpegls": JPEG_LS_LOSSLESS}

Value = str | int | float | bytes | Sequence[float]
Tag = tuple[int, int]


def encode_element(tag: Tag, vr: str, value: Value) -> bytes:
    """One data element.

    Args:
        tag: Group and element.
        vr: Value representation.
        value: Text (already joined by backslashes), one number for US and SS, or bytes.
    """
    if isinstance(value, bytes):
        payload = value
    elif vr in {"US", "SS"}:
        payload = struct.pack("<H" if vr == "US" else "<h", int(value))  # type: ignore[arg-type]  # one number by VR
    elif vr == "UL":
        payload = struct.pack("<I", int(value))  # type: ignore[arg-type]  # one number by VR
    else:
        payload = _text(value).encode("latin-1")
    if len(payload) % 2:
        payload += b"\0" if vr in {"UI", "OB"} else b" "
    head = struct.pack("<HH", *tag) + vr.encode()
    if vr in LONG_VRS:
        return head + b"\0\0" + struct.pack("<I", len(payload)) + payload
    return head + struct.pack("<H", len(payload)) + payload


def decimal_text(value: float) -> str:
    """A decimal string of at most 16 characters (VR DS)."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text[:16]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return "\\".join(decimal_text(float(item)) for item in value)
    return str(value) if isinstance(value, int) else decimal_text(float(str(value)))


@dataclass(frozen=True, slots=True)
class SeriesTags:
    """What a series says of itself, besides geometry.

    Attributes:
        patient_id: Invented.
        sex: ``F``, ``M`` or empty.
        age_years: Age.
        uid_parts: What the UIDs are derived from.
        elements: Further or overriding elements: tag -> (VR, value); a value of None leaves the element out.
        bits_stored: 12 or 16.
        is_signed: Signed pixels.
        intercept: Rescale intercept; the slope is 1.
    """

    patient_id: str
    sex: str
    age_years: float
    uid_parts: tuple[object, ...]
    series_number: int = 2
    elements: dict[Tag, tuple[str, Value | None]] = field(default_factory=dict)
    bits_stored: int = 16
    is_signed: bool = True
    intercept: int = 0


@dataclass(frozen=True, slots=True)
class SeriesGeometry:
    """Where the pixels are, LPS, mm.

    Attributes:
        first_position: (x, y, z) of the first pixel of the first slice.
        spacing_mm: (slice gap, row spacing, column spacing).
        thickness_mm: Slice thickness.
        row_cosines: Direction along a row, then down a column.
        patient_position: ``HFS`` or ``HFP``.
    """

    first_position: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    thickness_mm: float
    row_cosines: tuple[float, float, float, float, float, float] = (1, 0, 0, 0, 1, 0)
    patient_position: str = "HFS"


def _study_elements(tags: SeriesTags, geometry: SeriesGeometry) -> dict[Tag, tuple[str, Value | None]]:
    study_uid = stable_uid(*tags.uid_parts, "study")
    return {
        (0x0008, 0x0008): ("CS", "ORIGINAL\\PRIMARY\\AXIAL"),
        (0x0008, 0x0016): ("UI", CT_IMAGE_STORAGE),
        (0x0008, 0x0020): ("DA", "20200102"),
        (0x0008, 0x0021): ("DA", "20200102"),
        (0x0008, 0x0022): ("DA", "20200102"),
        (0x0008, 0x0023): ("DA", "20200102"),
        (0x0008, 0x0030): ("TM", "101500"),
        (0x0008, 0x0032): ("TM", "101600"),
        (0x0008, 0x0033): ("TM", "101600"),
        (0x0008, 0x0050): ("SH", ""),
        (0x0008, 0x0060): ("CS", "CT"),
        (0x0008, 0x0070): ("LO", "MYOLUNG PHANTOM"),
        (0x0008, 0x0080): ("LO", "SYNTHETIC"),
        (0x0008, 0x0090): ("PN", ""),
        (0x0008, 0x1030): ("LO", "SYNTHETIC CHEST HRCT"),
        (0x0008, 0x103E): ("LO", "THORAX HRCT"),
        (0x0010, 0x0010): ("PN", f"PHANTOM^{tags.patient_id}"),
        (0x0010, 0x0020): ("LO", tags.patient_id),
        (0x0010, 0x0030): ("DA", ""),
        (0x0010, 0x0040): ("CS", tags.sex),
        (0x0010, 0x1010): ("AS", f"{round(tags.age_years):03d}Y"),
        (0x0018, 0x0015): ("CS", "CHEST"),
        (0x0018, 0x0050): ("DS", geometry.thickness_mm),
        (0x0018, 0x0060): ("DS", 120),
        (0x0018, 0x5100): ("CS", geometry.patient_position),
        (0x0020, 0x000D): ("UI", study_uid),
        (0x0020, 0x000E): ("UI", stable_uid(*tags.uid_parts, "series", tags.series_number)),
        (0x0020, 0x0010): ("SH", "1"),
        (0x0020, 0x0011): ("IS", tags.series_number),
        (0x0020, 0x0012): ("IS", 1),
        (0x0020, 0x0037): ("DS", geometry.row_cosines),
        (0x0020, 0x0052): ("UI", stable_uid(*tags.uid_parts, "frame")),
        (0x0020, 0x1040): ("LO", ""),
    }


def _pixel_elements(
    tags: SeriesTags, shape: tuple[int, int], spacing: tuple[float, float]
) -> dict[Tag, tuple[str, Value | None]]:
    return {
        (0x0028, 0x0002): ("US", 1),
        (0x0028, 0x0004): ("CS", "MONOCHROME2"),
        (0x0028, 0x0010): ("US", shape[0]),
        (0x0028, 0x0011): ("US", shape[1]),
        (0x0028, 0x0030): ("DS", spacing),
        (0x0028, 0x0100): ("US", 16),
        (0x0028, 0x0101): ("US", tags.bits_stored),
        (0x0028, 0x0102): ("US", tags.bits_stored - 1),
        (0x0028, 0x0103): ("US", int(tags.is_signed)),
        (0x0028, 0x1050): ("DS", -600),
        (0x0028, 0x1051): ("DS", 1500),
        (0x0028, 0x1052): ("DS", tags.intercept),
        (0x0028, 0x1053): ("DS", 1),
        (0x0028, 0x1054): ("LO", "HU"),
    }


def _file_meta(sop_uid: str, syntax: str) -> bytes:
    body = b"".join(
        [
            encode_element((0x0002, 0x0001), "OB", b"\0\1"),
            encode_element((0x0002, 0x0002), "UI", CT_IMAGE_STORAGE),
            encode_element((0x0002, 0x0003), "UI", sop_uid),
            encode_element((0x0002, 0x0010), "UI", syntax),
            encode_element((0x0002, 0x0012), "UI", IMPLEMENTATION_UID),
        ]
    )
    return b"\0" * 128 + b"DICM" + encode_element((0x0002, 0x0000), "UL", len(body)) + body


def stored_pixels(hu: NDArray[np.int16], tags: SeriesTags) -> NDArray[np.int16] | NDArray[np.uint16]:
    """HU to stored values, limited to the bits stored."""
    values = hu.astype(np.int32) - tags.intercept
    if tags.is_signed:
        return np.clip(values, -(1 << (tags.bits_stored - 1)), (1 << (tags.bits_stored - 1)) - 1).astype("<i2")
    return np.clip(values, 0, (1 << tags.bits_stored) - 1).astype("<u2")


def _pixel_data(pixels: NDArray[np.int16] | NDArray[np.uint16], compression: Compression) -> bytes:
    """The pixel data element, native or as one encapsulated fragment (PS3.5 A.4)."""
    if compression == "none":
        return encode_element((0x7FE0, 0x0010), "OW", pixels.tobytes())
    import imagecodecs  # heavy, and only compressed cohorts need it

    stream = bytes(imagecodecs.jpegls_encode(pixels.view(np.uint16)))
    stream += b"\0" * (len(stream) % 2)
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(stream)) + stream
    return head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def write_series(
    hu: NDArray[np.int16],
    geometry: SeriesGeometry,
    tags: SeriesTags,
    folder: Path,
    rng: np.random.Generator,
    *,
    compression: Compression = "none",
) -> list[Path]:
    """Write one series; file names are in no particular order of slices.

    Args:
        hu: HU, int16, shape (S, R, C): slices from feet to head, rows and columns as the cosines say.
        geometry: Where they are.
        tags: What the headers say.
        folder: Target; made if missing.
        rng: Shuffles the files.
        compression: Transfer syntax of the pixels; both are lossless.

    Returns:
        Path of each slice, in slice order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    constant = _study_elements(tags, geometry) | _pixel_elements(tags, hu.shape[1:], geometry.spacing_mm[1:])
    encoded = {tag: encode_element(tag, vr, value) for tag, (vr, value) in constant.items() if value is not None}
    for tag, (vr, value) in tags.elements.items():
        encoded.pop(tag, None)
        if value is not None:
            encoded[tag] = encode_element(tag, vr, value)
    numbers = rng.permutation(len(hu))
    paths = []
    pixels = stored_pixels(hu, tags)
    for index in range(len(hu)):
        x, y, z = geometry.first_position
        z += index * geometry.spacing_mm[0]
        sop_uid = stable_uid(*tags.uid_parts, "instance", tags.series_number, index)
        own = {
            (0x0008, 0x0018): encode_element((0x0008, 0x0018), "UI", sop_uid),
            (0x0020, 0x0013): encode_element((0x0020, 0x0013), "IS", len(hu) - index),
            (0x0020, 0x0032): encode_element((0x0020, 0x0032), "DS", (x, y, z)),
            (0x0020, 0x1041): encode_element((0x0020, 0x1041), "DS", z),
            (0x7FE0, 0x0010): _pixel_data(pixels[index], compression),
        }
        everything = encoded | own
        path = folder / f"IM{numbers[index] + 1:04d}.dcm"
        path.write_bytes(
            _file_meta(sop_uid, SYNTAXES[compression]) + b"".join(everything[tag] for tag in sorted(everything))
        )
        paths.append(path)
    return paths
