"""Reading speed beside today's readers, in one run: folder of DICOM to HU volume, JPEG-LS, and the header scan.

python benchmarks/ingestion.py --out docs/benchmarks/ingestion.md   (3 minutes; wants SimpleITK, MONAI, dcm2niix)
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline import read_volume
from data_pipeline.discovery import survey
from data_pipeline.phantoms.dicom_writer import SeriesGeometry, SeriesTags, write_series
from data_pipeline.readers import decoder_process
from domain.whole_files import write_whole

NUM_SLICES, SIDE = 400, 512
JPEG_LS = "1.2.840.10008.1.2.4.80"


def reference_volume(num_slices: int, side: int) -> NDArray[np.int16]:
    """A body, two lungs and scanner noise: compresses about as a chest does. Shape (S, R, C)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = (x / 0.85) ** 2 + (y / 0.65) ** 2 < 1
    lungs = (np.abs(x) - 0.4) ** 2 / 0.07 + y**2 / 0.18 < 1
    plane = np.where(lungs, -850, np.where(body, 40, -1000)).astype(np.float32)
    noise = rng.normal(0, 12, (8, side, side)).astype(np.float32)
    slices = [plane + noise[index % 8] + 5 * np.sin(index / 9) for index in range(num_slices)]
    return np.stack(slices).astype(np.int16)


def write_reference(folder: Path, *, jpeg_ls: bool, num_slices: int = NUM_SLICES) -> None:
    """The reference series, uncompressed or JPEG-LS."""
    tags = SeriesTags("BENCH", "F", 60.0, ("bench", jpeg_ls), bits_stored=12, is_signed=False, intercept=-1024)
    geometry = SeriesGeometry((-180.0, -180.0, -200.0), (0.75, 0.703, 0.703), 1.0)
    paths = write_series(reference_volume(num_slices, SIDE), geometry, tags, folder, np.random.default_rng(1))
    if jpeg_ls:
        for path in paths:
            compress(path)


