"""A clean chest series and what hospitals, networks and disks do to it. Which of it is usable stands elsewhere."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from data_pipeline.phantoms.dicom_writer import SeriesGeometry, SeriesTags, write_series

Change = Callable[[list[Path]], None]
TILT_DEGREES = 15


def chest(num_slices: int = 40, side: int = 80) -> NDArray[np.int16]:
    """HU, shape (S, R, C): a body with two unequal lungs, so that a mirrored volume is not the same."""
    z, y, x = np.mgrid[-1 : 1 : num_slices * 1j, -1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = (x / 0.9) ** 2 + (y / 0.7) ** 2 < 1
    right = ((x + 0.42) / 0.3) ** 2 + (y / 0.45) ** 2 + (z / 0.8) ** 2 < 1
    left = ((x - 0.42) / 0.24) ** 2 + ((y - 0.05) / 0.4) ** 2 + (z / 0.75) ** 2 < 1
    values = np.where(right | left, -850, np.where(body, 40, -1000))
    return (values + np.random.default_rng(0).normal(0, 15, values.shape)).astype(np.int16)


def write_clean(folder: Path, **options: object) -> list[Path]:
    """The clean series; files in slice order."""
    elements = options.pop("elements", {})
    tags = SeriesTags(
        "TABLE",
        "F",
        50.0,
        ("table", str(options)),
        elements=elements,
        **{  # type: ignore[arg-type]
            "bits_stored": 12,
            "is_signed": False,
            "intercept": -1024,
            **{k: v for k, v in options.items() if k in ("bits_stored", "is_signed", "intercept")},
        },
    )
    hu = options.get("hu", chest())
    cosines = options.get("cosines", (1, 0, 0, 0, 1, 0))
    geometry = SeriesGeometry((-180.0, -170.0, -100.0), (6.0, 4.5, 4.2), options.get("thickness", 6.0), cosines)  # type: ignore[arg-type]
    return write_series(hu, geometry, tags, folder, np.random.default_rng(3))  # type: ignore[arg-type]


def edit(change: Callable[[Dataset, int], None]) -> Change:
    def apply(paths: list[Path]) -> None:
        for index, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            change(dataset, index)
            dataset.save_as(path)

    return apply


def compressed(uid: str, encode: Callable[[NDArray[np.uint16]], bytes]) -> Change:
    def change(dataset: Dataset, _: int) -> None:
        dataset.PixelData = encapsulate([encode(dataset.pixel_array)])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = uid

    return edit(change)


def rewritten(uid: str) -> Change:
    def apply(paths: list[Path]) -> None:
        for path in paths:
            dataset = pydicom.dcmread(path)
            pixels = dataset.pixel_array
            dataset.file_meta.TransferSyntaxUID = uid
            is_big = uid.endswith("1.2.2")
            dataset.PixelData = pixels.astype(">u2" if is_big else "<u2").tobytes()
            dataset = _rebuilt(dataset, is_implicit=uid == "1.2.840.10008.1.2", is_big=is_big)
            dataset.save_as(path)

    return apply


def _rebuilt(dataset: Dataset, *, is_implicit: bool, is_big: bool) -> Dataset:
    dataset.set_original_encoding(is_implicit, not is_big, dataset.original_character_set)
    return dataset


def set_value(keyword: str, value: Callable[[int, object], object]) -> Change:
    return edit(lambda dataset, index: setattr(dataset, keyword, value(index, dataset.get(keyword))))


def remove(*places: int) -> Change:
    return lambda paths: [paths[place].unlink() for place in places] and None


def copies(paths: list[Path]) -> None:
    for path in paths[::5]:
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        dataset.save_as(path.with_name(f"copy_{path.name}"))


def beside(
    paths: list[Path], number: int, change: Callable[[Dataset, int], None], *, same_series: bool = False
) -> None:
    """Add images made from the first ones beside the series."""
    uid = pydicom.uid.generate_uid()
    for index in range(number):
        dataset = pydicom.dcmread(paths[index])
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        if not same_series:
            dataset.SeriesInstanceUID = uid
        change(dataset, index)
        dataset.save_as(paths[0].with_name(f"beside_{index}.dcm"))


def localizer(dataset: Dataset, _: int) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def second_pass(paths: list[Path]) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.AcquisitionNumber = 2
        dataset.PixelData = np.roll(dataset.pixel_array, 3, axis=0).tobytes()

    edit(lambda dataset, _: setattr(dataset, "AcquisitionNumber", 1))(paths)
    beside(paths, len(paths), change, same_series=True)


def junk(paths: list[Path]) -> None:
    (paths[0].parent / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 50)
    (paths[0].parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (paths[0].parent / "report.txt").write_text("Findings: ...")


def truncated(paths: list[Path]) -> None:
    paths[20].write_bytes(paths[20].read_bytes()[:-4000])


def tilt(paths: list[Path]) -> None:
    sine, cosine = np.sin(np.radians(TILT_DEGREES)), np.cos(np.radians(TILT_DEGREES))
    set_value("ImageOrientationPatient", lambda *_: [1, 0, 0, 0, float(cosine), float(sine)])(paths)


def nested_without_extensions(paths: list[Path]) -> None:
    for index, path in enumerate(paths):
        folder = path.parent / f"D{index % 4}"
        folder.mkdir(exist_ok=True)
        shutil.move(path, folder / f"{index:06d}")


def zipped(paths: list[Path]) -> None:
    with zipfile.ZipFile(paths[0].parent / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.name)
            path.unlink()


def redeclared(uid: str) -> Change:
    def apply(paths: list[Path]) -> None:
        for path in paths:
            data = path.read_bytes()
            old = b"1.2.840.10008.1.2.1\0"
            path.write_bytes(data.replace(old, uid.encode().ljust(len(old), b"\0"), 1))

    return apply


def overlay_bits(dataset: Dataset, _: int) -> None:
    pixels = dataset.pixel_array.astype(np.uint16)
    pixels[::9, ::9] |= 0xF000
    dataset.PixelData = pixels.tobytes()


def shifted_values(offset: int) -> Change:
    def change(dataset: Dataset, _: int) -> None:
        dataset.RescaleIntercept = float(dataset.RescaleIntercept) + offset

    return edit(change)


def as_mask(dataset: Dataset, _: int) -> None:
    dataset.PixelData = (dataset.pixel_array > 500).astype(np.uint16).tobytes()


def without_rescale(dataset: Dataset, _: int) -> None:
    del dataset.RescaleIntercept, dataset.RescaleSlope


def jpeg_lossless(pixels: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.ljpeg_encode(pixels, bitspersample=12))


def jpeg_2000(pixels: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True))


def nothing(_: list[Path]) -> None:
    return


def _move(dataset: Dataset, distance_mm: float) -> None:
    x, y, z = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [float(x), float(y), float(z) + distance_mm]


def _shift_upper_half(dataset: Dataset, index: int) -> None:
    x, y, z = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [float(x) + 9.0 * (index > 20), float(y), float(z)]


def black_copies(paths: list[Path]) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.PixelData = bytes(len(dataset.PixelData))

    beside(paths, len(paths), change, same_series=True)


def projection(paths: list[Path]) -> None:
    set_value("ImageType", lambda *_: ["DERIVED", "SECONDARY", "AXIAL", "MIP"])(paths)


def phase_behind(paths: list[Path]) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.InstanceNumber = 200 - index
        dataset.PixelData = np.roll(dataset.pixel_array, 3, axis=0).tobytes()

    beside(paths, len(paths), change, same_series=True)


def dose_sheet(paths: list[Path]) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient

    beside(paths, 1, change, same_series=True)


def other_rescale(dataset: Dataset, index: int) -> None:
    dataset.RescaleIntercept = -1024 - index
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.PixelData = (dataset.pixel_array + index).astype(np.uint16).tobytes()


def rescale_lost(dataset: Dataset, index: int) -> None:
    dataset.RescaleIntercept = 0 if index in {20, 21} else -1024


def byte_swapped(dataset: Dataset, index: int) -> None:
    if index == 20:
        dataset.PixelData = dataset.pixel_array.byteswap().tobytes()


def trailing(paths: list[Path]) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes() + bytes(33))
