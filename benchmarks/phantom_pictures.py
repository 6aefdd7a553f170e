"""Pictures of phantoms for ``docs/phantoms.md``: contact sheets, and curves beside a real CT where one is given.

python benchmarks/phantom_pictures.py --out docs/pictures/phantoms [--real DICOM_FOLDER]
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline import read_volume
from data_pipeline.phantoms import CohortSettings, draw_truths
from data_pipeline.phantoms.cohort import make_planned_scan, plan_scan
from data_pipeline.phantoms.disease_types import DiseasePlan, EmphysemaKind, OtherKind
from data_pipeline.phantoms.patients import PatientTruth
from data_pipeline.phantoms.scan import Scan
from domain.patterns import Pattern

KINDS = ("nsip", "op", "mixed", "uip", "diffuse_damage", "infection", "emphysema", "normal")
WINDOW = {"cmap": "gray", "vmin": -1150, "vmax": 150}
SEED = 11
CELL_INCHES = 1.7
PARTS = ["sheets", "forms", "full", "curves"]
OTHER = Pattern.OTHER
FORMS = {  # name -> (what is planted, height of the slice as a share of the scan)
    "traction": (DiseasePlan(Pattern.NSIP, ground_glass=0.25, reticulation=0.2, traction=3.0), 0.27),
    "sparing": (DiseasePlan(Pattern.NSIP, ground_glass=0.4, reticulation=0.1, has_sparing=True), 0.3),
    "perilobular": (DiseasePlan(Pattern.OP, consolidation=0.12, num_foci=7, perilobular=1.0), 0.4),
    "reversed halo": (DiseasePlan(Pattern.OP, consolidation=0.12, num_foci=6, reversed_halo=1.0), 0.4),
    "along bronchi": (DiseasePlan(Pattern.OP, consolidation=0.12, num_foci=8, peribronchovascular=1.0), 0.45),
    "paraseptal": (
        DiseasePlan(OTHER, OtherKind.EMPHYSEMA, emphysema=0.15, emphysema_kind=EmphysemaKind.PARASEPTAL),
        0.55,
    ),
    "air trapping": (DiseasePlan(OTHER, OtherKind.NORMAL, air_trapping=0.25), 0.4),
    "effusion": (DiseasePlan(OTHER, OtherKind.NORMAL, effusion_mm=(22.0, 14.0)), 0.2),
    "pneumothorax": (DiseasePlan(OTHER, OtherKind.NORMAL, pneumothorax_mm=12.0), 0.55),
    "pneumomediastinum": (DiseasePlan(OTHER, OtherKind.NORMAL, has_pneumomediastinum=True), 0.62),
}


def kind_of(truth: PatientTruth) -> str:
    """Pattern, or the kind of an ``other`` one."""
    pattern = str(truth.columns["pattern"])
    return str(truth.columns["other_kind"]) if pattern == "other" else pattern


def examples(settings: CohortSettings) -> dict[str, list[PatientTruth]]:
    """Patients of each kind, mildest first."""
    found: dict[str, list[PatientTruth]] = {kind: [] for kind in KINDS}
    for truth in draw_truths(settings):
        found[kind_of(truth)].append(truth)
    return {kind: sorted(group, key=lambda truth: float(truth.columns["extent"])) for kind, group in found.items()}


def show(axes: plt.Axes, plane: NDArray[np.int16], aspect: float = 1.0, title: str = "") -> None:
    """One slice in the lung window."""
    axes.imshow(plane, aspect=aspect, interpolation="antialiased", **WINDOW)
    axes.set_title(title, fontsize=6, pad=2)
    axes.axis("off")


def columns_of(scan: Scan) -> list[tuple[NDArray[np.int16], float]]:
    """Three axial slices and a coronal one, with their aspect."""
    count, rows = scan.hu.shape[:2]
    gap, row, _ = scan.grid.spacing_mm
    crop = slice(int(0.1 * rows), int(0.93 * rows))
    planes = [(scan.hu[int(count * share)][crop], 1.0) for share in (0.28, 0.45, 0.65)]
    return [*planes, (scan.hu[::-1, int(rows * 0.52)], gap / row)]


def save(figure: plt.Figure, path: Path) -> None:
    """Write a picture small enough for a repository."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.subplots_adjust(wspace=0.03 if "sheet" in path.name else 0.25, hspace=0.10)
    figure.savefig(path, dpi=95, bbox_inches="tight", pad_inches=0.02, pil_kwargs={"optimize": True})
    plt.close(figure)
    from PIL import Image

    with Image.open(path) as image:
        image.convert("L" if "sheet" in path.name else "P").save(path, optimize=True)
    print(path, path.stat().st_size // 1024, "kB")


def contact_sheet(settings: CohortSettings, path: Path) -> None:
    """All kinds, one column each."""
    groups = examples(settings)
    kinds = [kind for kind in KINDS if groups[kind]]
    figure, axes = plt.subplots(4, len(kinds), figsize=(CELL_INCHES * len(kinds), CELL_INCHES * 4))
    for column, kind in enumerate(kinds):
        truth = groups[kind][len(groups[kind]) // 2]
        scan = make_planned_scan(settings, plan_scan(settings, truth.columns, truth.index), truth.index)
        for row, (plane, aspect) in enumerate(columns_of(scan)):
            show(axes[row, column], plane, aspect, kind.replace("_", " ") if row == 0 else "")
    save(figure, path)


def severity_sheet(settings: CohortSettings, path: Path) -> None:
    """NSIP, OP and mixed from mild to severe."""
    groups = examples(settings)
    shares = (0.1, 0.35, 0.65, 0.95)
    figure, axes = plt.subplots(3, len(shares), figsize=(CELL_INCHES * len(shares), CELL_INCHES * 3))
    for row, kind in enumerate(KINDS[:3]):
        for column, share in enumerate(shares):
            truth = groups[kind][int(share * (len(groups[kind]) - 1))]
            scan = make_planned_scan(settings, plan_scan(settings, truth.columns, truth.index), truth.index)
            found = scan.extents["ground_glass"] + scan.extents["consolidation"]
            show(axes[row, column], scan.hu[int(len(scan.hu) * 0.34)], 1.0, f"{kind}, {found:.0f} % affected")
    save(figure, path)


def made(settings: CohortSettings, kind: str, place: int) -> Scan:
    """The scan of one example of a kind."""
    truth = examples(settings)[kind][place]
    return make_planned_scan(settings, plan_scan(settings, truth.columns, truth.index), truth.index)


def full_size_sheet(scan: Scan, path: Path) -> None:
    """Two slices of one full-size patient, large: lung window and soft-tissue window."""
    figure, axes = plt.subplots(2, 2, figsize=(7.4, 6.0))
    for column, share in enumerate((0.3, 0.5)):
        plane = scan.hu[int(len(scan.hu) * share)]
        rows = slice(int(0.14 * len(plane)), int(0.94 * len(plane)))
        show(axes[0, column], plane[rows])
        axes[1, column].imshow(plane[rows], interpolation="antialiased", cmap="gray", vmin=-160, vmax=240)
        axes[1, column].axis("off")
    save(figure, path)


def forms_sheet(path: Path) -> None:
    """Single findings, each planted in the same body."""
    from preprocessing_phantoms import make_chest_of

    figure, axes = plt.subplots(2, 5, figsize=(CELL_INCHES * 7.5, CELL_INCHES * 2.7))
    for axis, (name, (plan, height)) in zip(axes.ravel(), FORMS.items(), strict=True):
        hu = make_chest_of(plan, size="small", seed=2)
        plane = hu[int(len(hu) * height)]
        show(axis, plane[int(0.12 * len(plane)) : int(0.92 * len(plane))], 1.0, name)
    save(figure, path)


def noise_power(hu: NDArray[np.int16], pixel_mm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radial noise power of the air-free middle of the body, from differences of neighbouring slices.

    Returns:
        Frequencies in 1/mm and power scaled to unit area.
    """
    middle = len(hu) // 2
    size = 32
    best, where = np.inf, (0, 0)
    plane = ndimage.gaussian_filter(hu[middle].astype(float), 2)
    for row in range(0, hu.shape[1] - size, 8):
        for column in range(0, hu.shape[2] - size, 8):
            patch = plane[row : row + size, column : column + size]
            if 0 < patch.mean() < 90 and patch.std() < best:
                best, where = patch.std(), (row, column)
    row, column = where
    block = hu[middle - 6 : middle + 6, row : row + size, column : column + size].astype(float)
    noise = np.diff(block, axis=0) / np.sqrt(2)
    power = (np.abs(np.fft.fft2(noise - noise.mean(axis=(1, 2), keepdims=True))) ** 2).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size, pixel_mm), np.fft.fftfreq(size, pixel_mm)))
    edges = np.linspace(0, 0.5 / pixel_mm, 13)
    radial = [power[(frequency >= low) & (frequency < high)].mean() for low, high in pairwise(edges)]
    return (edges[1:] + edges[:-1]) / 2, np.array(radial) / np.sum(radial)


def vessel_share(
    hu: NDArray[np.int16], lungs: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> dict[str, float]:
    """Percent of the inner lung that stands out of its surroundings like a vessel, in shells under the pleura."""
    depth = ndimage.distance_transform_edt(lungs, sampling=spacing_mm)
    bright = (hu > -600) & (depth > 3)
    return {
        f"{low}-{high} mm": float(100 * bright[(depth > low) & (depth <= high)].mean())
        for low, high in ((3, 10), (10, 20), (20, 30), (30, 45))
    }


def real_lungs(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Air inside the body with its vessels filled in, for the comparison only. Shape (Z, Y, X)."""
    air = ndimage.binary_opening(hu < -500, iterations=1)
    labels, _ = ndimage.label(air)
    border = np.unique(np.concatenate([labels[:, 0].ravel(), labels[:, -1].ravel(), labels[:, :, 0].ravel()]))
    inner = air & ~np.isin(labels, border)
    labels, _ = ndimage.label(inner)
    largest = np.bincount(labels.ravel())[1:].argsort()[::-1][:2] + 1
    return ndimage.binary_closing(np.isin(labels, largest), iterations=6)


def comparison(scan: Scan, real_folder: Path, path: Path) -> None:
    """Histogram, noise power and vessel density of a phantom beside a real scan. No real picture is drawn."""
    volume = read_volume(real_folder)
    real = volume.voxels.transpose(2, 1, 0)
    i, j, k = volume.affine.spacing_mm
    sets = {
        "real": (real, real_lungs(real), (k, j, i)),
        "phantom": (scan.hu, scan.lungs > 0, scan.grid.spacing_mm),
    }
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.9))
    for name, (hu, lungs, spacing) in sets.items():
        values = hu[lungs]
        axes[0].hist(values, bins=np.arange(-1050, 200, 20), density=True, histtype="step", label=name)
        frequency, power = noise_power(hu, spacing[1])
        axes[1].plot(frequency, power, label=name)
        shares = vessel_share(hu, lungs, spacing)
        axes[2].plot(list(shares), list(shares.values()), marker="o", label=name)
        print(name, "lung median", np.median(values), "deciles", np.quantile(values, [0.1, 0.9]), shares)
    for axis, title, label in zip(
        axes,
        ("HU in the lungs", "noise power (unit area)", "brighter than -600 HU, by depth"),
        ("HU", "1/mm", "percent"),
        strict=True,
    ):
        axis.set_title(title, fontsize=8)
        axis.set_xlabel(label if axis is not axes[2] else "mm under the pleura", fontsize=7)
        axis.tick_params(labelsize=6)
        axis.legend(fontsize=7)
    save(figure, path)


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/phantoms"))
    parser.add_argument("--real", type=Path, help="folder of one real CT series, for the curves")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    small = CohortSettings(seed=SEED, num_patients=150, size="small")
    full = CohortSettings(seed=SEED, num_patients=150, size="full")
    if "sheets" in args.only:
        contact_sheet(small, args.out / "patterns_sheet.png")
        severity_sheet(small, args.out / "severity_sheet.png")
    if "forms" in args.only:
        forms_sheet(args.out / "forms_sheet.png")
    if "full" in args.only:
        full_size_sheet(made(full, "nsip", -4), args.out / "full_size_sheet.png")
    if "curves" in args.only and args.real:
        comparison(made(full, "normal", 0), args.real, args.out / "curves.png")


if __name__ == "__main__":
    main()
