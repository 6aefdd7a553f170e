"""A made-up chest that travels with every artefact, and what the artefact said of it when it was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domain.affine import Affine
from domain.volume import AIR_HU, Volume

SPACING_MM = 4.0
SHAPE = (84, 64, 76)  # 336 x 256 x 304 mm

# Largest differences allowed. Measures: share of their own size; probabilities: absolute.
PROBABILITY_TOLERANCE = 5e-3
QUANTITATIVE_TOLERANCE = 2e-2
# bfloat16 keeps 8 bits: a GPU's probabilities differ in the second decimal.
CUDA_PROBABILITY_TOLERANCE = 5e-2


def make_volume() -> Volume:
    """A body with two lungs, ground glass at the bases and a patch of consolidation on the right; no patient's.

    The noise is a sine of voxel numbers, not a random generator's: the same on every machine and version.
    """
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    noise = 25 * np.sin(np.arange(x.size, dtype=np.float64) * 12.9898).reshape(SHAPE)
    hu = np.full(SHAPE, float(AIR_HU))
    body = (x / 0.92) ** 2 + (y / 0.85) ** 2 < 1
    hu[body] = 40 + noise[body] / 3
    for side in (-1, 1):
        lung = ((x - side * 0.42) / 0.33) ** 2 + (y / 0.62) ** 2 + (z / 0.85) ** 2 < 1
        hu[lung] = -850 + noise[lung]
        ground_glass = lung & (z < -0.35)
        hu[ground_glass] = -600 + noise[ground_glass]
    patch = ((x - 0.5) / 0.12) ** 2 + ((y + 0.35) / 0.12) ** 2 + ((z + 0.1) / 0.15) ** 2 < 1
    hu[patch] = 20
    vertebra = (x / 0.12) ** 2 + ((y + 0.62) / 0.14) ** 2 < 1
    hu[vertebra] = 300
    origin = tuple(-SPACING_MM * (size - 1) / 2 for size in SHAPE)
    affine = Affine.from_spacing((SPACING_MM,) * 3, (origin[0], origin[1], origin[2]))
    return Volume(np.clip(hu, AIR_HU, 1500).astype(np.int16), affine)


def write(path: Path, volume: Volume, expected: dict[str, NDArray[np.float64]]) -> None:
    """Volume and expected outputs into one compressed file, without pickles."""
    arrays = {f"expected_{name}": values for name, values in expected.items()}
    np.savez_compressed(path, voxels=volume.voxels, affine=volume.affine.matrix, **arrays)  # type: ignore[arg-type]


def read(path: Path) -> tuple[Volume, dict[str, NDArray[np.float64]]]:
    """From ``write``.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds something else.
        KeyError: Something is missing from it.
    """
    with np.load(path, allow_pickle=False) as stored:
        volume = Volume(stored["voxels"], Affine(stored["affine"]))
        prefix = "expected_"
        expected = {name.removeprefix(prefix): stored[name] for name in stored.files if name.startswith(prefix)}
    return volume, expected


def differences(
    found: dict[str, NDArray[np.float64]], expected: dict[str, NDArray[np.float64]], *, on_cuda: bool
) -> list[str]:
    """One line per output that is not what it was; empty when all agree."""
    lines = []
    probability_tolerance = CUDA_PROBABILITY_TOLERANCE if on_cuda else PROBABILITY_TOLERANCE
    for name, wanted in expected.items():
        values = found[name]
        if values.shape != wanted.shape:
            lines.append(f"{name}: shape {values.shape}, stored {wanted.shape}")
            continue
        if name == "quantitative":
            allowed = QUANTITATIVE_TOLERANCE * np.maximum(np.abs(np.nan_to_num(wanted)), 1.0)
        else:
            allowed = np.full(wanted.shape, probability_tolerance)
        gap = np.abs(np.nan_to_num(values) - np.nan_to_num(wanted))
        if (gap > allowed).any() or (np.isnan(values) != np.isnan(wanted)).any():
            worst = int((gap / allowed).argmax())
            lines.append(f"{name}[{worst}]: {values.flat[worst]:.5g}, stored {wanted.flat[worst]:.5g}")
    return lines
