"""An HU volume with its geometry and the facts of its acquisition that later steps need."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from domain.affine import Affine
from domain.findings import Finding

AIR_HU = -1024  # lowest value of a volume: padding and everything below is set to it when a scan is read


class KernelClass(StrEnum):
    """Reconstruction kernel by sharpness."""

    SHARP = "sharp"
    SOFT = "soft"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What the header says of how the volume was made; None where it does not say.

    Attributes:
        slice_thickness_mm: Beam or reconstruction width. Not the slice spacing: that is in the affine.
        kernel: Kernel name as the scanner writes it.
        kernel_class: Its sharpness by vendor table.
        patient_position: DICOM PatientPosition, ``HFS`` for instance.
        manufacturer: Scanner vendor.
        is_sequential: Thin slices with gaps (1 mm every 10 mm): nothing may be interpolated across the gaps.
    """

    slice_thickness_mm: float | None = None
    kernel: str | None = None
    kernel_class: KernelClass = KernelClass.UNKNOWN
    patient_position: str | None = None
    manufacturer: str | None = None
    is_sequential: bool = False


@dataclass(frozen=True, eq=False)
class Volume:
    """One CT series in memory.

    Attributes:
        voxels: HU, int16, shape (I, J, K), in the order the source stores them; nothing below ``AIR_HU``.
        affine: ijk to RAS, mm.
        acquisition: Facts of the header.
        findings: What reading and quality control noticed.
        content_digest: Digest of voxels and affine: equal for equal scans, whatever the files were called.
    """

    voxels: NDArray[np.int16]
    affine: Affine
    acquisition: Acquisition = field(default_factory=Acquisition)
    findings: tuple[Finding, ...] = ()
    content_digest: str = ""

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.voxels.dtype != np.int16:
            raise ValueError(f"a volume is int16 (I, J, K), found {self.voxels.dtype} of shape {self.voxels.shape}")
