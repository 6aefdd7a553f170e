"""Overlays of findings and zones on axial, coronal and sagittal cuts: looked at, not measured.

python benchmarks/preprocessing_pictures.py SCAN... --out FOLDER      (any file or folder the readers take)
python benchmarks/preprocessing_pictures.py --phantoms --out docs/pictures      (one synthetic chest per pattern)

Each scan gives ``<name>.png`` (findings) and ``<name>_zones.png`` (sides, thirds, depth below the chest wall).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from preprocessing_phantoms import KINDS, make_chest

from data_pipeline import read_volume
from data_pipeline.graph import quantify_volume
from data_pipeline.quantitative.bins import Bins, bin_lungs, box_of
from data_pipeline.quantitative.sharpness import blur_variance_mm2
from data_pipeline.quantitative.tissue_classes import classify, has_class
from data_pipeline.quantitative.zones import PERIPHERAL_SHELLS, find_zones
from domain.affine import Affine
from domain.batch_keys import AFFINE, LUNG_MASK, QUANTITATIVE_TABLE, VOLUME
from domain.errors import StudyError
from domain.volume import Volume

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the backend is chosen

SHOWN = {  # later ones are drawn over earlier ones
    "right lung": (0.2, 0.6, 1.0, 0.25),
    "left lung": (0.2, 0.9, 0.4, 0.25),
    "ground glass": (1.0, 0.85, 0.0, 0.5),
    "reticulation": (1.0, 0.45, 0.0, 0.6),
    "honeycombing": (0.85, 0.2, 1.0, 0.6),
    "consolidation": (1.0, 0.1, 0.1, 0.6),
}
CLASSES = ("ggo", "reticulation", "honeycombing", "consolidation")
HUES = np.array([[0.55, 0.75, 1.0], [0.15, 0.45, 0.95], [0.05, 0.15, 0.6]])  # upper, middle, lower third
LEFT_HUES = HUES[:, [0, 2, 1]]


def binned(data: dict[str, Any]) -> tuple[Bins, tuple[slice, ...]]:
    """Bins of the lungs and the native box they lie in."""
    voxels, labels = data[VOLUME][0], data[LUNG_MASK][0]
    box = box_of(labels)
    return bin_lungs(voxels[box], labels[box], Affine(data[AFFINE]).spacing_mm), box


def on_native_grid(
    colours: NDArray[np.uint8], bins: Bins, box: tuple[slice, ...], labels: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Colour numbers of bins on the native grid, inside the mask."""
    for axis in range(3):
        colours = colours.repeat(bins.factors[axis], axis=axis)
    shown = labels.copy()
    inner = tuple(slice(part.start, part.start + size) for part, size in zip(box, colours.shape, strict=True))
    shown[inner] = np.where((colours > 0) & (labels[inner] > 0), colours, shown[inner])
    return shown


def findings(data: dict[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Numbers of the colours of ``SHOWN`` on the native grid, and the colours."""
    bins, box = binned(data)
    blur = blur_variance_mm2(data[VOLUME][0], data[LUNG_MASK][0], Affine(data[AFFINE]).spacing_mm)
    bits = classify(bins, blur)
    colours = np.zeros(bits.shape, dtype=np.uint8)
    for number, name in enumerate(CLASSES, start=3):
        colours[has_class(bits, name)] = number
    return on_native_grid(colours, bins, box, data[LUNG_MASK][0]), np.array([(0, 0, 0, 0), *SHOWN.values()])


def zones(data: dict[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Side, third and shell as colours: blue right, green left, lighter upwards; the outer shell is stronger."""
    bins, box = binned(data)
    place = find_zones(bins)
    is_outer = place.shell < PERIPHERAL_SHELLS
    number = 3 + (bins.sides.astype(np.int16) - 1) * 6 + (2 - place.level) * 2 + is_outer
    palette = [(0, 0, 0, 0), (1, 1, 1, 0.1), (1, 1, 1, 0.1)]
    for hues in (HUES, LEFT_HUES):
        palette += [(*hue, alpha) for hue in hues for alpha in (0.25, 0.65)]
    colours = np.where(bins.sides > 0, number, 0).astype(np.uint8)
    return on_native_grid(colours, bins, box, data[LUNG_MASK][0]), np.array(palette)


def draw(data: dict[str, Any], path: Path) -> None:
    """Both pictures of one scan."""
    table = data[QUANTITATIVE_TABLE]
    words = " · ".join(
        f"{name} {table[f'{key}_percent']:.1f} %" for key, name in zip(CLASSES, list(SHOWN)[2:], strict=True)
    )
    title = f"{path.stem}: {table['lung_volume_ml']:.0f} ml · {words}"
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_cuts(data, *findings(data), title, path)
    shares = " · ".join(f"{name} lower third {table[f'{name}_basal_share']:.2f}" for name in ("ggo", "consolidation"))
    title = f"{path.stem}, zones: right blue, left green, thirds by volume, outer 20 mm stronger · {shares}"
    draw_cuts(data, *zones(data), title, path.with_name(f"{path.stem}_zones.png"))


def draw_cuts(
    data: dict[str, Any], shown: NDArray[np.uint8], colours: NDArray[np.float64], title: str, path: Path
) -> None:
    """Three axial, one coronal and one sagittal cut."""
    voxels, spacing = data[VOLUME][0], Affine(data[AFFINE]).spacing_mm
    box = box_of(data[LUNG_MASK][0])
    at = [part.start + np.array([0.25, 0.5, 0.75]) * (part.stop - part.start) for part in box]
    cuts = [(np.s_[:, :, int(k)], spacing[1] / spacing[0]) for k in at[2]]
    cuts += [(np.s_[:, int(at[1][1])], spacing[2] / spacing[0]), (np.s_[int(at[0][0])], spacing[2] / spacing[1])]
    figure, axes = plt.subplots(1, 5, figsize=(12.5, 2.8))
    for axis, (cut, aspect) in zip(axes, cuts, strict=True):
        axis.imshow(np.clip(voxels[cut].T[::-1, ::-1], -1000, 250), cmap="gray", aspect=aspect)
        axis.imshow(colours[shown[cut].T[::-1, ::-1]], aspect=aspect, interpolation="nearest")
        axis.axis("off")
    figure.suptitle(title, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
    with Image.open(path) as drawn:
        small = drawn.convert("RGB").quantize(64)  # a third of the size, the same to the eye
    small.save(path, optimize=True)


def main() -> None:
    """Draw scans or phantoms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="*", type=Path)
    parser.add_argument("--phantoms", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for kind in KINDS if arguments.phantoms else ():
        chest = make_chest(kind)
        volume = Volume(chest.hu, Affine.from_spacing(chest.spacing_mm))
        draw(quantify_volume(volume), arguments.out / f"lungs_{kind}.png")
    for scan in arguments.scans:
        try:
            draw(quantify_volume(read_volume(scan)), arguments.out / f"{scan.name.split('.')[0]}.png")
        except StudyError as error:
            print(f"{scan.name}: {error.code}: {error.message}")


if __name__ == "__main__":
    main()
