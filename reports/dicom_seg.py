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
    order = [slice_index(header, affine, lung_mask.shape) for header in headers]
    headers = [headers[place] for place in np.argsort(order)]
    frames = lung_mask.transpose(2, 1, 0)[sorted(order)]  # (slices, rows, columns)
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


def slice_index(header: Dataset, affine: Affine, shape: tuple[int, ...]) -> int:
    """Index of a file's slice in a volume.

    Raises:
        InputError: The file's first pixel is not the first voxel of any slice, or the matrix differs.
    """
    if (int(header.Columns), int(header.Rows)) != shape[:2]:
        raise InputError(f"a source slice is {header.Columns} x {header.Rows}, the mask {shape[0]} x {shape[1]}")
    position = np.append(np.array(header.ImagePositionPatient, dtype=float) * RAS_FROM_LPS, 1.0)
    index = (np.linalg.inv(affine.matrix) @ position)[:3]
    nearest = round(float(index[2]))
    if np.abs(index - [0, 0, nearest]).max() > INDEX_TOLERANCE or not 0 <= nearest < shape[2]:
        raise InputError("a source slice does not lie on the grid of the mask")
    return nearest


def _settle_dimension_uid(segmentation: Dataset, uid: str) -> None:
    """One UID for the dimensions, from the source instead of from chance."""
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
