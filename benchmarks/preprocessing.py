"""Resampling, lungs and whole preprocessing beside MONAI, TorchIO, SimpleITK and torch, in one run.

    python benchmarks/preprocessing.py speed  --out docs/benchmarks/preprocessing_speed.md
    python benchmarks/preprocessing.py lungs  --out docs/benchmarks/lungs.md
    python benchmarks/preprocessing.py stability --out docs/benchmarks/quantitative_stability.md
    python benchmarks/preprocessing.py cache  --out docs/benchmarks/cache.md

Times are of the machine of the day: read the ratios. Peers that are not installed are left out by name.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import SimpleITK
import torch
from labelled_chests import LabelledChest, labelled_chest
from numpy.typing import NDArray
from preprocessing_phantoms import KINDS, make_chest
from safetensors.torch import load, save

from data_pipeline.graph import build_preprocess, run_graph
from data_pipeline.lungs import find_lungs
from data_pipeline.quantitative import quantify
from data_pipeline.resampling import resample
from data_pipeline.transforms.orient_ras import to_ras
from domain.affine import Affine
from domain.config_files import config_path
from domain.specs import PreprocessSpec
from domain.strict_yaml import load_settings
from domain.volume import Volume

SHAPE = (512, 512, 400)
SPACING = (0.7, 0.7, 0.8)
NEW_SPACING = (1.5, 1.5, 1.5)
WINDOW = (-1000.0, 200.0)
MIN_REPEATS = 5


def reference_volume() -> Volume:
    """A phantom chest of 400 slices 512 x 512 in the memory order and LPS direction of a DICOM series."""
    chest = make_chest("nsip", size="tiny")
    zoomed = torch.from_numpy(np.ascontiguousarray(chest.hu))[None, None].float()
    hu = torch.nn.functional.interpolate(zoomed, size=SHAPE, mode="trilinear")[0, 0]
    slices = torch.randn(hu.shape, generator=torch.Generator().manual_seed(0)).mul_(25).add_(hu)
    slices = slices.clamp_(-1024, 3071).to(torch.int16).permute(2, 1, 0).flip(1, 2).contiguous()
    matrix = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    return Volume(slices.numpy().transpose(2, 1, 0), Affine(matrix), content_digest="reference")


def ours(volume: Volume, *, anti_alias: bool) -> torch.Tensor:
    """Orientation, resampling, one window."""
    _, affine = to_ras(volume.voxels, volume.affine)
    moved = torch.from_numpy(volume.voxels)  # LPS: the flips of i and j are made on the small result
    small = resample(moved, affine.spacing_mm, NEW_SPACING, anti_alias=anti_alias)
    small = small.flip(0, 1)
    return small.sub_(WINDOW[0]).div_(WINDOW[1] - WINDOW[0]).clamp_(0, 1)


def with_simpleitk(volume: Volume) -> NDArray[np.float32]:
    """Linear interpolation on SimpleITK's own grid, threads as set for all."""
    image = SimpleITK.GetImageFromArray(volume.voxels.transpose(2, 1, 0))
    image.SetSpacing(SPACING)
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
    image = SimpleITK.DICOMOrient(image, "RAS")
    size = [round(n * old / new) for n, old, new in zip(SHAPE, SPACING, NEW_SPACING, strict=True)]
    filter_ = SimpleITK.ResampleImageFilter()
    filter_.SetSize(size)
    filter_.SetOutputSpacing(NEW_SPACING)
    filter_.SetOutputDirection(image.GetDirection())
    half = [
        (n - 1) / 2 * old - (m - 1) / 2 * new for n, m, old, new in zip(SHAPE, size, SPACING, NEW_SPACING, strict=True)
    ]
    filter_.SetOutputOrigin(
        image.TransformContinuousIndexToPhysicalPoint([h / s for h, s in zip(half, SPACING, strict=True)])
    )
    filter_.SetInterpolator(SimpleITK.sitkLinear)
    filter_.SetOutputPixelType(SimpleITK.sitkFloat32)
    out = SimpleITK.GetArrayFromImage(filter_.Execute(image))
    return np.clip((out - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1).transpose(2, 1, 0)


def with_monai(volume: Volume) -> object:
    """Stock MONAI: Orientation, Spacing, ScaleIntensityRange."""
    from monai.data import MetaTensor
    from monai.transforms import Compose, Orientation, ScaleIntensityRange, Spacing

    image = MetaTensor(torch.from_numpy(volume.voxels[None]), affine=torch.from_numpy(np.array(volume.affine.matrix)))
    chain = Compose(
        [
            Orientation(axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
            Spacing(pixdim=NEW_SPACING, mode="bilinear"),
            ScaleIntensityRange(WINDOW[0], WINDOW[1], 0.0, 1.0, clip=True),
        ]
    )
    return chain(image)


def with_torchio(volume: Volume) -> object:
    """Stock TorchIO: ToCanonical, Resample, rescale."""
    import torchio

    image = torchio.ScalarImage(tensor=torch.from_numpy(volume.voxels[None]), affine=np.array(volume.affine.matrix))
    image = torchio.Resample(NEW_SPACING)(torchio.ToCanonical()(image))
    return torchio.RescaleIntensity(out_min_max=(0, 1), in_min_max=WINDOW)(torchio.Clamp(*WINDOW)(image))


def with_torch(volume: Volume) -> torch.Tensor:
    """torch.nn.functional.interpolate on the whole volume."""
    values = torch.from_numpy(volume.voxels)[None, None].float()
    size = [round(n * old / new) for n, old, new in zip(SHAPE, SPACING, NEW_SPACING, strict=True)]
    small = torch.nn.functional.interpolate(values, size=size, mode="trilinear", align_corners=False)
    return small.sub_(WINDOW[0]).div_(WINDOW[1] - WINDOW[0]).clamp_(0, 1)


def median_seconds(action: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median wall and CPU seconds, after one warm-up where there are several repeats."""
    if repeats > 1:
        action()
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        action()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return statistics.median(wall), statistics.median(cpu)


def memory_lines() -> list[str]:
    """Peak memory of a fresh process that only imports the graph, holds the volume and runs the graph once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.npy"
        np.save(path, reference_volume().voxels.transpose(2, 1, 0))
        program = [sys.executable, str(Path(__file__).with_name("preprocessing_memory.py")), str(path)]
        answer = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    return answer.strip().splitlines()


def speed(repeats: int) -> str:
    """The rows of the contract for resampling, lungs and whole preprocessing."""
    volume = reference_volume()
    spec = load_settings(PreprocessSpec, config_path("preprocess/isotropic_3d.yaml"))
    graph = build_preprocess(spec)
    voxels, affine = to_ras(volume.voxels, volume.affine)
    labels = find_lungs(voxels, affine.spacing_mm).labels
    rows: list[tuple[str, Callable[[], object]]] = [
        ("resample: ours, linear", lambda: ours(volume, anti_alias=False)),
        ("resample: ours, anti-aliased", lambda: ours(volume, anti_alias=True)),
        ("resample: SimpleITK", lambda: with_simpleitk(volume)),
        ("resample: torch interpolate", lambda: with_torch(volume)),
        ("resample: MONAI", lambda: with_monai(volume)),
    ]
    if find_spec("torchio"):
        rows.append(("resample: TorchIO", lambda: with_torchio(volume)))
    rows += [
        ("lungs", lambda: find_lungs(voxels, affine.spacing_mm)),
        ("quantitative CT", lambda: quantify(voxels, labels, affine.spacing_mm)),
        ("whole graph, isotropic 1.5 mm", lambda: run_graph(graph, volume)),
    ]
    lines = [
        f"Load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {repeats} repeats.",
        "",
    ]
    lines += ["| step | wall s | CPU s |", "|---|---|---|"]
    seconds: dict[str, tuple[float, float]] = {}
    for name, action in rows:
        seconds[name] = median_seconds(action, repeats)
        print(name, seconds[name], file=sys.stderr, flush=True)
    lines += [f"| {name} | {wall:.2f} | {cpu:.2f} |" for name, (wall, cpu) in seconds.items()]
    monai, linear, aliased = (seconds[f"resample: {name}"] for name in ("MONAI", "ours, linear", "ours, anti-aliased"))
    difference = np.abs(ours(volume, anti_alias=False).numpy() - with_simpleitk(volume))[2:-2, 2:-2, 2:-2]
    lines += [
        "",
        f"MONAI over ours: wall {monai[0] / linear[0]:.1f} (linear), {monai[0] / aliased[0]:.1f} (anti-aliased); "
        f"CPU {monai[1] / linear[1]:.1f} and {monai[1] / aliased[1]:.1f}. "
        f"Largest difference from SimpleITK away from the border: {difference.max() * 1200:.3f} HU.",
        "",
        *memory_lines(),
    ]
    return "\n".join(lines)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Overlap, 0..1."""
    return float(2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth)))


def surface_distance_mm(found: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> float:
    """95th percentile of the distance from one border to the other, both ways, mm."""
    from scipy import ndimage

    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (found, truth)]
    distances = []
    for here, there in ((0, 1), (1, 0)):
        away = ndimage.distance_transform_edt(~borders[there], sampling=spacing_mm)
        distances.append(away[borders[here]])
    return float(np.percentile(np.concatenate(distances), 95))


FINDINGS = (  # column of the table, measure, planted extent
    ("ground glass", "ggo_percent", "ground_glass"),
    ("consolidation", "consolidation_percent", "consolidation"),
    ("reticulation and honeycombing", "fibrosis_percent", "fibrosis"),
    ("honeycombing", "honeycombing_percent", "honeycombing"),
    ("low attenuation", "low_attenuation_percent", "emphysema"),
)


def lungs(size: str, seeds: int) -> str:
    """Masks and extents against the truth, per pattern, and how extents agree over all chests."""
    head = [
        "phantom",
        "Dice (least)",
        "right side %",
        "border p95 mm",
        *(f"{name} % / planted" for name, _, _ in FINDINGS),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    every: list[list[float]] = []
    for kind in KINDS:
        rows = [_measure(labelled_chest(kind, size, seed)) for seed in range(seeds)]
        print(kind, np.round(rows, 3).tolist(), file=sys.stderr, flush=True)
        every += rows
        mean = np.nanmean(np.array(rows), axis=0)
        pairs = [f"{mean[at]:.1f} / {mean[at + 1]:.1f}" for at in range(3, len(mean), 2)]
        cells = [f"{mean[0]:.3f} ({min(row[0] for row in rows):.3f})", f"{mean[1]:.1f}", f"{mean[2]:.1f}", *pairs]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    lines += ["", f"{seeds} chests per kind, size `{size}`, with the mask found. Synthetic chests; means.", ""]
    return "\n".join([*lines, *_agreement(np.array(every))])


def _agreement(rows: NDArray[np.float64]) -> list[str]:
    """Bias, mean absolute error and correlation of each extent over all chests."""
    lines = ["| finding | bias, points | mean absolute error, points | correlation |", "|---|---|---|---|"]
    for number, (name, _, _) in enumerate(FINDINGS):
        measured, planted = rows[:, 3 + 2 * number], rows[:, 4 + 2 * number]
        error = measured - planted
        correlation = np.corrcoef(measured, planted)[0, 1]
        lines.append(f"| {name} | {error.mean():+.1f} | {np.abs(error).mean():.1f} | {correlation:.2f} |")
    return [*lines, "", f"Over all {len(rows)} chests of the table above."]


def _measure(chest: LabelledChest) -> list[float]:
    found = find_lungs(chest.hu, chest.spacing_mm).labels
    both = (found > 0) & (chest.lungs > 0)
    table, _ = quantify(chest.hu, found, chest.spacing_mm)
    row = [
        dice(found > 0, chest.lungs > 0),
        100 * float((found[both] == chest.lungs[both]).mean()),
        surface_distance_mm(found > 0, chest.lungs > 0, chest.spacing_mm),
    ]
    for _, measure, planted in FINDINGS:
        row += [table[measure], chest.extents[planted]]
    return row


STABLE = (
    "ggo_percent",
    "consolidation_percent",
    "reticulation_percent",
    "honeycombing_percent",
    "high_attenuation_percent",
    "mean_lung_density_hu",
    "density_p90_hu",
    "lung_volume_ml",
)
STEP_MM = 0.6
GROUPS = (2, 3, 5, 8)  # thin slices averaged into one: about 1, 2, 3 and 5 mm


def stability(seed: int) -> str:
    """The same chests at full size with other kernels, more noise and thicker slices: what the table then says."""
    lines = []
    for kind in ("nsip", "uip"):
        lines += [f"**{kind}**", "", "| variant | " + " | ".join(STABLE) + " |", "|---" * (len(STABLE) + 1) + "|"]
        for label, hu, spacing in _variants(kind, seed):
            table, _ = quantify(hu, find_lungs(hu, spacing).labels, spacing)
            print(kind, label, table["reticulation_percent"], file=sys.stderr, flush=True)
            lines.append(f"| {label} | " + " | ".join(f"{table[name]:.1f}" for name in STABLE) + " |")
        lines.append("")
    return "\n".join([*lines, "Synthetic chests at 0.7-0.8 mm pixels, one each; kernels as in `configs/phantoms`."])


def _variants(kind: str, seed: int) -> Iterator[tuple[str, NDArray[np.int16], tuple[float, float, float]]]:
    rng = np.random.default_rng(0)
    for kernel, is_sharp in (("sharp", True), ("soft", False)):
        chest = labelled_chest(kind, "full", seed, is_sharp=is_sharp, step_mm=STEP_MM, window=1, stride=1)
        hu, spacing = chest.hu, chest.spacing_mm
        yield f"{kernel}, {STEP_MM} mm", hu, spacing
        if is_sharp:
            noise = rng.standard_normal(hu.shape, dtype=np.float32) * 40
            yield "sharp, noise 40 HU added", np.clip(hu + noise, -1024, 3071).astype(np.int16), spacing
        for count in GROUPS:
            slices = hu.shape[2] // count
            parts = [hu[:, :, start : slices * count : count] for start in range(count)]
            thick = np.round(np.mean(parts, axis=0, dtype=np.float32)).astype(np.int16)
            yield f"{kernel}, {STEP_MM * count:.1f} mm", thick, (*spacing[:2], spacing[2] * count)


def cache(num_scans: int) -> str:
    """Size and load time of one entry in each storage form, for 1,000 scans."""
    chest = make_chest("nsip", size="small")
    spec = load_settings(PreprocessSpec, config_path("preprocess/isotropic_3d.yaml"))
    head = build_preprocess(PreprocessSpec(name="head", steps=spec.steps[:-1]))
    image = run_graph(head, Volume(chest.hu, Affine.from_spacing(chest.spacing_mm)))["image"].contiguous()
    channels = image.float().repeat(4, 1, 1, 1).contiguous()
    npz = io.BytesIO()
    np.savez_compressed(npz, image=image.numpy())
    forms: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "safetensors, HU int16, before the window step (used)": (save({"i": image}), load),
        "safetensors, four float32 channels": (save({"i": channels}), load),
        "npz deflated, int16": (npz.getvalue(), lambda content: np.load(io.BytesIO(content))["image"]),
        "gzip 1 of safetensors int16": (
            gzip.compress(save({"i": image}), 1),
            lambda content: load(gzip.decompress(content)),
        ),
    }
    lines = ["| form | GB for 1,000 scans | s to load 1,000 scans |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for name, (content, read) in forms.items():
            path = Path(folder) / "entry"
            path.write_bytes(content)
            start = time.perf_counter()
            for _ in range(num_scans):
                read(path.read_bytes())
            each = (time.perf_counter() - start) / num_scans
            lines.append(f"| {name} | {len(content) / 1e6:.1f} | {1000 * each:.1f} |")
    return "\n".join([*lines, "", f"Mean of {num_scans} loads of one entry, isotropic 1.5 mm, warm file cache."])


def main() -> None:
    """Run one mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("speed", "lungs", "stability", "cache"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=MIN_REPEATS, help=f"for speed; at least {MIN_REPEATS}")
    parser.add_argument("--size", default="small")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.repeats < MIN_REPEATS:
        parser.error(f"--repeats must be at least {MIN_REPEATS}: a median of fewer says little")
    modes: dict[str, Callable[[], str]] = {
        "speed": lambda: speed(arguments.repeats),
        "lungs": lambda: lungs(arguments.size, arguments.seeds),
        "stability": lambda: stability(0),
        "cache": lambda: cache(20),
    }
    text = modes[arguments.mode]()
    print(text)
    if arguments.out:
        command = f"python benchmarks/preprocessing.py {' '.join(sys.argv[1:])}"
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(f"Made by `{command}`.\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
