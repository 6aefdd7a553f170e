"""Inputs x readers: correct, refused, silently wrong or crashed. Each reader runs in a process of its own.

python benchmarks/reader_table.py --out docs/benchmarks/readers.md

"Silently wrong" is a volume handed over without any error for an input that no volume can rightly be made of, or one
whose voxels or place are not the truth. A peer's warning on screen does not reach the program that called it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parent))
from reader_changes import TILT_DEGREES, write_clean
from reader_inputs import INPUTS

from domain.whole_files import write_whole

Loaded = tuple[np.ndarray, np.ndarray]  # voxels (I, J, K), RAS affine
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ours(folder: Path) -> Loaded:
    from data_pipeline import read_volume

    volume = read_volume(folder)
    return volume.voxels, volume.affine.matrix


def simpleitk(folder: Path) -> Loaded:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(folder), recursive=True)
    reader.SetFileNames(names)
    image = reader.Execute()
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), LPS_TO_RAS @ matrix


def monai_pydicom(folder: Path) -> Loaded:
    from monai.transforms import LoadImage

    image = LoadImage(reader="PydicomReader", image_only=True)(str(folder))
    return np.asarray(image), np.asarray(image.affine)


def monai_itk(folder: Path) -> Loaded:
    from monai.transforms import LoadImage

    image = LoadImage(reader="ITKReader", image_only=True)(str(folder))
    return np.asarray(image), np.asarray(image.affine)


def dcm2niix(folder: Path) -> Loaded:
    with tempfile.TemporaryDirectory() as target:
        command = ["dcm2niix", "-z", "n", "-b", "n", "-o", target, str(folder)]
        answer = subprocess.run(command, capture_output=True, check=False)
        if answer.returncode < 0:
            raise SystemExit(1)
        images = [nibabel.load(path) for path in sorted(Path(target).glob("*.nii"))]
        if not images:
            raise RuntimeError("no volume")
        largest = max(images, key=lambda image: int(np.prod(image.shape)))
        return np.asarray(largest.dataobj), largest.affine


READERS: dict[str, Callable[[Path], Loaded]] = {
    "this project": ours,
    "SimpleITK": simpleitk,
    "MONAI, pydicom": monai_pydicom,
    "MONAI, ITK": monai_itk,
    "dcm2niix": dcm2niix,
}


def canonical(loaded: Loaded) -> Loaded:
    voxels, affine = loaded
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(np.asarray(voxels, dtype=np.float32), affine))
    return np.maximum(np.asarray(image.dataobj), -1024), image.affine


def is_same_place_by_place(loaded: Loaded, truth: Loaded) -> bool:
    """What a volume shows at places of the patient is the truth there: for grids that differ, but for noise."""
    voxels, affine = truth
    rng = np.random.default_rng(0)
    index = rng.integers(1, np.array(voxels.shape) - 1, size=(4000, 3))
    places = index @ affine[:3, :3].T + affine[:3, 3]
    found = (places - loaded[1][:3, 3]) @ np.linalg.inv(loaded[1][:3, :3]).T
    values = ndimage.map_coordinates(loaded[0].astype(float), found.T, order=1, cval=np.nan)
    return bool(np.isfinite(values).mean() > 0.95 and np.nanmean(np.abs(values - voxels[tuple(index.T)])) < 40)


def verdict(
    read: Callable[[Path], Loaded], folder: Path, truths: list[Loaded], tilted: Loaded | None, *, is_usable: bool
) -> str:
    try:
        loaded = read(folder)
    except SystemExit:
        return "crashed"
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is its way to refuse
        if "not installed" in str(error):
            return "not installed"
        return "refused"
    if not is_usable or loaded[0].ndim != 3:
        return "silently wrong"
    if tilted is not None:
        return "correct" if is_same_place_by_place(loaded, tilted) else "silently wrong"
    voxels, affine = canonical(loaded)
    for truth, truth_affine in truths:
        if (
            voxels.shape == truth.shape
            and np.array_equal(np.rint(voxels), truth)
            and np.allclose(affine, truth_affine, atol=1e-3)
        ):
            return "correct"
    return "silently wrong"


def work(reader: str, first: int, base: Path) -> None:
    """Child: one reader through the inputs from ``first`` on; one JSON line each."""
    warnings.simplefilter("ignore")
    truths = [tuple(np.load(path).values()) for path in sorted(base.glob("truth*.npz"))]
    stored = np.load(base / "tilted.npz")
    for number in range(first, len(INPUTS)):
        case = INPUTS[number]
        tilted = (stored["voxels"], stored["affine"]) if case.is_tilted else None
        folder = base / f"input{number:02d}"
        outcome = verdict(READERS[reader], folder, truths, tilted, is_usable=case.is_usable)  # type: ignore[arg-type]
        print(json.dumps([number, outcome]), flush=True)


def run_reader(reader: str, base: Path) -> list[str]:
    """Parent: restart the child behind an input that killed it."""
    outcomes: list[str] = []
    while len(outcomes) < len(INPUTS):
        command = [sys.executable, __file__, "--reader", reader, "--first", str(len(outcomes)), "--base", str(base)]
        child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        outcomes += [json.loads(line)[1] for line in child.stdout.splitlines() if line.startswith("[")]
        if len(outcomes) < len(INPUTS):
            outcomes.append("crashed")
    return outcomes


def make_inputs(base: Path) -> None:
    """Write all inputs and the truths: the clean volume, and the second pass of the input that has two."""
    clean = ours(write_clean(base / "clean")[0].parent)
    second = (np.roll(clean[0], 3, axis=1), clean[1])
    for number, truth in enumerate((clean, second)):
        voxels, affine = canonical(truth)
        np.savez(base / f"truth{number}.npz", voxels=voxels, affine=affine)
    angle = np.radians(TILT_DEGREES)
    sheared = np.array(clean[1])  # columns lean, the table moves level; RAS turns y
    sheared[:3, 1] = np.linalg.norm(clean[1][:3, 1]) * np.array([0.0, -np.cos(angle), np.sin(angle)])
    np.savez(base / "tilted.npz", voxels=clean[0], affine=sheared)
    for number, case in enumerate(INPUTS):
        case.change(write_clean(base / f"input{number:02d}"))


def table(results: dict[str, list[str]]) -> str:
    names = list(results)
    lines = [
        "# Inputs x readers",
        "",
        "Command: `python benchmarks/reader_table.py`. Synthetic series, 40 slices.",
        "",
        "For the upper inputs a volume is right, for the lower ones a refusal. Peers are called the way their",
        "documentation reads a folder; they are general readers that leave such checks to their caller, and none of",
        'them promises to know a chest CT. "Silently wrong" is a volume without an error for an input of the lower',
        "half, or other voxels or another place than the truth. Of several files that dcm2niix writes the largest is",
        "taken; for a tilted gantry that is the one it corrected, whose origin is not that of its voxels",
        "(`tests/data_pipeline/test_straightening.py`).",
        "",
        f"| input | right | {' | '.join(names)} |",
        "|---|---|" + "---|" * len(names),
    ]
    for number, case in enumerate(INPUTS):
        cells = [results[name][number] for name in names]
        marked = [f"**{cell}**" if cell in {"silently wrong", "crashed"} else cell for cell in cells]
        lines.append(f"| {case.name} | {'a volume' if case.is_usable else 'refusal'} | {' | '.join(marked)} |")
    for word in ("correct", "refused", "silently wrong", "crashed"):
        counts = [str(Counter(results[name])[word]) for name in names]
        lines.append(f"| *{word}* | | {' | '.join(counts)} |")
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=list(READERS))
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader:
        work(arguments.reader, arguments.first, arguments.base)
        return 0
    with tempfile.TemporaryDirectory() as name:
        make_inputs(Path(name))
        results = {reader: run_reader(reader, Path(name)) for reader in READERS if arguments.only in (None, reader)}
    results = {name: outcomes for name, outcomes in results.items() if "not installed" not in outcomes}
    text = table(results)
    print(text)
    if arguments.out:
        write_whole(arguments.out, text)
    own = results.get("this project", [])
    return int("silently wrong" in own or "crashed" in own)


if __name__ == "__main__":
    sys.exit(main())
