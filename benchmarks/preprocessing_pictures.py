"""Overlays of lungs and zones on axial, coronal and sagittal cuts: looked at, not measured.

python benchmarks/preprocessing_pictures.py SCAN... --out FOLDER      (any file or folder the readers take)
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipeline import read_volume
from data_pipeline.graph import quantify_volume
from data_pipeline.quantitative.bins import bin_lungs, box_of
from data_pipeline.quantitative.tissue_classes import classify
from domain.affine import Affine
from domain.batch_keys import AFFINE, LUNG_MASK, QUANTITATIVE_TABLE, VOLUME
from domain.errors import StudyError

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the backend is chosen

COLOURS = np.array([[0, 0, 0, 0], [0.2, 0.6, 1, 0.35], [0.2, 0.9, 0.4, 0.35], [1, 0.8, 0, 0.55], [1, 0.1, 0.1, 0.6]])


def classes_on_grid(data: dict[str, Any]) -> NDArray[np.uint8]:
    """0 outside, 1 right, 2 left, 3 ground glass, 4 consolidation, on the native grid."""
    voxels, labels = data[VOLUME][0], data[LUNG_MASK][0]
    box = box_of(labels)
    bins = bin_lungs(voxels[box], labels[box], Affine(data[AFFINE]).spacing_mm)
    tissue = classify(bins)
    shown = labels.copy()
    classes = tissue.ground_glass * np.uint8(3) + tissue.consolidation * np.uint8(4)
    for axis in range(3):
        classes = classes.repeat(bins.factors[axis], axis=axis)
    inner = tuple(slice(part.start, part.start + size) for part, size in zip(box, classes.shape, strict=True))
    target = shown[inner]
    target[classes > 0] = classes[classes > 0]
    return shown


def draw(data: dict[str, Any], path: Path) -> None:
    """Three axial, one coronal and one sagittal cut."""
    voxels, shown = data[VOLUME][0], classes_on_grid(data)
    spacing = Affine(data[AFFINE]).spacing_mm
    box = box_of(data[LUNG_MASK][0])
    at = [part.start + np.array([0.25, 0.5, 0.75]) * (part.stop - part.start) for part in box]
    cuts = [(np.s_[:, :, int(k)], spacing[1] / spacing[0]) for k in at[2]]
    cuts += [(np.s_[:, int(at[1][1])], spacing[2] / spacing[0]), (np.s_[int(at[0][0])], spacing[2] / spacing[1])]
    figure, axes = plt.subplots(1, 5, figsize=(12, 2.7))
    for axis, (cut, aspect) in zip(axes, cuts, strict=True):
        axis.imshow(np.clip(voxels[cut].T[::-1, ::-1], -1000, 250), cmap="gray", aspect=aspect)
        axis.imshow(COLOURS[shown[cut].T[::-1, ::-1]], aspect=aspect)
        axis.axis("off")
    table = data[QUANTITATIVE_TABLE]
    figure.suptitle(
        f"{path.stem}: {table['lung_volume_ml']:.0f} ml, ground glass {table['ggo_percent']:.1f} %, "
        f"consolidation {table['consolidation_percent']:.1f} %, reticulation {table['reticulation_percent']:.1f} %",
        fontsize=8,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
    with Image.open(path) as drawn:
        small = drawn.convert("RGB").quantize(64)  # a third of the size, the same to the eye
    small.save(path, optimize=True)


def main() -> None:
    """Draw scans."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for scan in arguments.scans:
        try:
            draw(quantify_volume(read_volume(scan)), arguments.out / f"{scan.stem}.png")
        except StudyError as error:
            print(f"{scan.name}: {error.code}: {error.message}")


if __name__ == "__main__":
    main()
