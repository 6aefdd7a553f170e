"""Planted defects of files: junk, cut ends, missing pixels, compression."""

from __future__ import annotations

import tarfile
import zipfile

import imagecodecs
import numpy as np

from data_pipeline.phantoms.series_editor import EditableSeries, encode_as

JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
MPEG2_MAIN_PROFILE = "1.2.840.10008.1.2.4.100"
NEAR_LOSSLESS_ERROR = 3  # largest change of a stored value


def not_dicom(series: EditableSeries, rng: np.random.Generator) -> None:
    """A text file and a folder file of a desktop, one of them called .dcm."""
    (series.folder / "note.dcm").write_text("synthetic note, not an image\n", encoding="utf-8")
    (series.folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" + bytes(rng.integers(0, 256, 200, dtype=np.uint8)))


def truncated(series: EditableSeries, rng: np.random.Generator) -> None:
    """The topmost slice ends in the middle of its pixels, as after a broken copy."""
    path = series.slices[-1].path
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def unreadable(series: EditableSeries, rng: np.random.Generator) -> None:
    """A file that begins like DICOM and goes on as noise."""
    noise = bytes(rng.integers(128, 256, 3000, dtype=np.uint8))
    (series.folder / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + noise)


def no_pixel_data(series: EditableSeries, rng: np.random.Generator) -> None:
    """No slice has pixels: a header-only export."""
    series.set_all(PixelData=None)
    series.save()


def unsupported_transfer_syntax(series: EditableSeries, rng: np.random.Generator) -> None:
    """Every slice is declared a film (MPEG-2)."""
    for part in series.slices:
        encode_as(part, bytes(rng.integers(0, 256, 2000, dtype=np.uint8)), MPEG2_MAIN_PROFILE)
    series.save()


def lossy_compressed(series: EditableSeries, rng: np.random.Generator) -> None:
    """Every slice in near-lossless JPEG-LS, said so in the header."""
    for part in series.slices:
        unsigned = part.hu() + 1024
        part.data.PixelRepresentation, part.data.RescaleIntercept = 0, -1024
        part.data.BitsStored, part.data.HighBit = 16, 15
        pixels = np.clip(unsigned, 0, 65535).astype(np.uint16)
        stream = imagecodecs.jpegls_encode(pixels, level=NEAR_LOSSLESS_ERROR)
        part.data.LossyImageCompression = "01"
        part.data.LossyImageCompressionRatio = f"{pixels.nbytes / len(stream):.2f}"
        part.data.LossyImageCompressionMethod = "ISO_14495_1"
        encode_as(part, bytes(stream), JPEG_LS_NEAR_LOSSLESS)
    series.save()


def unsafe_archive(series: EditableSeries, rng: np.random.Generator) -> None:
    """A zip beside the series with a member that would be unpacked outside its folder."""
    with zipfile.ZipFile(series.folder / "archive.zip", "w") as archive:
        archive.writestr("../outside.dcm", series.slices[0].path.read_bytes())


def unsupported_archive(series: EditableSeries, rng: np.random.Generator) -> None:
    """A tar beside the series, as research exports are packed."""
    with tarfile.open(series.folder / "export.tar.gz", "w:gz") as archive:
        archive.add(series.slices[0].path, "IM1")


def wrong_transfer_syntax(series: EditableSeries, rng: np.random.Generator) -> None:
    """Plain pixels that every file declares as RLE, as a gateway does that copies the wrong meta group."""
    for part in series.slices:
        content = part.path.read_bytes()
        part.path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1))
