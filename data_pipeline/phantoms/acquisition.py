"""The scanner: what is drawn for one scan, without looking at the label. How it acts on pixels is in ``physics``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import Field

from data_pipeline.phantoms.sourced import Range, Sourced
from domain.config_files import resolve_config
from domain.errors import InputError
from domain.specs import Settings
from domain.strict_yaml import load_settings

SizeName = Literal["tiny", "small", "full"]
ProtocolName = Literal["hrct", "varied"]
SIZE_NAMES: tuple[SizeName, ...] = ("tiny", "small", "full")
PROTOCOL_NAMES: tuple[ProtocolName, ...] = ("hrct", "varied")


class Size(Sourced):
    """Size of a scan: matrix, range of the slice step in mm, branches per vessel tree and lung, factor on noise."""

    name: SizeName
    matrix: int
    step_mm: tuple[float, float]
    num_tips: int
    noise_factor: float


class Vendor(Sourced):
    """How a vendor writes headers."""

    name: str
    models: tuple[str, ...]
    sharp: tuple[str, ...]
    soft: tuple[str, ...]
    is_signed: bool
    bits_stored: int
    intercept: int
    image_type: tuple[str, ...]
    description: str


class Kernel(Sourced):
    """Response of a reconstruction kernel.

    Attributes:
        blur_mm: Standard deviation of the point spread.
        edge_mm: Scale of the edge enhancement; 0 for none.
        edge_gain: Its strength.
        noise_mm: Width of the Gaussian under which the noise's spectrum falls off.
        ramp_mm: Width of the Gaussian taken away from it: the dip of the ramp at low frequencies.
        ramp_gain: Depth of that dip, 0 to 1.
        low_mm: Width of what is left at low frequencies.
        low_share: Its share of the variance.
        noise_factor: Factor on the noise.
    """

    blur_mm: float
    edge_mm: float
    edge_gain: float
    noise_mm: float
    ramp_mm: float
    ramp_gain: float
    low_mm: float
    low_share: float
    noise_factor: float


class Kernels(Settings):
    """Sharp and soft."""

    sharp: Kernel
    soft: Kernel


class Effects(Sourced):
    """What else the scanner does.

    Attributes:
        cupping_hu: Beam hardening left after correction: the middle of the body reads low.
        shoulder_noise: Noise at the shoulders over noise at the heart.
        streak_share: Deviation of the streaks at the shoulders over that of the noise.
        streak_mm: Their length.
        metal_hu: HU of metal.
        metal_mm2: Its cross-section.
        metal_streak_hu: Strength of its rays.
        heart_reach_mm: How far from the heart motion is seen.
        ghost_share: Share of the second position of what moves.
        thin_mm: Steps below this may be overlapped or sequential.
        thick_mm: Thickness of thick slices.
        sequential_gap_mm: Distance of sequential slices.
        kvp: Tube voltages, each as likely as the others.
        contrast_hu: HU of blood with contrast, from lowest to highest.
        field_mm: Least and greatest field of view.
        table_mm: Position of the table, from lowest to highest.
        crop_share: Field of view over body width where it crops.
        margin_share: The same elsewhere, from lowest to highest.
    """

    cupping_hu: float
    shoulder_noise: float
    streak_share: float
    streak_mm: float
    metal_hu: float
    metal_mm2: float
    metal_streak_hu: float
    heart_reach_mm: float
    ghost_share: float
    thin_mm: float
    thick_mm: float
    sequential_gap_mm: float
    kvp: tuple[int, ...]
    contrast_hu: tuple[float, float]
    field_mm: tuple[float, float]
    table_mm: tuple[float, float]
    crop_share: float
    margin_share: tuple[float, float]


class Protocol(Sourced):
    """How often a scan departs from the guideline; all shares between 0 and 1."""

    name: ProtocolName
    sharp_share: float
    thick_share: float
    sequential_share: float
    overlap_share: float
    contrast_share: float
    prone_share: float
    expiratory_share: float
    crop_share: float
    metal_share: float
    motion_mm: float


class AcquisitionSettings(Settings):
    """Everything in ``configs/phantoms/acquisition.yaml``."""

    format_version: Literal[1] = 1
    sizes: tuple[Size, ...]
    vendors: tuple[Vendor, ...] = Field(min_length=1)
    kernels: Kernels
    noise_hu: Range
    effects: Effects
    protocols: tuple[Protocol, ...]

    def size(self, name: SizeName) -> Size:
        """The size of a name."""
        return next(size for size in self.sizes if size.name == name)

    def protocol(self, name: ProtocolName) -> Protocol:
        """The protocol of a name."""
        return next(protocol for protocol in self.protocols if protocol.name == name)

    def vendors_named(self, names: tuple[str, ...]) -> tuple[Vendor, ...]:
        """The vendors of some names, without regard to case; all of them where none is named.

        Raises:
            InputError: A name that no vendor has.
        """
        known = {vendor.name.casefold(): vendor for vendor in self.vendors}
        if unknown := [name for name in names if name.casefold() not in known]:
            raise InputError(f"no scanner is called {', '.join(unknown)}; there are {', '.join(known)}")
        return tuple(known[name.casefold()] for name in names) or self.vendors


@lru_cache(maxsize=4)
def load_acquisition_settings(name_or_path: str = "acquisition") -> AcquisitionSettings:
    """The shipped scanners, or a file of one's own."""
    return load_settings(AcquisitionSettings, resolve_config(name_or_path, "phantoms"))


