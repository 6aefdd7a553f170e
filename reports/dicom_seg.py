"""The lung mask as a DICOM segmentation on the grid of its scan. Needs the ``dicom-out`` extra."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from domain.affine import Affine
from domain.errors import InputError
from domain.whole_files import write_whole
from reports.dicom_identity import (
    DICOM_OUT_NEEDED,
    MANUFACTURER,
    MODEL_NAME,
    SERIAL_NUMBER,
    SERIES_NUMBERS,
    names_unquoted,
    settle_times,
    source_headers,
    stable_uid,
)

RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])
INDEX_TOLERANCE = 0.05  # voxels; a slice further from the grid than this belongs to another volume
ALGORITHM = "MyoLung lung mask"


def write(lung_mask: NDArray[np.uint8], affine: Affine, sources: Sequence[Path], path: Path) -> None:
    """Write right and left lung as two binary segments.

    Args:
        lung_mask: Shape (I, J, K): 0 outside, 1 right, 2 left lung.
        affine: Of the mask, ijk to RAS mm.
        sources: The DICOM files of the scan, any order.
        path: Where to; under ``private/``, because the file names the patient.

    Raises:
        InputError: The extra is missing, or the files are not the slices of this mask.
    """
    try:
        import highdicom
        from pydicom.sr.codedict import codes
    except ImportError as error:
        raise InputError(DICOM_OUT_NEEDED) from error
    headers = source_headers(sources)
    frames = np.stack([slice_of(lung_mask, affine, header) for header in headers])  # (slices, rows, columns)
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=highdicom.sr.CodedConcept(code, "SCT", label),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=highdicom.AlgorithmIdentificationSequence(
                name=ALGORITHM, version="1", family=codes.DCM.ArtificialIntelligence
            ),
        )
        for number, label, code in (
            (1, "Right lung", "3341006"),
            (2, "Left lung", "44029006"),
        )
    ]
    first = headers[0]
    with names_unquoted():
        segmentation = highdicom.seg.Segmentation(
            source_images=headers,
            pixel_array=np.stack([frames == 1, frames == 2], axis=-1).astype(np.uint8),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=stable_uid("seg-series", str(first.SeriesInstanceUID)),
            series_number=SERIES_NUMBERS["seg"],
            sop_instance_uid=stable_uid("seg", str(first.SeriesInstanceUID), sha256(lung_mask.tobytes()).hexdigest()),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL_NAME,
            software_versions="1",
            device_serial_number=SERIAL_NUMBER,
            omit_empty_frames=True,
        )
    settle_times(segmentation, first)
    _settle_dimension_uid(segmentation, stable_uid("dimensions", str(first.SeriesInstanceUID)))
    stream = BytesIO()
    segmentation.save_as(stream, enforce_file_format=True)
    write_whole(path, stream.getvalue())


def slice_of(mask: NDArray[np.uint8], affine: Affine, header: Dataset) -> NDArray[np.uint8]:
    """The mask on the pixels of one source slice, whichever way its axes run.

    Returns:
        Shape (rows, columns).

    Raises:
        InputError: The pixels of the slice are not voxels of the mask.
    """
    inverse = np.linalg.inv(affine.matrix)
    cosines = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3) * RAS_FROM_LPS
    row_spacing, column_spacing = (float(value) for value in header.PixelSpacing)
    origin = inverse[:3, :3] @ (np.array(header.ImagePositionPatient, dtype=float) * RAS_FROM_LPS) + inverse[:3, 3]
    along_row = inverse[:3, :3] @ (cosines[0] * column_spacing)  # voxels from one column to the next
    down = inverse[:3, :3] @ (cosines[1] * row_spacing)
    columns, rows = np.arange(int(header.Columns)), np.arange(int(header.Rows))
    place = origin[:, None, None] + down[:, None, None] * rows[:, None] + along_row[:, None, None] * columns
    index = np.rint(place).astype(int)
    limits = np.array(mask.shape)[:, None, None]
    if np.abs(place - index).max() > INDEX_TOLERANCE or (index < 0).any() or (index >= limits).any():
        raise InputError("a source slice does not lie on the grid of the mask")
    frame: NDArray[np.uint8] = mask[index[0], index[1], index[2]]
    return frame


def _settle_dimension_uid(segmentation: Dataset, uid: str) -> None:
    """One UID for the dimensions, from the source instead of from chance."""
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
