"""Reading speed beside today's readers, in one run: folder of DICOM to HU volume, JPEG-LS, and the header scan.

python benchmarks/ingestion.py --out docs/benchmarks/ingestion.md   (3 minutes; wants SimpleITK, MONAI, dcm2niix)
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline import read_volume
from data_pipeline.discovery import survey
from data_pipeline.phantoms.dicom_writer import SeriesGeometry, SeriesTags, write_series
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


def write_reference(folder: Path, *, jpeg_ls: bool) -> None:
    """The reference series, uncompressed or JPEG-LS."""
    tags = SeriesTags("BENCH", "F", 60.0, ("bench", jpeg_ls), bits_stored=12, is_signed=False, intercept=-1024)
    geometry = SeriesGeometry((-180.0, -180.0, -200.0), (0.75, 0.703, 0.703), 1.0)
    paths = write_series(reference_volume(NUM_SLICES, SIDE), geometry, tags, folder, np.random.default_rng(1))
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


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def reading_table(folder: Path, repeats: int) -> list[str]:
    """One line per reader: seconds, times slower than ours, and whether its voxels equal ours."""
    ours = with_ours(folder)
    seconds: dict[str, float] = {}
    equal: dict[str, str] = {}
    for name, read in readers().items():
        try:
            other = read(folder)
            same = other.size == ours.size and np.array_equal(
                np.sort(other.ravel()[::997]), np.sort(ours.ravel()[::997])
            )
            equal[name] = (
                "same"
                if other.shape == ours.shape and np.array_equal(other, ours)
                else ("values same" if same else "other layout")
            )
            seconds[name] = median_seconds(lambda read=read: read(folder), repeats)
        except Exception as error:  # noqa: BLE001 - a peer that fails is a row of the table
            equal[name] = f"fails: {type(error).__name__}"
    base = seconds["this project"]
    lines = ["| reader | seconds | against ours | voxels |", "|---|---|---|---|"]
    for name, note in equal.items():
        if name in seconds:
            lines.append(f"| {name} | {seconds[name]:.3f} | {seconds[name] / base:.1f} x | {note} |")
        else:
            lines.append(f"| {name} | - | - | {note} |")
    return lines


def scan_line(folder: Path, repeats: int) -> str:
    """Header scan of a tree of copies of the reference headers."""
    tree = folder.parent / "tree"
    sources = sorted(folder.iterdir())
    for copy in range(40):
        target = tree / f"study{copy:02d}"
        target.mkdir(parents=True)
        for path in sources[:256]:
            with path.open("rb") as stream:
                (target / path.name).write_bytes(stream.read(2048 + 4096))
    num_files = 40 * 256
    lines = []
    for threads in (1, None):
        seconds = median_seconds(lambda threads=threads: survey(tree, num_threads=threads), repeats)
        label = "1 thread" if threads == 1 else "default"
        lines.append(f"| {label} | {num_files} | {seconds:.2f} | {num_files / seconds:,.0f} |")
    return "\n".join(["| threads | files | seconds | files/s |", "|---|---|---|---|", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("plain", "jpegls", "scan"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        lines = [
            "# Reading speed",
            "",
            f"{platform.machine()}, Python {platform.python_version()}; warm page cache, ",
            f"median of {arguments.repeats}. Command: `python benchmarks/ingestion.py`.",
            "",
        ]
        if arguments.only in (None, "plain", "scan"):
            write_reference(work / "plain", jpeg_ls=False)
        if arguments.only in (None, "plain"):
            lines += [
                f"## {NUM_SLICES} slices {SIDE} x {SIDE}, uncompressed",
                "",
                *reading_table(work / "plain", arguments.repeats),
                "",
            ]
        if arguments.only in (None, "jpegls"):
            write_reference(work / "jpegls", jpeg_ls=True)
            lines += ["## The same in JPEG-LS", "", *reading_table(work / "jpegls", arguments.repeats), ""]
        if arguments.only in (None, "scan"):
            lines += [
                "## Header scan, series building and choice",
                "",
                scan_line(work / "plain", arguments.repeats),
                "",
            ]
    text = "\n".join(lines)
    sys.stdout.write(text + "\n")
    if arguments.out:
        write_whole(arguments.out, text)


if __name__ == "__main__":
    main()
