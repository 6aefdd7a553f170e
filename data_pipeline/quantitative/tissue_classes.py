"""What each bin of lung is: low and high attenuation, ground glass, consolidation, reticulation, honeycombing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_pipeline.lungs.coarse_grid import BoolArray, FloatVolume
from data_pipeline.lungs.morphology import dilated, opened_square
from data_pipeline.quantitative.bins import Bins, one_lung
from data_pipeline.quantitative.local_means import spread_to_bins
from data_pipeline.quantitative.lung_texture import (
    LungTexture,
    calm_density_hu,
    density_inside,
    line_contrast,
    lung_texture,
    noise_power,
    share_in_lobule,
)
from data_pipeline.threads import in_threads

CLASSES = ("ggo", "consolidation", "reticulation", "honeycombing", "high_attenuation", "low_attenuation")

LOW_ATTENUATION_HU = -950.0  # emphysema index
HIGH_ATTENUATION_HU = (-600.0, -250.0)
HAZE_HU = 90.0  # ground glass is denser than the calm lung of the scan by at least this much,
LEAST_HAZE_HU = -770.0  # and denser than this
LINES_ADD = 3.5  # times their contrast lines of a mesh raise the lung between them at this resolution, on phantoms
CONSOLIDATION_HU = -300.0  # half-way from aerated lung to soft tissue and above
VESSEL_MM = 7.0  # dense structures thinner than this in the plane are vessels
REGROWTH_STEPS = 2  # bins from the core of a consolidation back to its edge
LINE_HU = 38.0  # line contrast of reticulation; vessels and noise are taken away before
UNEVEN = (0.04, 13.0)  # ground glass is itself uneven: by this share of its excess density, up to so many HU
RAISED_HU = 60.0  # between its lines reticulated lung is denser than the calm lung of the scan by at least this much
HONEYCOMB_HU = 42.0  # line contrast of the walls of honeycombing
CYST_HU = 50.0  # cysts are darker than the calm lung by this much,
CYST_NOISE = 2.2  # and by so many standard deviations of the noise
MIN_CYST_SHARE = 0.04  # of a lobule

ClassBits = NDArray[np.uint8]


def classify(bins: Bins, blur_mm2: float) -> ClassBits:
    """Classes of every bin that is lung throughout.

    Consolidation, reticulation and honeycombing exclude each other; ground glass may lie between the lines of
    reticulation.

    Args:
        bins: The lungs.
        blur_mm2: From ``sharpness.blur_variance_mm2``.

    Returns:
        Shape of the bins, uint8: bit c is set where a bin has class c of ``CLASSES``.
    """
    bits = np.zeros(bins.sides.shape, dtype=np.uint8)
    lungs = [(box, lung) for box, lung in (one_lung(bins, side) for side in (1, 2)) if lung is not None]
    densities = in_threads(lambda part: density_inside(part[1], blur_mm2), lungs)
    parts = list(zip(lungs, densities, strict=True))
    textures = in_threads(lambda part: lung_texture(part[0][1], part[1], dense_foci(part[0][1], part[1])), parts)
    noise, calm = noise_power(textures), calm_density_hu(textures)

    def write(part: tuple[tuple[tuple[slice, ...], Bins], LungTexture]) -> None:
        (box, lung), texture = part
        bits[box] |= class_bits(lung, texture, noise, calm)

    in_threads(write, list(zip(lungs, textures, strict=True)))
    return bits


def has_class(bits: ClassBits, name: str) -> BoolArray:
    """Mask of one class."""
    return np.asarray(bits & (1 << CLASSES.index(name)), dtype=np.bool_)


def class_bits(lung: Bins, texture: LungTexture, noise: float, calm: float) -> ClassBits:
    """Classes of the bins of one lung.

    Args:
        lung: Its bins.
        texture: Its texture.
        noise: Power of the scan's noise, HU squared.
        calm: Density of the scan's healthy lung, HU.
    """
    density, line = texture.density_hu, line_contrast(texture, noise)
    excess = texture.background_hu - np.float32(calm + RAISED_HU)
    darker = max(CYST_HU, CYST_NOISE * noise**0.5)
    cysts = share_in_lobule(density < calm - darker, lung, texture)
    honeycombs = (line > HONEYCOMB_HU) & (cysts > MIN_CYST_SHARE)
    meshed = (
        texture.is_shown & (excess > 0) & (line > LINE_HU + np.minimum(UNEVEN[0] * excess, UNEVEN[1])) & ~honeycombs
    )
    between_lines = texture.background_hu - np.where(meshed, np.float32(LINES_ADD) * line, np.float32(0.0))
    hazy = (between_lines > max(calm + HAZE_HU, LEAST_HAZE_HU)) & texture.is_shown & ~honeycombs
    in_cells = sum(
        mask.view(np.uint8) << np.uint8(CLASSES.index(name))
        for name, mask in (("ggo", hazy), ("reticulation", meshed), ("honeycombing", honeycombs))
    )
    bits = spread_to_bins(np.asarray(in_cells, dtype=np.uint8), density.shape, lung.cell)
    bits = np.where(texture.dense, np.uint8(1 << CLASSES.index("consolidation")), bits)
    lowest, highest = HIGH_ATTENUATION_HU
    high = (density >= lowest) & (density <= highest)
    for name, mask in (("high_attenuation", high), ("low_attenuation", density < LOW_ATTENUATION_HU)):
        bits |= mask.view(np.uint8) << np.uint8(CLASSES.index(name))
    return bits * lung.inside.view(np.uint8)


def dense_foci(lung: Bins, density: FloatVolume) -> BoolArray:
    """Consolidation: dense lung that is no vessel. Its core is thicker than ``VESSEL_MM`` in the plane."""
    dense = lung.inside & (density > CONSOLIDATION_HU)
    size = [max(1, round(VESSEL_MM / step)) for step in lung.spacing_mm[:2]]
    core = dense & opened_square(dense | ~lung.inside, (size[0], size[1]))  # the pleura is no edge of a focus
    return dilated(core, REGROWTH_STEPS, shape="plane", within=dense)
