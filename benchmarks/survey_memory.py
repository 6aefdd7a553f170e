"""Memory and time of a survey against the number of files: small images in series of 200 and junk between them.

python benchmarks/survey_memory.py --out docs/benchmarks/survey_memory.md   (3 minutes; 1.3 GB, removed at the end)
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from data_pipeline.phantoms.dicom_writer import SeriesGeometry, SeriesTags, write_series
from domain.whole_files import write_whole

SERIES_SIZE = 200
JUNK_SHARE = 10  # one in so many
NAME = b"1.2.840.99999.7."  # as archives name files


def write_tree(root: Path, num_files: int) -> None:
    """Series after series of one template; UIDs are replaced by others of equal length."""
    tags = SeriesTags("MEMORY", "F", 50.0, ("memory",), elements={
        (0x0020, 0x000D): ("UI", "1.2.3.0000000"), (0x0020, 0x000E): ("UI", "1.2.3.0000000.1"),
    })  # fmt: skip
    hu = np.zeros((SERIES_SIZE, 24, 24), dtype=np.int16)
    geometry = SeriesGeometry((-180.0, -180.0, -200.0), (1.25, 5.6, 5.6), 1.25)
    paths = write_series(hu, geometry, tags, root / "template", np.random.default_rng(1))
    template = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    for number in range(num_files):
        series, place = divmod(number, SERIES_SIZE)
        folder = root / f"PAT{series:06d}" / "ST000001"
        if place == 0:
            folder.mkdir(parents=True)
        name = f"{NAME.decode()}{series:07d}.{(number * 7919) % 10**9:09d}"
        is_junk = number % JUNK_SHARE == 0
        data = b"junk" * 300 if is_junk else template[place].replace(b"1.2.3.0000000", f"1.2.3.{series:07d}".encode())
        (folder / name).write_bytes(data)


def survey_here(root: Path) -> dict[str, float]:
    """Child: peak memory before and after a survey and the list of files written out, MiB."""
    from data_pipeline.discovery import survey
    from data_pipeline.tables import files_csv, series_csv

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = survey(root)
    write_whole(root / "files.csv", files_csv(found.files))
    write_whole(root / "series.csv", series_csv(found.series))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    num_lines = sum(1 for _ in (root / "files.csv").open(encoding="utf-8")) - 1
    return {"before_mib": before, "peak_mib": peak, "files_listed": num_lines,
            "series": len(found.series)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 100_000, 300_000])
    parser.add_argument("--folder", type=Path, help="where the files are made, a memory disk for instance")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(survey_here(arguments.child)))
        return
    rows = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            write_tree(Path(name), size)
            command = [sys.executable, __file__, "--child", name]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append((size, json.loads(answer.stdout)))
        print(rows[-1], flush=True)
    text = report(rows)
    print(text)
    if arguments.out:
        write_whole(arguments.out, text)


def report(rows: list[tuple[int, dict[str, float]]]) -> str:
    """The measurements as a page."""
    lines = [
        "# Memory of a survey",
        "",
        "Command: `python benchmarks/survey_memory.py`. Small images in series of 200, one file in ten is junk; peak",
        "resident memory of a process that surveys the tree and writes `files.csv` and `series.csv`, above what it",
        "holds with its libraries loaded.",
        "",
        "| files | series | peak MiB above start | files listed |",
        "|---|---|---|---|",
    ]
    above = [row["peak_mib"] - row["before_mib"] for _, row in rows]
    for (size, row), mib in zip(rows, above, strict=True):
        lines.append(f"| {size:,} | {row['series']} | {mib:.0f} | {row['files_listed']:,} |")
    (one, two), (low, high) = [size for size, _ in rows][-2:], above[-2:]
    rise = (high - low) * 2**20 / (two - one)
    million = high + rise * (1_000_000 - two) / 2**20
    lines += [
        "",
        f"Between the last two sizes memory rises by {rise:.0f} bytes a file; a million files, extrapolated:",
        f"{million:.0f} MiB. What rises is one record per series and the packed names of its files. Beyond 20,000",
        "images headers go to a temporary file, and so does the list of files.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
