"""Studies through MyoLung beside a stock MONAI script on the same studies, turn by turn in one run.

    python benchmarks/batch_speed.py --scans FOLDER --model MODEL.hrct       (148 slices: about 3 minutes on 2 cores)

Two things are compared. **Archive**: studies per minute of one command with its own choice of workers, once they are
loaded, against the stock script in a loop with its libraries' own choice of threads. **Latency**: one study in this
process. MyoLung also finds the lungs, measures quantitative CT, answers the prognosis, draws pictures and writes; the
stock script stops at four probabilities of an untrained DenseNet121. Studies are synthetic unless --scans is given.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from study_archive import phantom_tasks, table, tasks_in

import infer
from domain.records import StudyTask
from domain.settings import InferSettings
from domain.whole_files import write_whole
from inference import StudyFinished, run_studies
from inference.machine import num_cores
from inference.runner import num_processes

ROOT = Path(__file__).resolve().parents[1]
SPACING_MM = (1.5, 1.5, 1.5)  # of the stock script; the usual choice of MONAI's lung examples
GIB = 1024**3


class StockScript:
    """What a tutorial does with one series folder; the network is made once."""

    def __init__(self) -> None:
        from monai.networks.nets import DenseNet121
        from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation, ScaleIntensityRange, Spacing

        self.compose = Compose(
            [
                LoadImage(image_only=True),
                EnsureChannelFirst(),
                Orientation(axcodes="RAS"),
                Spacing(pixdim=SPACING_MM),
                ScaleIntensityRange(a_min=-1350, a_max=150, b_min=0, b_max=1, clip=True),
            ]
        )
        self.network = DenseNet121(spatial_dims=3, in_channels=1, out_channels=4).eval()

    def __call__(self, task: StudyTask) -> None:
        """Four probabilities."""
        import torch

        with torch.inference_mode():
            image: Any = self.compose(str(Path(task.series.files[0]).parent))
            self.network(image[None].as_tensor()).softmax(1).tolist()


def timed(work: Any, task: StudyTask) -> tuple[float, float]:
    """Seconds by the clock and of the CPU."""
    start = (time.perf_counter(), time.process_time())
    work(task)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def archive_run(tasks: list[StudyTask], model: Path, out: Path, num_workers: int) -> tuple[float, float]:
    """Studies per second once all workers are loaded, and the largest peak memory of a process, GiB."""
    times: list[float] = []
    peaks: list[float] = []

    def note(finished: StudyFinished) -> None:
        if finished.result.failure_code is not None:
            raise SystemExit(f"a study failed: {finished.result.failure_message}")
        times.append(time.perf_counter())
        pids = [child.pid for child in multiprocessing.active_children() if child.pid]
        peaks.append(max((peak_bytes(pid) for pid in pids), default=0) / GIB)

    places = infer.Places(out / "cases", num_readers=max(1, num_cores() // num_workers))
    settings = InferSettings(num_workers=num_workers, device="cpu")
    run_studies(tasks, partial(infer.ModelWorker, model, "cpu", places), out, settings, {}, progress=note)
    steady = times[num_workers:]
    return (len(steady) - 1) / (steady[-1] - steady[0]), max(peaks)


def peak_bytes(pid: int) -> int:
    """Largest memory a process has held so far (Linux)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def measure(args: argparse.Namespace, place: Path) -> str:
    """The page."""
    number = max(args.studies, args.repeats + 1)
    tasks = tasks_in(args.scans, number) if args.scans else phantom_tasks(place / "phantoms", number, "full", 2)
    num_workers = args.workers or num_processes(tasks, InferSettings(device="cpu"))
    stock = StockScript()
    places = infer.Places(place / "latency" / "cases", num_readers=num_cores())
    worker = infer.ModelWorker(args.model, "cpu", places)
    ours, theirs, rates, peaks = [], [], [], []
    stages: dict[str, list[float]] = {}
    for turn, task in enumerate(tasks[: args.repeats + 1]):  # the first turn warms caches and is left out
        start = (time.perf_counter(), time.process_time())
        result = worker(task)
        one = (time.perf_counter() - start[0], time.process_time() - start[1])
        other = timed(stock, task)
        if turn:
            ours.append(one)
            theirs.append(other)
            for stage, seconds in result.seconds.items():
                stages.setdefault(stage, []).append(seconds)
    for turn in range(args.rounds):
        rate, peak = archive_run(tasks[: args.studies], args.model, place / f"run{turn}", num_workers)
        rates.append(60 * rate)
        peaks.append(peak)
        theirs.append(timed(stock, tasks[0]))
    our_wall, our_cpu = np.median(ours, axis=0)
    stock_wall, stock_cpu = np.median(theirs, axis=0)
    rate = statistics.median(rates)
    rows = [
        (f"MyoLung, one command, {num_workers} workers", f"{rate:.1f}", f"{60 / rate:.2f}", ""),
        ("stock MONAI script in a loop", f"{60 / stock_wall:.1f}", f"{stock_wall:.2f}", f"{stock_cpu:.2f}"),
        ("**ratio, archive** (to reach: 6)", f"**{rate * stock_wall / 60:.1f}**", "", ""),
        ("MyoLung, one study in one process", "", f"{our_wall:.2f}", f"{our_cpu:.2f}"),
        ("ratio, one study", "", f"{stock_wall / our_wall:.1f}", f"{stock_cpu / our_cpu:.1f}"),
    ]
    where = [(stage, f"{statistics.median(values):.3f}") for stage, values in stages.items()]
    where.append(("peak memory of a worker (to stay below: 3 GiB)", f"{max(peaks):.2f} GiB"))
    slices = statistics.median(task.series.table.num_slices for task in tasks)
    kind = "real" if args.scans else "synthetic"
    return (
        f"A {kind} study of {slices:g} slices; medians of {len(rates)} runs of {args.studies} studies, of {len(ours)} "
        f"single studies and of {len(theirs)} runs of the stock script, turn by turn.\n\n"
        + table(("what", "studies per minute", "seconds per study", "CPU seconds per study"), rows)
        + "\n"
        + table(("one study: stage", "seconds (median)"), where)
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "runs/demo/training/model.hrct")
    parser.add_argument("--scans", type=Path, help="real studies instead of synthetic ones")
    parser.add_argument("--studies", type=int, default=16, help="of one command")
    parser.add_argument("--rounds", type=int, default=3, help="commands")
    parser.add_argument("--repeats", type=int, default=5, help="single studies")
    parser.add_argument("--workers", type=int, default=0, help="0: as infer.py chooses")
    parser.add_argument("--out", type=Path, help="Markdown file; printed in any case")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        text = measure(args, Path(name))
    command = shlex.join(["python", "benchmarks/batch_speed.py", *sys.argv[1:]])
    page = f"`{command}`\n\n{platform.machine()}, {num_cores()} cores, load {os.getloadavg()[0]:.1f}\n\n{text}"
    print(page)
    if args.out:
        write_whole(args.out, page)


if __name__ == "__main__":
    main()
