"""What a DICOM result says of its origin: same patient and study as the scan, UIDs that follow from the content.

These files identify the patient, as DICOM must: they belong under ``private/`` or into a PACS, nowhere else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from domain.errors import InputError

MANUFACTURER = "MyoLung"
MODEL_NAME = "MyoLung (research use only)"
SERIAL_NUMBER = "0"
SERIES_NUMBERS = {"seg": 9801, "sr": 9802}
DICOM_OUT_NEEDED = "DICOM output needs the dicom-out extra: pip install 'myolung[dicom-out]'"
CODING_SCHEME = "99MYOLUNG"


def source_headers(paths: Sequence[Path]) -> list[Dataset]:
    """Headers of the slices of a series, without pixels.

    Raises:
        InputError: The series did not come as DICOM files.
    """
    headers: list[Dataset] = [
        dcmread(path, stop_before_pixels=True) for path in paths if path.suffix.lower() not in {".gz", ".nii"}
    ]
    if not headers or any("SOPInstanceUID" not in header for header in headers):
        raise InputError("DICOM output needs a series of DICOM files as its source")
    return headers


@contextmanager
def names_unquoted() -> Iterator[None]:
    """Keep highdicom from printing a patient's name because it has only one part."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The string .* person name", category=UserWarning)
        yield


def stable_uid(*parts: str) -> str:
    """A UID that is the same for the same parts: a result sent twice is one object in the PACS."""
    return str(generate_uid(entropy_srcs=list(parts)))


def settle_times(dataset: Dataset, source: Dataset) -> None:
    """Give the date and time of the study instead of those of the clock: the same input gives the same bytes."""
    date, time = str(source.get("StudyDate", "") or "19000101"), str(source.get("StudyTime", "") or "000000")
    for name, value in (("Date", date), ("Time", time)):
        for event in ("Content", "InstanceCreation", "Series"):
            if f"{event}{name}" in dataset:
                setattr(dataset, f"{event}{name}", value)
    for contribution in dataset.get("ContributingEquipmentSequence", []):
        contribution.ContributionDateTime = f"{date}{time}"
