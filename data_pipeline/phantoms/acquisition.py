"""The scanner: kernel, dose and what the vendor writes in the header, drawn without looking at the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.phantoms.grid import Field, Grid

SizeName = Literal["tiny", "small", "full"]
LOWEST_HU = -1024


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a phantom scan.

    Attributes:
        matrix: Rows and columns.
        slice_gap_mm: Range of the slice spacing.
        num_tips: End branches per vessel tree and lung.
    """

    matrix: int
    slice_gap_mm: tuple[float, float]
    num_tips: int


SIZES: dict[str, Size] = {
    "tiny": Size(96, (3.7, 4.3), 110),
    "small": Size(224, (1.5, 2.5), 350),
    "full": Size(512, (0.7, 1.0), 1000),
}


class Vendor(NamedTuple):
    """How a vendor writes headers. Names of kernels as in public conformance statements (unverified)."""

    name: str
    models: tuple[str, ...]
    sharp_kernels: tuple[str, ...]
    soft_kernels: tuple[str, ...]
    is_signed: bool
    bits_stored: int
    intercept: int


VENDORS: tuple[Vendor, ...] = (
    Vendor(
        "SIEMENS",
        ("SOMATOM Definition AS+", "SOMATOM Force"),
        ("B70f", "B60f", "Bl64f"),
        ("B30f", "B31f"),
        is_signed=False,
        bits_stored=12,
        intercept=-1024,
    ),
    Vendor(
        "GE MEDICAL SYSTEMS",
        ("Revolution CT", "LightSpeed VCT"),
        ("LUNG", "BONE"),
        ("STANDARD", "SOFT"),
        is_signed=True,
        bits_stored=16,
        intercept=0,
    ),
    Vendor(
        "Philips",
        ("iCT 256", "Ingenuity CT"),
        ("L", "YC"),
        ("B", "C"),
        is_signed=False,
        bits_stored=12,
        intercept=-1000,
    ),
    Vendor(
        "TOSHIBA",
        ("Aquilion ONE", "Aquilion PRIME"),
        ("FC52", "FC86"),
        ("FC08", "FC18"),
        is_signed=True,
        bits_stored=16,
        intercept=0,
    ),
)


@dataclass(frozen=True, slots=True)
class AcquisitionPlan:
    """One scan's acquisition.

    Attributes:
        matrix: Rows and columns.
        field_of_view_mm: Reconstruction diameter.
        slice_gap_mm: Distance of slices.
        thickness_mm: Slice thickness.
        noise_hu: Standard deviation in soft tissue.
        blur_mm: Standard deviation of the in-plane point spread.
        is_sharp: Sharp kernel, with edge enhancement.
        vendor: Whose header.
        model: Model name.
        kernel: Kernel name.
        kvp: Tube voltage.
        blood_hu: HU of blood; 0 for the default, raised by contrast.
        num_tips: Vessel detail.
        table_offset_mm: z of the scanner at the phantom's z = 0.
    """

    matrix: int
    field_of_view_mm: float
    slice_gap_mm: float
    thickness_mm: float
    noise_hu: float
    blur_mm: float
    is_sharp: bool
    vendor: Vendor
    model: str
    kernel: str
    kvp: int
    blood_hu: float
    num_tips: int
    table_offset_mm: float


def draw_acquisition(
    rng: np.random.Generator, size: SizeName, body_width_mm: float, *, noise_scale: float = 1.0
) -> AcquisitionPlan:
    """Draw an acquisition. Nothing of the disease enters.

    Args:
        rng: Generator of the patient's acquisition.
        size: Size of the scan.
        body_width_mm: The field of view follows the body.
        noise_scale: Factor on the noise.
    """
    frame = SIZES[size]
    vendor = VENDORS[int(rng.integers(len(VENDORS)))]
    is_sharp = bool(rng.random() < 0.75)
    kernels = vendor.sharp_kernels if is_sharp else vendor.soft_kernels
    gap = float(np.round(rng.uniform(*frame.slice_gap_mm), 2))
    view = float(np.round(np.clip(body_width_mm * rng.uniform(1.0, 1.12), 280, 480), 1))
    noise = float(np.round(rng.uniform(14, 34) * (1.35 if is_sharp else 0.7) * noise_scale, 2))
    return AcquisitionPlan(
        matrix=frame.matrix,
        field_of_view_mm=view,
        slice_gap_mm=gap,
        thickness_mm=gap,
        noise_hu=noise,
        blur_mm=0.35 if is_sharp else 0.75,
        is_sharp=is_sharp,
        vendor=vendor,
        model=vendor.models[int(rng.integers(len(vendor.models)))],
        kernel=kernels[int(rng.integers(len(kernels)))],
        kvp=int(rng.choice([100, 120, 120, 120])),
        blood_hu=0.0,
        num_tips=frame.num_tips,
        table_offset_mm=float(np.round(rng.uniform(-900, 200), 1)),
    )


def acquire(hu: Field, grid: Grid, plan: AcquisitionPlan, rng: np.random.Generator) -> NDArray[np.int16]:
    """Blur, add noise and round, slice by slice.

    Args:
        hu: Object HU, shape (Z, Y, X).
        grid: Its voxels.
        plan: The acquisition.
        rng: Generator of the noise.
    """
    out = np.empty(hu.shape, np.int16)
    pixel = grid.spacing_mm[1]
    for index in range(hu.shape[0]):
        plane = hu[index]
        if plan.blur_mm / pixel > 0.3:
            plane = ndimage.gaussian_filter(plane, plan.blur_mm / pixel, truncate=3.0)
        if plan.is_sharp and pixel < 2:
            plane = plane + np.float32(0.4) * (plane - ndimage.gaussian_filter(plane, 1.0 / pixel, truncate=3.0))
        plane = plane + _noise(plane.shape, plan, rng)
        out[index] = np.clip(np.rint(plane), LOWEST_HU, 3071)
    return out


def _noise(shape: tuple[int, ...], plan: AcquisitionPlan, rng: np.random.Generator) -> Field:
    """Correlated noise of a slice."""
    white = rng.standard_normal(shape, dtype=np.float32)
    if plan.is_sharp:
        return white * np.float32(plan.noise_hu)
    smooth = ndimage.uniform_filter(white, 3, mode="wrap")
    return np.asarray(smooth * np.float32(3.0 * plan.noise_hu))
