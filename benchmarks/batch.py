"""Many studies in one command: memory and time per study, workers, and what the runner itself costs.

    python benchmarks/batch.py memory --model MODEL.hrct                    (200 studies, about 4 minutes on 2 cores)
    python benchmarks/batch.py memory --model MODEL.hrct --device cuda
    python benchmarks/batch.py workers --model MODEL.hrct --workers 1 2     (40 studies per number of workers)
    python benchmarks/batch.py overhead

Studies are synthetic. Times are of the machine of the day: read the ratios. Beside this file: ``batch_speed.py`` (a
stock script on the same studies), ``batch_defects.py`` (an archive with planted defects), ``gpu_inference.py``.
"""

from __future__ import annotations

import argparse
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
from study_archive import phantom_tasks, table

from domain.records import CaseResult, CaseStatus, SeriesRef, SeriesTable, StudyTask
from domain.settings import InferSettings
from domain.whole_files import write_whole
from inference import RunOptions, RunSummary, StudyFinished, run_studies
from inference.machine import shares_network
from inference.memory_watch import resident_bytes

ROOT = Path(__file__).resolve().parents[1]
DIGESTS = {"model": "benchmark"}
MIB = 2**20


def run(
    tasks: list[StudyTask],
    args: argparse.Namespace,
    out: Path,
    num_workers: int,
    progress: Callable[[StudyFinished], None] | None = None,
) -> RunSummary:
    """One batch run into a fresh folder; on a GPU with the network in a process of its own."""
    import infer

    shutil.rmtree(out, ignore_errors=True)
    settings = InferSettings(num_workers=num_workers, device=args.device)
    places = infer.Places(out / "cases")
    if shares_network(settings):
        handler = partial(infer.SharedNetwork, args.model, args.device)
        worker = partial(infer.model_client, args.model, places)
        options = RunOptions(make_handler=handler)
        return run_studies(tasks, worker, out, settings, DIGESTS, progress=progress, options=options)
    worker = partial(infer.ModelWorker, args.model, args.device, places)
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
        memory.append(sum(resident_bytes(pid) for pid in worker_pids()) / MIB)
        parent.append(resident_bytes(os.getpid()) / MIB)
        times.append(finished.result.seconds["total"])

    start = time.perf_counter()
    run(tasks, args, place / "out", 1, note)
    wall = time.perf_counter() - start
    settled = np.arange(len(memory))[20:]
    slope = np.polyfit(settled, np.array(memory)[20:], 1)[0] * 100
    parent_slope = np.polyfit(settled, np.array(parent)[20:], 1)[0] * 100
    one = statistics.median(times[1:11])
    return table(
        ("measure", "value"),
        [
            ("studies in one command, one worker", f"{len(tasks)}"),
            (
                "memory of the processes it started, after study 20 / at the end",
                f"{memory[19]:.0f} / {memory[-1]:.0f} MiB",
            ),
            ("its slope from study 20 on", f"{slope:+.2f} MiB per 100 studies"),
            ("main process memory, slope from study 20 on", f"{parent_slope:+.2f} MiB per 100 studies"),
            ("its peak", f"{max(memory):.0f} MiB"),
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
            run(tasks, args, place / "out", num_workers, lambda _, seen=seen: seen.append(time.perf_counter()))  # type: ignore[misc]
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


# ------------------------------------------------------------------------------------------------ the command


MEASURES = {
    "memory": measure_memory,
    "workers": measure_workers,
    "overhead": measure_overhead,
}
DEFAULT_STUDIES = {"memory": 200, "workers": 40, "overhead": 1000}


def main() -> None:
    """Measure one thing and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(MEASURES))
    parser.add_argument("--model", type=Path, default=ROOT / "runs/demo/training/model.hrct")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
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
