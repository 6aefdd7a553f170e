"""Many studies in one command: memory and time per study, workers, a stock MONAI script beside, planted defects.

    python benchmarks/batch.py memory  --model MODEL.hrct --out docs/benchmarks/batch_memory.md
    python benchmarks/batch.py speed   --model MODEL.hrct --scans FOLDER --out docs/benchmarks/batch_speed.md
    python benchmarks/batch.py workers --model MODEL.hrct --out docs/benchmarks/batch_workers.md
    python benchmarks/batch.py overhead --out docs/benchmarks/batch_overhead.md
    python benchmarks/batch.py defects --model MODEL.hrct --studies 1000 --out docs/benchmarks/batch_defects.md

Studies are synthetic unless --scans names a folder. Times are of the machine of the day: read the ratios.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from data_pipeline.discovery import survey
from data_pipeline.phantoms import generate_cohort
from data_pipeline.phantoms.defects import plant_defect
from domain.records import CaseResult, CaseStatus, SeriesRef, SeriesTable, StudyTask
from domain.settings import InferSettings
from domain.whole_files import write_whole
from inference import RunSummary, StudyFinished, run_studies
from inference.memory_watch import resident_bytes

ROOT = Path(__file__).resolve().parents[1]
DIGESTS = {"model": "benchmark"}
MIB = 2**20
SPACING_MM = (1.5, 1.5, 1.5)  # of the stock script; the usual choice of MONAI's lung examples
NUM_DIFFERENT = 10  # phantoms made; a run of 200 studies reads each 20 times
# Defects that hit a whole study, with what must become of it. Copied nothing: the codes are the contract's.
DEFECT_NAMES = ("missing_slices", "truncated", "localizer", "not_hu", "gantry_tilt", "wrong_modality", "single_slice")


# ------------------------------------------------------------------------------------------------ studies


def phantom_tasks(place: Path, num_studies: int, size: str = "tiny") -> list[StudyTask]:
    """Studies of a few phantoms, each under many keys."""
    if not (place / "cases.csv").exists():
        generate_cohort(place, num_patients=min(NUM_DIFFERENT, num_studies), seed=11, size=size)  # type: ignore[arg-type]
    return tasks_in(place / "scans", num_studies)


def tasks_in(scans: Path, num_studies: int) -> list[StudyTask]:
    """Selected series of a folder, repeated under new keys until there are enough."""
    chosen = [series for series in survey(scans).series if series.selected]
    if not chosen:
        raise SystemExit(f"no usable study in {scans}")
    return [StudyTask(f"study-{index:05d}", chosen[index % len(chosen)]) for index in range(num_studies)]


def run(
    tasks: list[StudyTask],
    model: Path,
    out: Path,
    num_workers: int,
    progress: Callable[[StudyFinished], None] | None = None,
) -> RunSummary:
    """One batch run into a fresh folder."""
    import infer

    shutil.rmtree(out, ignore_errors=True)
    settings = InferSettings(num_workers=num_workers, device="cpu", study_memory_gib=6.0)
    worker = partial(infer.ModelWorker, model, "cpu", out / "cases")
    return run_studies(tasks, worker, out, settings, DIGESTS, progress=progress)


def worker_pids() -> list[int]:
    """Processes started by this one that hold a worker."""
    answer = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True
    )
    return [int(pid) for pid in answer.stdout.split()]


# ------------------------------------------------------------------------------------------------ measurements


def measure_memory(args: argparse.Namespace, place: Path) -> str:
    """Memory of the worker after each study, and time per study against a short run."""
    tasks = phantom_tasks(place / "phantoms", args.studies)
    memory: list[float] = []
    parent: list[float] = []
    times: list[float] = []

    def note(finished: StudyFinished) -> None:
        largest = max((resident_bytes(pid) for pid in worker_pids()), default=0)
        memory.append(largest / MIB)
        parent.append(resident_bytes(os.getpid()) / MIB)
        times.append(finished.result.seconds["total"])

    start = time.perf_counter()
    run(tasks, args.model, place / "out", 1, note)
    wall = time.perf_counter() - start
    settled = np.arange(len(memory))[20:]
    slope = np.polyfit(settled, np.array(memory)[20:], 1)[0] * 100
    parent_slope = np.polyfit(settled, np.array(parent)[20:], 1)[0] * 100
    one = statistics.median(times[1:11])
    return table(
        ("measure", "value"),
        [
            ("studies in one command, one worker", f"{len(tasks)}"),
            ("worker memory after study 20 / at the end", f"{memory[19]:.0f} / {memory[-1]:.0f} MiB"),
            ("worker memory, slope from study 20 on", f"{slope:+.2f} MiB per 100 studies"),
            ("main process memory, slope from study 20 on", f"{parent_slope:+.2f} MiB per 100 studies"),
            ("peak worker memory", f"{max(memory):.0f} MiB"),
            ("seconds per study, median of studies 2-11", f"{one:.3f}"),
            ("seconds per study, median of the last 50", f"{statistics.median(times[-50:]):.3f}"),
            ("whole run, model load included", f"{wall:.1f} s"),
            (f"whole run / ({len(tasks)} x median of studies 2-11)", f"{wall / (one * len(tasks)):.2f}"),
        ],
    )


def measure_workers(args: argparse.Namespace, place: Path) -> str:
    """Studies per minute against the number of worker processes."""
    tasks = phantom_tasks(place / "phantoms", args.studies)
    rows = []
    first = 0.0
    for num_workers in args.workers:
        rates = []
        for _ in range(args.repeats):
            seen: list[float] = []
            run(tasks, args.model, place / "out", num_workers, lambda _, seen=seen: seen.append(time.perf_counter()))  # type: ignore[misc]
            rates.append(60 * (len(seen) - num_workers) / (seen[-1] - seen[num_workers - 1]))
        rate = statistics.median(rates)
        first = first or rate
        rows.append((str(num_workers), f"{rate:.1f}", f"{rate / first:.2f}"))
    return table(("workers", "studies per minute, once loaded (median)", "against the first line"), rows)


def measure_overhead(args: argparse.Namespace, place: Path) -> str:
    """What the runner itself costs: studies whose work is nothing, then the same again when all are done."""
    tasks = []
    (place / "files").mkdir()
    for index in range(args.studies):
        path = place / "files" / f"{index}.txt"
        path.write_text(f"study {index}")
        series = SeriesRef(f"s{index}", f"t{index}", "text", (str(path),), SeriesTable(1, 1))
        tasks.append(StudyTask(f"study-{index:05d}", series))
    settings = InferSettings(num_workers=1, device="cpu", study_memory_gib=1.0)
    rows = []
    for name in ("run", "run again, all done"):
        start = time.perf_counter()
        run_studies(tasks, make_idle_worker, place / "out", settings, DIGESTS)
        seconds = time.perf_counter() - start
        rows.append((name, f"{seconds:.1f}", f"{1000 * seconds / len(tasks):.1f}"))
    return table((f"{len(tasks)} studies without work, one worker", "seconds", "milliseconds per study"), rows)


def make_idle_worker() -> Callable[[StudyTask], CaseResult]:
    """A worker whose study costs nothing."""
    return lambda task: CaseResult(case_key=task.case_key, status=CaseStatus.PREDICTED)


def measure_speed(args: argparse.Namespace, place: Path) -> str:
    """Study in to report row out, against the stock script on the same studies, turn by turn in this process."""
    import infer

    num = args.repeats + 1  # the first of each warms caches and is left out
    tasks = tasks_in(args.scans, num) if args.scans else phantom_tasks(place / "phantoms", num, size="full")
    worker = infer.ModelWorker(args.model, "cpu", place / "out" / "cases")
    ours, stock = [], []
    stages: dict[str, list[float]] = {}
    for task in tasks:
        start = (time.perf_counter(), time.process_time())
        result = worker(task)
        ours.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        for stage, seconds in result.seconds.items():
            stages.setdefault(stage, []).append(seconds)
        start = (time.perf_counter(), time.process_time())
        stock_monai_study(task)
        stock.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    our_wall, our_cpu = np.median(ours[1:], axis=0)
    stock_wall, stock_cpu = np.median(stock[1:], axis=0)
    lines = [
        (
            "MyoLung: read, quality, lungs, quantitative CT, pattern, prognosis, pictures",
            f"{our_wall:.2f}",
            f"{our_cpu:.2f}",
        ),
        ("stock MONAI: LoadImage, orientation, 1.5 mm, window, DenseNet121", f"{stock_wall:.2f}", f"{stock_cpu:.2f}"),
        ("ratio of medians", f"{stock_wall / our_wall:.1f}", f"{stock_cpu / our_cpu:.1f}"),
    ]
    where = [(stage, f"{statistics.median(values[1:]):.3f}") for stage, values in stages.items()]
    slices = statistics.median(task.series.table.num_slices for task in tasks)
    text = f"{args.repeats} studies of {slices:g} slices (median), one process, turn by turn.\n\n"
    text += table(("what", "seconds per study (median)", "CPU seconds"), lines)
    return text + "\n" + table(("stage", "seconds (median)"), where)


_stock: list[object] = []


def stock_monai_study(task: StudyTask) -> None:
    """What a tutorial does with one series folder; the network is made once."""
    import torch
    from monai.networks.nets import DenseNet121
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation, ScaleIntensityRange, Spacing

    if not _stock:
        steps = [
            LoadImage(image_only=True),
            EnsureChannelFirst(),
            Orientation(axcodes="RAS"),
            Spacing(pixdim=SPACING_MM),
            ScaleIntensityRange(a_min=-1350, a_max=150, b_min=0, b_max=1, clip=True),
        ]
        _stock.extend([Compose(steps), DenseNet121(spatial_dims=3, in_channels=1, out_channels=4).eval()])
    compose, network = _stock
    with torch.inference_mode():
        image = compose(str(Path(task.series.files[0]).parent))  # type: ignore[operator]
        network(image[None].as_tensor()).softmax(1).tolist()  # type: ignore[operator]


# ------------------------------------------------------------------------------------------------ defects


def measure_defects(args: argparse.Namespace, place: Path) -> str:
    """An archive with planted defects through the command itself: every study once, codes right, exit 1."""
    archive = place / "archive"
    planted = make_archive(place, archive, args.studies)
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "infer.py"), str(archive), "--model", str(args.model), "--out", str(out)]
    answer = subprocess.run([*command, "--formats", "csv"], cwd=ROOT, check=False)
    seconds = time.perf_counter() - start
    good = read_column(out / "predictions.csv", "case_key")
    bad = read_column(out / "failures.csv", "case_key")
    codes = read_column(out / "failures.csv", "code")
    counts = {code: codes.count(code) for code in sorted(set(codes))}
    return table(
        ("measure", "value"),
        [
            ("studies in the archive", str(args.studies)),
            ("of them with a planted defect", str(sum(planted.values()))),
            ("planted", ", ".join(f"{name} {count}" for name, count in sorted(planted.items()))),
            ("rows in predictions.csv", str(len(good))),
            ("rows in failures.csv", str(len(bad))),
            ("studies in both, or twice", str(len(good) + len(bad) - len({*good, *bad}))),
            ("codes in failures.csv", ", ".join(f"{code} {count}" for code, count in counts.items())),
            ("exit code", str(answer.returncode)),
            ("seconds", f"{seconds:.0f}"),
        ],
    )


def make_archive(place: Path, archive: Path, num_studies: int) -> dict[str, int]:
    """Copies of a few phantoms under UIDs of their own; every tenth has a defect."""
    originals = place / "phantoms"
    if not (originals / "cases.csv").exists():
        generate_cohort(originals, num_patients=NUM_DIFFERENT, seed=11, size="tiny")
    folders = sorted(path for path in (originals / "scans").iterdir() if path.is_dir())
    planted: dict[str, int] = {}
    for index in range(num_studies):
        target = archive / f"{index:04d}"
        copy_as_another_study(folders[index % len(folders)], target, index)
        if index % 10 == 9:
            name = DEFECT_NAMES[(index // 10) % len(DEFECT_NAMES)]
            plant_defect(target, name, np.random.default_rng(index))
            planted[name] = planted.get(name, 0) + 1
    return planted


def copy_as_another_study(source: Path, target: Path, index: int) -> None:
    """The same bytes but for the UIDs, changed in place to others of the same length."""
    import pydicom

    target.mkdir(parents=True)
    first = pydicom.dcmread(next(source.rglob("*.dcm")), stop_before_pixels=True)
    old = [str(first.StudyInstanceUID).encode(), str(first.SeriesInstanceUID).encode()]
    new = [uid[:-6] + f"9{index:05d}".encode() for uid in old]
    for path in sorted(source.rglob("*.dcm")):
        content = path.read_bytes()
        for before, after in zip(old, new, strict=True):
            content = content.replace(before, after)
        (target / path.name).write_bytes(content)


def read_column(path: Path, name: str) -> list[str]:
    """One column of a table."""
    with path.open(encoding="utf-8") as stream:
        return [row[name] for row in csv.DictReader(stream)]


# ------------------------------------------------------------------------------------------------ printing


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


MEASURES = {
    "memory": measure_memory,
    "workers": measure_workers,
    "speed": measure_speed,
    "overhead": measure_overhead,
    "defects": measure_defects,
}
DEFAULT_STUDIES = {"memory": 200, "workers": 40, "speed": 5, "overhead": 1000, "defects": 1000}


def main() -> None:
    """Measure one thing and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(MEASURES))
    parser.add_argument("--model", type=Path, default=ROOT / "runs/demo/training/model.hrct")
    parser.add_argument("--scans", type=Path, help="real studies instead of synthetic ones (speed)")
    parser.add_argument("--studies", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, help="Markdown file; printed in any case")
    args = parser.parse_args()
    args.studies = args.studies or DEFAULT_STUDIES[args.what]
    command = " ".join([Path(sys.executable).name, *sys.argv])
    with tempfile.TemporaryDirectory() as folder:
        text = MEASURES[args.what](args, Path(folder))
    load = os.getloadavg()[0]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"
    text = f"`{command}`\n\n{machine}\n\n{text}"
    print(text)
    if args.out:
        write_whole(args.out, text)


if __name__ == "__main__":
    main()
