"""What a series' images share and what each has of its own, parsed from raw values. Finds no element in a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from data_pipeline.dicom_elements import PixelSpan
from domain.findings import QualityCode

Vector = tuple[float, float, float]

CT_IMAGE_CLASS = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})

# Shared by the images of a series: (field, tag), in the order of the raw tuple they are parsed from.
_SHARED_TAGS: tuple[tuple[str, int], ...] = (
    ("character_set", 0x00080005),
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
    ("rescale_type", 0x00281054),
    ("lossy", 0x00282110),
)
SHARED_TAG_LIST = tuple(tag for _, tag in _SHARED_TAGS)
SOP_INSTANCE_UID, ACQUISITION_TIME, ACQUISITION_NUMBER = 0x00080018, 0x00080032, 0x00200012
TRIGGER_TIME = 0x00181060
INSTANCE_NUMBER, POSITION, TEMPORAL_POSITION, NUM_FRAMES = 0x00200013, 0x00200032, 0x00200100, 0x00280008
SHARED_GROUPS, FRAME_GROUPS = 0x52009229, 0x52009230
_TYPED = frozenset({"study_description", "series_description", "protocol", "contrast_agent", "patient_id"})
# Python's names of the character sets of PS3.3 C.12.1.1.2 met on CT scanners; the last value is the one in use.
_CODECS = {
    "ISO_IR 100": "latin-1", "ISO_IR 101": "iso8859-2", "ISO_IR 109": "iso8859-3", "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5", "ISO_IR 127": "iso8859-6", "ISO_IR 126": "iso8859-7", "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9", "ISO_IR 166": "tis-620", "ISO_IR 13": "shift_jis", "ISO_IR 192": "utf-8",
    "GB18030": "gb18030", "GBK": "gbk", "ISO 2022 IR 87": "iso2022_jp_2", "ISO 2022 IR 159": "iso2022_jp_2",
    "ISO 2022 IR 149": "euc_kr", "ISO 2022 IR 58": "gb2312", "ISO 2022 IR 144": "iso8859-5",
}  # fmt: skip
_NUMBERS = frozenset({"slice_thickness_mm", "gantry_tilt_degrees", "intercept", "slope"})
_COUNTS = frozenset({"samples_per_pixel", "rows", "columns", "bits_allocated", "bits_stored", "pixel_representation"})


@dataclass(frozen=True, slots=True)
class SharedFacts:
    """Facts that the images of a series share; None or empty where the header is silent."""

    character_set: str = ""
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
    rescale_type: str = ""
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
    trigger_time_ms: float | None = None
    frame_index: int = 0
    num_frames: int = 1
    pixel: PixelSpan | None = None
    problem: QualityCode | None = None


def text_of(raw: bytes | None) -> str:
    """Text of a value, padding stripped; empty where the element is missing."""
    return "" if raw is None else raw.decode("latin-1").strip(" \0\r\n\t")


def typed_text(raw: bytes | None, character_set: str) -> str:
    """Text that people typed, by the character set of the file; without one UTF-8 where it is that, else Latin-1."""
    if raw is None:
        return ""
    codec = _CODECS.get(character_set.split("\\")[-1].strip())
    for name in (codec, "utf-8") if codec else ("utf-8",):
        try:
            return raw.decode(name).strip(" \0\r\n\t")
        except UnicodeDecodeError:
            continue
    return text_of(raw)


def numbers_of(raw: bytes | None) -> tuple[float, ...] | None:
    """Values of a decimal string; None where any is no finite number."""
    if not raw or b"_" in raw:
        return None
    try:
        values = tuple(float(part) for part in raw.replace(b"\0", b"").split(b"\\"))
    except ValueError:
        return None
    return values if all(math.isfinite(value) and abs(value) < 1e9 for value in values) else None


def number_of(raw: bytes | None) -> float | None:
    """First number of a decimal string; None where it is none."""
    values = numbers_of(raw)
    return values[0] if values else None


def integer_of(raw: bytes | None) -> int | None:
    """First whole number of an integer string; None where it is none."""
    value = number_of(raw)
    return None if value is None else int(value)


def vector_of(raw: bytes | None) -> Vector | None:
    """Three numbers of a decimal string; None where there are not just three."""
    values = numbers_of(raw)
    return (values[0], values[1], values[2]) if values is not None and len(values) == 3 else None


@lru_cache(maxsize=8192)
def shared_facts(raw: tuple[bytes | None, ...], syntax_uid: str, *, is_big_endian: bool) -> SharedFacts:
    """Parse the shared attributes once per different set of them, not once per file."""
    order = "big" if is_big_endian else "little"
    fields: dict[str, object] = {"transfer_syntax": syntax_uid}
    for (name, _), value in zip(_SHARED_TAGS, raw, strict=True):
        if name in _COUNTS:
            is_short = value is not None and len(value) >= 2
            fields[name] = int.from_bytes(value[:2], order) if value is not None and is_short else None  # type: ignore[arg-type]
        elif name in _NUMBERS:
            fields[name] = number_of(value)
        elif name in {"orientation", "pixel_spacing_mm"}:
            numbers = numbers_of(value)
            fields[name] = numbers if numbers and len(numbers) == (6 if name == "orientation" else 2) else None
        elif name == "image_type":
            fields[name] = tuple(part.strip().upper() for part in text_of(value).split("\\")) if value else ()
        elif name in _TYPED:
            fields[name] = typed_text(value, str(fields["character_set"]))
        else:
            fields[name] = text_of(value)
    return SharedFacts(**fields)  # type: ignore[arg-type]
