"""A written series as datasets one may change: what the planted defects work with. Simple rather than fast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from data_pipeline.phantoms.randomness import stable_uid
from domain.errors import InputError

PixelChange = Callable[[NDArray[np.int32]], NDArray[np.int32]]


@dataclass
class EditableSlice:
    """One file and its dataset."""

    path: Path
    data: Dataset

    def hu(self) -> NDArray[np.int32]:
        """HU of the slice. Shape (R, C)."""
        stored = np.frombuffer(self.data.PixelData, self._dtype()).reshape(self.data.Rows, self.data.Columns)
        return stored.astype(np.int32) + int(self.data.RescaleIntercept)

    def _dtype(self) -> str:
        return "<i2" if self.data.PixelRepresentation else "<u2"

    def set_hu(self, hu: NDArray[np.int32]) -> None:
        """Replace the pixels; the matrix may change, the pixel type stays."""
        stored = hu - int(self.data.RescaleIntercept)
        low, high = (-32768, 32767) if self.data.PixelRepresentation else (0, (1 << self.data.BitsStored) - 1)
        self.data.Rows, self.data.Columns = hu.shape
        self.data.PixelData = np.clip(stored, low, high).astype(self._dtype()).tobytes()

    def make_signed(self) -> None:
        """Signed 16-bit pixels without an intercept, so that any HU fits."""
        hu = self.hu()
        self.data.PixelRepresentation, self.data.RescaleIntercept = 1, 0
        self.data.BitsStored, self.data.HighBit = 16, 15
        self.set_hu(hu)

    @property
    def height_mm(self) -> float:
        """Z of the position, LPS."""
        return float(self.data.ImagePositionPatient[2])

    def save(self) -> None:
        """Write the file, encoding values again; what the standard forbids is written as asked."""
        self.data.file_meta.MediaStorageSOPInstanceUID = UID(
            self.data.get("SOPInstanceUID") or stable_uid(self.path.name)
        )
        self.data.save_as(self.path, enforce_file_format=False)

    def copy_to(self, path: Path, *, instance_key: str) -> EditableSlice:
        """A further instance under another name."""
        data = pydicom.dcmread(self.path)
        data.SOPInstanceUID = stable_uid(str(self.data.SOPInstanceUID), instance_key)
        return EditableSlice(path, data)


@dataclass
class EditableSeries:
    """All slices of the one series in a folder, from feet to head."""

    folder: Path
    slices: list[EditableSlice]

    @classmethod
    def load(cls, folder: Path) -> EditableSeries:
        """Read a folder the phantom writer made.

        Raises:
            InputError: There is no series in it.
        """
        slices = [EditableSlice(path, pydicom.dcmread(path)) for path in sorted(folder.glob("IM*.dcm"))]
        if not slices:
            raise InputError(f"{folder}: no phantom series (IM*.dcm) to plant a defect in")
        return cls(folder, sorted(slices, key=lambda part: part.height_mm))

    @property
    def gap_mm(self) -> float:
        """Distance of the first two slices."""
        return abs(self.slices[1].height_mm - self.slices[0].height_mm)

    def keep(self, kept: list[EditableSlice]) -> None:
        """Delete the files of all other slices."""
        names = {part.path for part in kept}
        for part in self.slices:
            if part.path not in names:
                part.path.unlink()
        self.slices = kept

    def save(self) -> None:
        """Write every slice."""
        for part in self.slices:
            part.save()

    def set_all(self, **values: object) -> None:
        """Set attributes of every slice; None deletes one."""
        for part in self.slices:
            for keyword, value in values.items():
                if value is not None:
                    setattr(part.data, keyword, value)
                elif keyword in part.data:
                    delattr(part.data, keyword)

    def change_pixels(self, change: PixelChange) -> None:
        """Apply a function to the HU of every slice."""
        for part in self.slices:
            part.set_hu(change(part.hu()))

    def add_series(self, count: int, key: str, **values: object) -> list[EditableSlice]:
        """Write further instances under a new series UID beside this one; values as in ``set_all``."""
        middle = len(self.slices) // 2
        added = []
        for number, part in enumerate(self.slices[middle : middle + count]):
            copy = part.copy_to(self.folder / f"{key}{number + 1:03d}.dcm", instance_key=key)
            copy.data.SeriesInstanceUID = stable_uid(str(part.data.SeriesInstanceUID), key)
            copy.data.SeriesNumber = 900
            extra = EditableSeries(self.folder, [copy])
            extra.set_all(**values)
            added.append(copy)
        return added


def encode_as(part: EditableSlice, payload: bytes, syntax: str) -> None:
    """Replace the pixels of a slice by an encapsulated stream."""
    part.data.file_meta.TransferSyntaxUID = UID(syntax)
    part.data.PixelData = pydicom.encaps.encapsulate([payload])
    part.data["PixelData"].VR = "OB"
    part.data["PixelData"].is_undefined_length = True