@dataclass(frozen=True, slots=True)
class AcquisitionPlan:
    """One scan's acquisition.

    Attributes:
        matrix: Rows and columns.
        field_of_view_mm: Reconstruction diameter; under the body's width it crops the body.
        step_mm: Distance at which the object is sampled along z.
        stride: Sampled slices between two written ones.
        window: Sampled slices averaged into one written one.
        noise_hu: Standard deviation in soft tissue.
        is_sharp: Which kernel.
        vendor: Whose header.
        model: Model name.
        kernel: Kernel name.
        kvp: Tube voltage.
        blood_hu: HU of blood; 0 for the default, raised by contrast.
        num_tips: Vessel detail.
        table_offset_mm: z of the scanner at the phantom's z = 0.
        is_prone: Lying face down.
        is_expiratory: Scanned in expiration.
        is_sequential: Thin slices with gaps.
        has_metal: A metal object, with streaks.
        motion_mm: How far heart and diaphragm move during the scan.
    """

    matrix: int
    field_of_view_mm: float
    step_mm: float
    stride: int
    window: int
    noise_hu: float
    is_sharp: bool
    vendor: str
    model: str
    kernel: str
    kvp: int
    blood_hu: float
    num_tips: int
    table_offset_mm: float
    is_prone: bool
    is_expiratory: bool
    is_sequential: bool
    has_metal: bool
    motion_mm: float

    @property
    def slice_gap_mm(self) -> float:
        """Distance of the written slices."""
        return round(self.step_mm * self.stride, 4)

    @property
    def thickness_mm(self) -> float:
        """Thickness of the written slices."""
        return round(self.step_mm * self.window, 4)


def _slices(rng: np.random.Generator, protocol: Protocol, effects: Effects, step_mm: float) -> tuple[int, int, bool]:
    """Stride, window, and whether the scan is sequential."""
    draw, is_thin = rng.random(), step_mm < effects.thin_mm
    if draw < protocol.sequential_share and is_thin:
        return int(np.ceil(effects.sequential_gap_mm / step_mm)), 1, True
    if draw < protocol.sequential_share + protocol.thick_share:
        count = max(int(np.ceil(effects.thick_mm / step_mm)), 2)
        return count, count, False
    return (1, 2, False) if draw > 1 - protocol.overlap_share and is_thin else (1, 1, False)


def draw_acquisition(
    rng: np.random.Generator,
    size: SizeName,
    body_width_mm: float,
    *,
    protocol: ProtocolName = "hrct",
    noise_scale: float = 1.0,
    vendor_index: int | None = None,
    scanners: tuple[str, ...] = (),
) -> AcquisitionPlan:
    """Draw an acquisition. Nothing of the disease enters, unless a shortcut is planted by ``vendor_index``.

    Args:
        rng: Generator of the patient's acquisition.
        size: Size of the scan.
        body_width_mm: The field of view follows the body.
        protocol: Which departures from the guideline happen.
        noise_scale: Factor on the noise.
        vendor_index: Forces a vendor and its sharp (even index) or soft (odd index) kernel.
        scanners: Vendors to draw from; all of them where empty.

    Raises:
        InputError: A scanner that does not exist.
    """
    settings = load_acquisition_settings()
    frame, habits, effects = settings.size(size), settings.protocol(protocol), settings.effects
    vendors = settings.vendors_named(scanners)
    vendor = vendors[int(rng.integers(len(vendors)))]
    is_sharp = bool(rng.random() < habits.sharp_share)
    if vendor_index is not None:
        vendor, is_sharp = settings.vendors[vendor_index % len(settings.vendors)], vendor_index % 2 == 0
    kernel = settings.kernels.sharp if is_sharp else settings.kernels.soft
    names = vendor.sharp if is_sharp else vendor.soft
    step = float(np.round(rng.uniform(*frame.step_mm), 2))
    stride, window, is_sequential = _slices(rng, habits, effects, step)
    shares = rng.random(5)
    crop = effects.crop_share if shares[0] < habits.crop_share else rng.uniform(*effects.margin_share)
    noise = settings.noise_hu.at(rng.random()) * kernel.noise_factor * frame.noise_factor * noise_scale
    return AcquisitionPlan(
        matrix=frame.matrix,
        field_of_view_mm=float(np.round(np.clip(body_width_mm * crop, *effects.field_mm), 1)),
        step_mm=step,
        stride=stride,
        window=window,
        noise_hu=float(np.round(noise / np.sqrt(window), 2)),
        is_sharp=is_sharp,
        vendor=vendor.name,
        model=vendor.models[int(rng.integers(len(vendor.models)))],
        kernel=names[int(rng.integers(len(names)))],
        kvp=int(rng.choice(effects.kvp)),
        blood_hu=float(np.round(rng.uniform(*effects.contrast_hu), 1)) if shares[1] < habits.contrast_share else 0.0,
        num_tips=frame.num_tips,
        table_offset_mm=float(np.round(rng.uniform(*effects.table_mm), 1)),
        is_prone=bool(shares[2] < habits.prone_share),
        is_expiratory=bool(shares[3] < habits.expiratory_share),
        is_sequential=is_sequential,
        has_metal=bool(shares[4] < habits.metal_share),
        motion_mm=float(np.round(rng.uniform(0, habits.motion_mm), 2)),
    )


def vendor_of(plan: AcquisitionPlan) -> Vendor:
    """The vendor of a plan."""
    return next(vendor for vendor in load_acquisition_settings().vendors if vendor.name == plan.vendor)


def kernel_of(plan: AcquisitionPlan) -> Kernel:
    """The kernel response of a plan."""
    kernels = load_acquisition_settings().kernels
    return kernels.sharp if plan.is_sharp else kernels.soft
