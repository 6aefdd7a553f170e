"""Inputs of the reader table: each a folder with a chest series in one state, and what is right for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import imagecodecs

sys.path.insert(0, str(Path(__file__).resolve().parent))
from reader_changes import (
    Change,
    _move,
    _shift_upper_half,
    as_mask,
    beside,
    black_copies,
    byte_swapped,
    compressed,
    copies,
    dose_sheet,
    edit,
    jpeg_2000,
    jpeg_lossless,
    junk,
    localizer,
    nested_without_extensions,
    nothing,
    other_rescale,
    overlay_bits,
    phase_behind,
    projection,
    redeclared,
    remove,
    rescale_lost,
    rewritten,
    second_pass,
    set_value,
    shifted_values,
    tilt,
    trailing,
    truncated,
    without_rescale,
    zipped,
)


@dataclass(frozen=True)
class Input:
    """One state. ``change`` spoils (or only changes) the clean files; ``is_usable`` says whether a volume is right."""

    name: str
    change: Change
    is_usable: bool

    @property
    def is_tilted(self) -> bool:
        """The truth lies on a sheared grid: readers that straighten it are compared place by place."""
        return self.change is tilt


USABLE: tuple[tuple[str, Change], ...] = (
    ("clean series", nothing),
    ("thickness unlike the spacing (overlapping slices)", set_value("SliceThickness", lambda *_: 9)),
    ("explicit big endian", rewritten("1.2.840.10008.1.2.2")),
    ("implicit little endian", rewritten("1.2.840.10008.1.2")),
    ("deflated", rewritten("1.2.840.10008.1.2.1.99")),
    ("JPEG lossless SV1", compressed("1.2.840.10008.1.2.4.70", jpeg_lossless)),
    ("JPEG-LS", compressed("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode)),
    ("JPEG 2000", compressed("1.2.840.10008.1.2.4.90", jpeg_2000)),
    ("overlay bits above the stored ones", edit(overlay_bits)),
    ("copies under new UIDs", copies),
    ("empty SOPInstanceUIDs", set_value("SOPInstanceUID", lambda *_: "")),
    ("equal SOPInstanceUIDs", set_value("SOPInstanceUID", lambda *_: "1.2.3")),
    ("localizer beside it", lambda paths: beside(paths, 1, localizer)),
    ("localizer within the series", lambda paths: beside(paths, 1, localizer, same_series=True)),
    ("junk files beside it", junk),
    ("nested folders, no extensions", nested_without_extensions),
    ("zip archive", zipped),
    ("two passes under one series UID", second_pass),
    ("phases that only image numbers tell apart", phase_behind),
    ("dose sheet within the series", dose_sheet),
    ("derived thin reconstruction", set_value("ImageType", lambda *_: ["DERIVED", "PRIMARY", "AXIAL"])),
    ("rescale that differs from slice to slice", edit(other_rescale)),
    ("bytes behind the pixels", trailing),
    ("gantry tilt of 15 degrees", tilt),
)  # fmt: skip

UNUSABLE: tuple[tuple[str, Change], ...] = (
    ("two slices missing", remove(17, 18)),
    ("every gap different", edit(lambda dataset, index: _move(dataset, 0.05 * index * index))),
    ("slices shifted sideways half-way", edit(_shift_upper_half)),
    ("tilt named by the header alone", set_value("GantryDetectorTilt", lambda *_: 12)),
    ("one file cut", truncated),
    ("one file of zeros", lambda paths: paths[20].write_bytes(bytes(len(paths[20].read_bytes()))) and None),
    ("rescale lost in two slices", edit(rescale_lost)),
    ("one slice of the other byte order", edit(byte_swapped)),
    ("two patients under one UID", edit(lambda dataset, index: setattr(dataset, "PatientID", f"P{index // 20}"))),
    ("iodine map", set_value("RescaleType", lambda *_: "MGML")),
    ("rescale missing", edit(without_rescale)),
    ("rescale applied twice", shifted_values(-1024)),
    ("mask in CT clothing", edit(as_mask)),
    ("localizers only", edit(localizer)),
    ("maximum intensity projection", projection),
    ("secondary captures", set_value("SOPClassUID", lambda *_: "1.2.840.10008.5.1.4.1.1.7")),
    ("same positions, other pixels, nothing tells them apart",
          black_copies),
    ("declared big endian, written little", redeclared("1.2.840.10008.1.2.2")),
    ("declared JPEG-LS, written plain", redeclared("1.2.840.10008.1.2.4")),
    ("no image orientation", set_value("ImageOrientationPatient", lambda *_: None)),
    ("MR", set_value("Modality", lambda *_: "MR")),
)  # fmt: skip

INPUTS: tuple[Input, ...] = (
    *(Input(name, change, is_usable=True) for name, change in USABLE),
    *(Input(name, change, is_usable=False) for name, change in UNUSABLE),
)
