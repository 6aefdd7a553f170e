"""Resampling, lungs and whole preprocessing beside MONAI, TorchIO, SimpleITK and torch, in one run.

    python benchmarks/preprocessing.py speed  --out docs/benchmarks/preprocessing_speed.md
    python benchmarks/preprocessing.py lungs  --out docs/benchmarks/lungs.md [--pictures docs/pictures]
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
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import SimpleITK
import torch
from numpy.typing import NDArray
from preprocessing_phantoms import KINDS, Chest, make_chest
from safetensors.torch import load, save

from data_pipeline.graph import build_preprocess, quantify_volume, run_graph
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


def reference_volume() -> Volume:
    """A phantom chest of 400 slices 512 x 512 in the memory order and LPS direction of a DICOM series."""
    chest = make_chest("nsip", size="tiny")
    zoomed = torch.from_numpy(np.ascontiguousarray(chest.hu))[None, None].float()
    hu = torch.nn.functional.interpolate(zoomed, size=SHAPE, mode="trilinear")[0, 0]
    slices = torch.randn(hu.shape, generator=torch.Generator().manual_seed(0)).mul_(25).add_(hu)
    slices = slices.clamp_(-1024, 3071).to(torch.int16).permute(2, 1, 0).flip(1, 2).contiguous()
    matrix = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    return Volume(slices.numpy().transpose(2, 1, 0), Affine(matrix), content_digest="reference")


def lean_volume() -> Volume:
    """The same size made by repeating voxels, without needing memory of its own."""
    chest = make_chest("nsip", size="tiny")
    index = [np.arange(size) * old // size for size, old in zip(SHAPE, chest.hu.shape, strict=True)]
    slices = chest.hu.transpose(2, 1, 0)[np.ix_(index[2], index[1], index[0])]
    return Volume(slices.transpose(2, 1, 0), Affine.from_spacing(SPACING), content_digest="lean")


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


def peak_memory_gib(command: str) -> float:
    """Peak resident memory of a fresh process that loads the volume and runs one mode of this file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.npy"
        np.save(path, lean_volume().voxels.transpose(2, 1, 0))
        program = [sys.executable, __file__, command, "--out", str(path)]
        return float(subprocess.run(program, capture_output=True, text=True, check=True).stdout.split()[-1])