def compress(path: Path) -> None:
    """Rewrite one file as lossless JPEG-LS."""
    import imagecodecs
    import pydicom
    from pydicom.encaps import encapsulate

    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([imagecodecs.jpegls_encode(dataset.pixel_array)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEG_LS
    dataset.save_as(path)


# --------------------------------------------------------------------------------------------------- readers


def with_ours(folder: Path) -> NDArray[np.int16]:
    return read_volume(folder).voxels


def with_simpleitk(folder: Path) -> NDArray[np.int16]:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    with_simpleitk.kept = image  # type: ignore[attr-defined]  # the view does not keep its memory alive
    return SimpleITK.GetArrayViewFromImage(image).transpose(2, 1, 0)


def with_monai(reader_name: str) -> Callable[[Path], NDArray[np.int16]]:
    def run(folder: Path) -> NDArray[np.int16]:
        from monai.transforms import LoadImage

        return np.asarray(LoadImage(reader=reader_name, image_only=True)(str(folder)))

    return run


def with_dcm2niix(folder: Path) -> NDArray[np.int16]:
    with tempfile.TemporaryDirectory() as target:
        command = ["dcm2niix", "-z", "n", "-b", "n", "-o", target, str(folder)]
        subprocess.run(command, capture_output=True, check=True)
        path = next(Path(target).glob("*.nii"))
        return np.fromfile(path, dtype="<i2", offset=352)


def readers() -> dict[str, Callable[[Path], NDArray[np.int16]]]:
    found: dict[str, Callable[[Path], NDArray[np.int16]]] = {"this project": with_ours, "SimpleITK": with_simpleitk}
    if shutil.which("dcm2niix"):
        found["dcm2niix (to an uncompressed file)"] = with_dcm2niix
    found["MONAI LoadImage, ITK"] = with_monai("ITKReader")
    found["MONAI LoadImage, pydicom"] = with_monai("PydicomReader")
    return found


def cpu_seconds() -> float:
    """Processor time of this process and of children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def timed(read: Callable[[Path], NDArray[np.int16]], folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of one reading; decoder processes are ended so that their time counts."""
    decoder_process._SHELF.close()
    start, cpu = time.perf_counter(), cpu_seconds()
    read(folder)
    wall = time.perf_counter() - start
    decoder_process._SHELF.close()
    return wall, cpu_seconds() - cpu


# What was to be reached, in wall time against ours: peer -> times, uncompressed and JPEG-LS.
TO_REACH = {
    "plain": {"MONAI LoadImage, ITK": 15.0, "SimpleITK": 2.5},
    "jpegls": {"MONAI LoadImage, ITK": 2.5, "SimpleITK": 1.2},
}


def reading_table(folder: Path, repeats: int) -> list[str]:
    """One line per reader. All readers take turns, so that load from outside meets them alike."""
    expected = with_ours(folder)
    notes: dict[str, str] = {}
    times: dict[str, list[tuple[float, float]]] = {}
    for name, read in readers().items():
        try:
            voxels = read(folder)
            is_file = name.startswith("dcm2niix")
            notes[name] = "equal in the tests" if is_file else comparison(voxels, expected)
            times[name] = []
        except Exception as error:  # noqa: BLE001 - a peer that fails is a row of the table
            notes[name] = f"fails: {type(error).__name__}"
    for _ in range(repeats):
        for name in times:
            times[name].append(timed(readers()[name], folder))
    lines = ["| reader | wall s | against ours | processor s | against ours | voxels |", "|---|---|---|---|---|---|"]
    for name, note in notes.items():
        if name not in times:
            lines.append(f"| {name} | - | - | - | - | {note} |")
            continue
        columns = []
        for place in (0, 1):
            ratios = [own[place] / ours[place] for own, ours in zip(times[name], times["this project"], strict=True)]
            columns += [
                f"{statistics.median(item[place] for item in times[name]):.2f}",
                f"{statistics.median(ratios):.1f} x",
            ]
        lines.append(f"| {name} | {' | '.join(columns)} | {note} |")
    return [*lines, "", beside_what_was_asked(folder.name, times)]


def beside_what_was_asked(kind: str, times: dict[str, list[tuple[float, float]]]) -> str:
    """The asked ratios beside the measured ones, in words."""
    sentences = []
    for name, asked in TO_REACH[kind].items():
        if name not in times:
            sentences.append(f"{name} was not measured")
            continue
        ratios = [own[0] / ours[0] for own, ours in zip(times[name], times["this project"], strict=True)]
        measured = statistics.median(ratios)
        sentences.append(
            f"{name}: asked {asked:g} x, {measured:.1f} x{'' if measured >= asked else ', **not reached**'}"
        )
    return "Wall time, " + "; ".join(sentences) + ". Ours includes survey, choice and the checks of the voxels."


def comparison(other: NDArray[np.int16], expected: NDArray[np.int16]) -> str:
    """Whether a peer's voxels are ours."""
    if other.shape == expected.shape and np.array_equal(other, expected):
        return "bit-equal"
    same = other.size == expected.size and np.array_equal(np.sort(other, axis=None), np.sort(expected, axis=None))
    return "same values, rows flipped" if same else "different"


def write_tree(tree: Path) -> int:
    """Forty studies of 256 small slices, each with its own UIDs; gives the number of files."""
    tags = SeriesTags("BENCH", "F", 60.0, ("scan",), bits_stored=12, is_signed=False, intercept=-1024)
    geometry = SeriesGeometry((-180.0, -180.0, -200.0), (1.25, 5.6, 5.6), 1.25)
    for copy in range(40):
        uids = {(0x0020, 0x000D): ("UI", f"1.2.3.{copy + 1}"), (0x0020, 0x000E): ("UI", f"1.2.3.{copy + 1}.1")}
        own = replace(tags, elements=uids, uid_parts=("scan", copy))
        write_series(reference_volume(256, 64), geometry, own, tree / f"study{copy:02d}", np.random.default_rng(1))
    return 40 * 256


def scan_table(tree: Path, repeats: int) -> list[str]:
    """Header scan, series building and choice."""
    num_files = write_tree(tree)
    lines = ["| threads | files | wall s | files/s | processor s | files/processor s |", "|---|---|---|---|---|---|"]
    for threads in (1, None):
        survey(tree, num_threads=threads)
        walls, cpus = [], []
        for _ in range(repeats):
            start, cpu = time.perf_counter(), time.process_time()
            survey(tree, num_threads=threads)
            walls.append(time.perf_counter() - start)
            cpus.append(time.process_time() - cpu)
        wall, cpu = statistics.median(walls), statistics.median(cpus)
        label = "1" if threads == 1 else "default"
        lines.append(
            f"| {label} | {num_files} | {wall:.2f} | {num_files / wall:,.0f} | {cpu:.2f} | {num_files / cpu:,.0f} |"
        )
    return [*lines, "", "Asked: 5,000 files/s."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slices", type=int, default=NUM_SLICES)
    parser.add_argument("--only", choices=("plain", "jpegls", "scan"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        lines = [
            "# Reading speed",
            "",
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, warm page cache, "
            f"load average {os.getloadavg()[0]:.1f} when started;",
            f"median of {arguments.repeats}. Command: `python benchmarks/ingestion.py`.",
            "",
        ]
        if arguments.only in (None, "plain"):
            write_reference(work / "plain", jpeg_ls=False, num_slices=arguments.slices)
        if arguments.only in (None, "plain"):
            lines += [
                f"## {arguments.slices} slices {SIDE} x {SIDE}, uncompressed",
                "",
                *reading_table(work / "plain", arguments.repeats),
                "",
            ]
        if arguments.only in (None, "jpegls"):
            write_reference(work / "jpegls", jpeg_ls=True, num_slices=arguments.slices)
            lines += [
                f"## {arguments.slices} slices {SIDE} x {SIDE}, JPEG-LS",
                "",
                *reading_table(work / "jpegls", arguments.repeats),
                "",
            ]
        if arguments.only in (None, "scan"):
            lines += [
                "## Header scan, series building and choice",
                "",
                *scan_table(work / "tree", arguments.repeats),
                "",
            ]
    text = "\n".join(lines)
    sys.stdout.write(text + "\n")
    if arguments.out:
        write_whole(arguments.out, text)


if __name__ == "__main__":
    main()
