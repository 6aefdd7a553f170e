"""An HU volume to a NIfTI file with its RAS affine. Reads nothing."""

from __future__ import annotations

import gzip
import struct

import numpy as np

from domain.volume import Volume

SCANNER_CODE = 1  # coordinates of the scanner, NIFTI_XFORM_SCANNER_ANAT
INT16_CODE = 4
MM_UNIT = 2
COMPRESSION = 1  # higher levels take ten times as long for a few per cent


def nifti_bytes(volume: Volume) -> bytes:
    """A ``.nii.gz`` file: int16, sform from the affine, no description, no name."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *volume.voxels.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, INT16_CODE, 16)
    struct.pack_into("<8f", header, 76, 1.0, *volume.affine.spacing_mm, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, 0.0)
    struct.pack_into("<B", header, 123, MM_UNIT)
    struct.pack_into("<2h", header, 252, 0, SCANNER_CODE)
    struct.pack_into("<12f", header, 280, *volume.affine.matrix[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    voxels = np.asfortranarray(volume.voxels, dtype="<i2")
    return gzip.compress(bytes(header) + voxels.tobytes(order="F"), compresslevel=COMPRESSION, mtime=0)