def own_peak_gib() -> float:
    """Peak resident memory of this process alone; getrusage would count that of the parent it was started from."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(status["VmHWM"].split()[0]) / 2**20


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
    ratio = seconds["resample: MONAI"][1] / seconds["resample: ours, linear"][1]
    aliased = seconds["resample: MONAI"][1] / seconds["resample: ours, anti-aliased"][1]
    difference = np.abs(ours(volume, anti_alias=False).numpy() - with_simpleitk(volume))[2:-2, 2:-2, 2:-2]
    lines += [
        "",
        f"MONAI over ours, CPU seconds: {ratio:.1f} (linear), {aliased:.1f} (anti-aliased). "
        f"Largest difference from SimpleITK away from the border: {difference.max() * 1200:.3f} HU. "
        f"Peak memory of a process that holds the volume and runs the whole graph once: "
        f"{peak_memory_gib('memory'):.2f} GiB; libraries and volume alone {peak_memory_gib('empty'):.2f} GiB.",
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


def lungs(size: str, seeds: int, pictures: Path | None) -> str:
    """Masks and extents against the truth, per pattern."""
    lines = [
        "| phantom | Dice | given the right side % | border p95 mm | GGO % / planted | consolidation % / planted "
        "| reticulation % / planted |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        rows = []
        for seed in range(seeds):
            chest = make_chest(kind, size=size, seed=seed)
            rows.append(_measure(chest))
            if pictures is not None and seed == 0:
                _picture(chest, pictures / f"lungs_{kind}.png")
            print(kind, seed, rows[-1], file=sys.stderr, flush=True)
        mean = np.nanmean(np.array(rows), axis=0)
        least = min(row[0] for row in rows)
        lines.append(
            f"| {kind} | {mean[0]:.3f} (least {least:.3f}) | {mean[1]:.1f} | {mean[2]:.1f} "
            f"| {mean[3]:.1f} / {mean[4]:.1f} | {mean[5]:.1f} / {mean[6]:.1f} | {mean[7]:.1f} / {mean[8]:.1f} |"
        )
    return "\n".join([*lines, "", f"{seeds} chests per kind, size `{size}`. Synthetic chests; means."])


def _measure(chest: Chest) -> list[float]:
    found = find_lungs(chest.hu, chest.spacing_mm).labels
    both = (found > 0) & (chest.lungs > 0)
    table = quantify(chest.hu, found, chest.spacing_mm)
    planted = chest.extents
    return [
        dice(found > 0, chest.lungs > 0),
        100 * float((found[both] == chest.lungs[both]).mean()),
        surface_distance_mm(found > 0, chest.lungs > 0, chest.spacing_mm),
        table["ggo_percent"],
        planted["ground_glass"],
        table["consolidation_percent"],
        planted["consolidation"],
        table["reticulation_percent"],
        planted["reticulation"],
    ]


def _picture(chest: Chest, path: Path) -> None:
    from preprocessing_pictures import draw

    data = quantify_volume(Volume(chest.hu, Affine.from_spacing(chest.spacing_mm)))
    draw(data, path)


def stability(seed: int) -> str:
    """The same phantom thicker, blurred, sharpened and noisier: what the table then says."""
    chest = make_chest("nsip", size="small", seed=seed)
    names = (
        "ggo_percent",
        "consolidation_percent",
        "reticulation_percent",
        "high_attenuation_percent",
        "low_attenuation_percent",
        "mean_lung_density_hu",
        "density_p90_hu",
        "lung_volume_ml",
    )
    lines = ["| variant | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for label, hu, spacing in _variants(chest):
        try:
            table = quantify(hu, find_lungs(hu, spacing).labels, spacing)
        except ArithmeticError as error:
            raise SystemExit(f"{label}: {error}") from error
        lines.append(f"| {label} | " + " | ".join(f"{table[name]:.1f}" for name in names) + " |")
    return "\n".join(lines)


def _variants(chest: Chest) -> list[tuple[str, NDArray[np.int16], tuple[float, float, float]]]:
    from scipy import ndimage

    rng = np.random.default_rng(0)
    hu, spacing = chest.hu, chest.spacing_mm
    as_int = lambda values: np.clip(np.round(values), -1024, 3071).astype(np.int16)  # noqa: E731  # one line each
    soft = ndimage.gaussian_filter(hu.astype(np.float32), (0.8, 0.8, 0))
    sharp = hu + 0.7 * (hu - soft)
    result = [
        (f"as made, slices {spacing[2]:.1f} mm", hu, spacing),
        ("soft kernel", as_int(soft), spacing),
        ("sharp kernel", as_int(sharp), spacing),
        ("noise 40 HU added", as_int(hu + 40 * rng.standard_normal(hu.shape)), spacing),
    ]
    for factor in (2, 3):
        count = hu.shape[2] // factor * factor
        thick = hu[:, :, :count].reshape(*hu.shape[:2], -1, factor).mean(axis=3)
        result.append((f"slices {spacing[2] * factor:.1f} mm", as_int(thick), (*spacing[:2], spacing[2] * factor)))
    return result


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
    parser.add_argument("mode", choices=("speed", "lungs", "stability", "cache", "memory", "empty"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", default="small")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    if arguments.mode in {"memory", "empty"}:
        volume = Volume(np.load(arguments.out).transpose(2, 1, 0), Affine.from_spacing(SPACING))
        if arguments.mode == "memory":
            spec = load_settings(PreprocessSpec, config_path("preprocess/isotropic_3d.yaml"))
            run_graph(build_preprocess(spec), volume)
        print(own_peak_gib())
        return
    modes: dict[str, Callable[[], str]] = {
        "speed": lambda: speed(arguments.repeats),
        "lungs": lambda: lungs(arguments.size, arguments.seeds, arguments.pictures),
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
