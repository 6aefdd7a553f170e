"""NIfTI-1 and NIfTI-2 headers as typed facts. Voxels are read elsewhere.

Own parser rather than a library's: sizes must be known and checked before anything is read, and a damaged header must
become one typed reason.

Source: the NIfTI-1 and NIfTI-2 header definitions, nifti.nimh.nih.gov.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.readers.pixel_errors import PixelError
from domain.affine import Affine
from domain.findings import QualityCode

HEADER_BYTES = {1: 348, 2: 540}
READ_BYTES = 544  # both headers and the extension flag
INTEGER_TYPES = {2: "u1", 4: "i2", 8: "i4", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
FLOAT_TYPES = {16: "f4", 64: "f8"}
DATA_TYPES = INTEGER_TYPES | FLOAT_TYPES
MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown is taken as mm, as every reader does
MAX_EXTENT = 16_384  # voxels along one axis


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What the header declares.

    Attributes:
        shape: i, j, k.
        num_volumes: Product of the higher dimensions.
        dtype: Of the stored values, byte order included; None for a type that is no plain number (colour, complex).
        offset: First byte of the voxels.
        slope: Rescale.
        intercept: Rescale.
        matrix: ijk to RAS mm; None where neither sform nor qform is set.
    """

    shape: tuple[int, int, int]
    num_volumes: int
    dtype: np.dtype[np.generic] | None
    offset: int
    slope: float
    intercept: float
    matrix: NDArray[np.float64] | None

    @property
    def num_bytes(self) -> int:
        """Bytes of the voxels of the first volume."""
        return math.prod(self.shape) * (self.dtype.itemsize if self.dtype is not None else 0)

    @property
    def affine(self) -> Affine | None:
        """The affine, where orientation is known and possible."""
        try:
            return None if self.matrix is None else Affine(self.matrix)
        except ValueError:
            return None


def parse_nifti_header(data: bytes) -> NiftiHeader:
    """Parse the first bytes of a (decompressed) NIfTI file.

    Raises:
        PixelError: No NIfTI header, or one that declares the impossible.
    """
    version, order = _version(data)
    if len(data) < HEADER_BYTES[version]:
        raise PixelError(QualityCode.TRUNCATED, "the file ends within its header")
    layout = _LAYOUTS[version]
    fields = {name: struct.unpack_from(order + form, data, place) for name, (place, form) in layout.items()}
    if fields["magic"][0][:3] not in {b"n+1", b"n+2"}:
        raise PixelError(
            QualityCode.UNREADABLE, "not a single-file NIfTI: pairs of .hdr and .img are not read, convert them to .nii"
        )
    dims = fields["dim"]
    if not 1 <= dims[0] <= 7 or any(not 1 <= size <= MAX_EXTENT for size in dims[1 : dims[0] + 1]):
        raise PixelError(QualityCode.UNREADABLE, "the header declares impossible dimensions")
    extents = [*dims[1 : dims[0] + 1], 1, 1, 1][:3]
    slope, intercept = fields["scl"]
    is_scaled = slope != 0 and math.isfinite(slope) and math.isfinite(intercept)
    offset = float(fields["vox_offset"][0])
    if not math.isfinite(offset) or not 0 <= offset < 1 << 30:
        raise PixelError(QualityCode.UNREADABLE, "the header declares an impossible place for the voxels")
    type_name = DATA_TYPES.get(fields["datatype"][0])
    return NiftiHeader(
        shape=(extents[0], extents[1], extents[2]),
        num_volumes=math.prod(dims[4 : dims[0] + 1]),
        dtype=None if type_name is None else np.dtype(order + type_name),
        offset=max(int(offset), HEADER_BYTES[version]),
        slope=float(slope) if is_scaled else 1.0,
        intercept=float(intercept) if is_scaled else 0.0,
        matrix=_matrix(fields),
    )


def is_nifti_start(data: bytes) -> bool:
    """The first bytes are of a NIfTI header, whatever the file is called."""
    return data[344:347] in {b"n+1", b"ni1"} or data[4:7] in {b"n+2", b"ni2"}


# name -> (first byte, struct format)
_LAYOUTS: dict[int, dict[str, tuple[int, str]]] = {
    1: {
        "dim": (40, "8h"), "datatype": (70, "h"), "pixdim": (76, "8f"), "vox_offset": (108, "f"), "scl": (112, "2f"),
        "units": (123, "B"), "codes": (252, "2h"), "quaternion": (256, "6f"), "srow": (280, "12f"),
        "magic": (344, "4s"),
    },
    2: {
        "dim": (16, "8q"), "datatype": (12, "h"), "pixdim": (104, "8d"), "vox_offset": (168, "q"), "scl": (176, "2d"),
        "units": (500, "i"), "codes": (344, "2i"), "quaternion": (352, "6d"), "srow": (400, "12d"),
        "magic": (4, "4s"),
    },
}  # fmt: skip


def _version(data: bytes) -> tuple[int, str]:
    for order in ("<", ">"):
        for version, size in HEADER_BYTES.items():
            if len(data) >= 4 and struct.unpack_from(order + "i", data)[0] == size:
                return version, order
    raise PixelError(QualityCode.UNREADABLE, "no NIfTI header at the start of the file")


def _matrix(fields: dict[str, tuple[float, ...]]) -> NDArray[np.float64] | None:
    qform_code, sform_code = fields["codes"]
    scale = MM_PER_UNIT.get(int(fields["units"][0]) & 0x07, 1.0)
    matrix = np.eye(4)
    if sform_code > 0:
        matrix[:3] = np.array(fields["srow"], dtype=float).reshape(3, 4)
    elif qform_code > 0:
        matrix[:3] = _quaternion_matrix(fields["quaternion"], fields["pixdim"])
    else:
        return None
    matrix[:3] *= scale
    return matrix if np.isfinite(matrix).all() else None


def _quaternion_matrix(quaternion: tuple[float, ...], pixdim: tuple[float, ...]) -> NDArray[np.float64]:
    """Method 2 of the NIfTI definition: a rotation from a unit quaternion, spacings, and a handedness factor."""
    b, c, d, x, y, z = quaternion
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handedness = -1.0 if pixdim[0] < 0 else 1.0
    spacing = np.array([pixdim[1], pixdim[2], pixdim[3] * handedness])
    return np.column_stack([rotation * spacing, [x, y, z]])
