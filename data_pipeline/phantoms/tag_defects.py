"""Planted defects of headers, and the other series a study comes with."""

from __future__ import annotations

import uuid

import numpy as np
from pydicom.uid import UID
from scipy import ndimage

from data_pipeline.phantoms.series_editor import EditableSeries, EditableSlice

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
DOSE_REPORT_STORAGE = "1.2.840.10008.5.1.4.1.1.88.67"
SOFT_KERNELS = {"SIEMENS": "B30f", "GE MEDICAL SYSTEMS": "STANDARD", "Philips": "B", "TOSHIBA": "FC08"}


def _save(added: list[EditableSlice]) -> None:
    for part in added:
        part.save()


def missing_uid(series: EditableSeries, rng: np.random.Generator) -> None:
    """SOPInstanceUID is empty in every file."""
    series.set_all(SOPInstanceUID="")
    series.save()


def invalid_uid(series: EditableSeries, rng: np.random.Generator) -> None:
    """SeriesInstanceUID is a GUID with letters and braces."""
    value = "{" + str(uuid.UUID(bytes=bytes(rng.integers(0, 256, 16, dtype=np.uint8)))) + "}"
    for part in series.slices:
        element = part.data["SeriesInstanceUID"]
        element.validation_mode = 0
        element._value = value
    series.save()


def wrong_modality(series: EditableSeries, rng: np.random.Generator) -> None:
    """A magnetic resonance series beside the CT."""
    added = series.add_series(5, "MR", Modality="MR", SOPClassUID=MR_IMAGE_STORAGE, SeriesDescription="T2 TSE")
    for part in added:
        part.data.file_meta.MediaStorageSOPClassUID = UID(MR_IMAGE_STORAGE)
    _save(added)


def localizer(series: EditableSeries, rng: np.random.Generator) -> None:
    """A scout view beside the CT: coronal, one image."""
    added = series.add_series(
        1,
        "SCOUT",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        SeriesDescription="Topogram",
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
    )
    _save(added)


def secondary_capture(series: EditableSeries, rng: np.random.Generator) -> None:
    """A screen shot beside the CT: no position, no orientation."""
    added = series.add_series(
        1,
        "SCREEN",
        SOPClassUID=SECONDARY_CAPTURE_STORAGE,
        ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"],
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        SliceLocation=None,
    )
    for part in added:
        part.data.file_meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE_STORAGE)
    _save(added)


def derived_reformat(series: EditableSeries, rng: np.random.Generator) -> None:
    """A coronal reformat beside the CT."""
    added = series.add_series(
        20,
        "MPR",
        ImageType=["DERIVED", "SECONDARY", "MPR"],
        SeriesDescription="COR MPR",
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
    )
    for number, part in enumerate(added):
        x, _, z = (float(value) for value in part.data.ImagePositionPatient)
        part.data.ImagePositionPatient = [x, -100.0 + 3.0 * number, z]
    _save(added)


def dose_report(series: EditableSeries, rng: np.random.Generator) -> None:
    """A radiation dose report beside the CT."""
    added = series.add_series(
        1,
        "DOSE",
        Modality="SR",
        SOPClassUID=DOSE_REPORT_STORAGE,
        SeriesDescription="Dose Report",
        ImageType=None,
        PixelData=None,
        Rows=None,
        Columns=None,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
    )
    for part in added:
        part.data.file_meta.MediaStorageSOPClassUID = UID(DOSE_REPORT_STORAGE)
    _save(added)


def mixed_patients(series: EditableSeries, rng: np.random.Generator) -> None:
    """The upper half belongs to another patient: an anonymiser gave both the same UIDs."""
    for part in series.slices[len(series.slices) // 2 :]:
        part.data.PatientID = "ANOTHER"
    series.save()


def soft_kernel(series: EditableSeries, rng: np.random.Generator) -> None:
    """The vendor's smooth kernel, in name and in pixels."""
    series.set_all(ConvolutionKernel=SOFT_KERNELS.get(str(series.slices[0].data.Manufacturer), "B30f"))
    series.change_pixels(lambda hu: np.rint(ndimage.gaussian_filter(hu.astype(float), 0.7)).astype(np.int32))
    series.save()


def unknown_kernel(series: EditableSeries, rng: np.random.Generator) -> None:
    """A kernel name nobody's table knows."""
    series.set_all(ConvolutionKernel="PHANTOM-X9", Manufacturer="SOME VENDOR")
    series.save()
