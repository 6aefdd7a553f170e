r"""Does the GPU wait for nothing but decoding? Each stage alone, then the whole run, on one machine.

    python benchmarks/gpu_inference.py --out docs/benchmarks/gpu_inference.md                    (GPU, about 2 minutes)
    python benchmarks/gpu_inference.py --device cpu --size tiny --patients 2 --studies 12 --workers 1 \
        --config train/demo.yaml                                                                      (smoke test)

Studies are synthetic unless --scans names a folder; each is run many times under other keys. The network is an
untrained one of the shipped GPU configuration unless --model names one: its answers mean nothing, its cost is real.
Runs from a checkout: python -m pip install is not needed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from study_archive import phantom_tasks, table, tasks_in

import infer
from domain.config_files import config_path
from domain.records import CaseResult, CaseStatus, StudyTask
from domain.settings import InferSettings, TrainSettings
from domain.specs import PreprocessSpec
from domain.strict_yaml import load_settings
from domain.whole_files import write_whole
from inference import RunOptions, StudyFinished, run_studies
from inference.machine import num_cores
from inference.memory_watch import GIB, resident_bytes
from inference.shared_stage import MakeHandler, StageClient
from inference.worker import StagedWorker, StageWork

NETWORK_SECONDS = 8.0  # the network alone is run for so long


class UntilNetwork(StagedWorker):
    """Reads and preprocesses, and stops there."""

    def __init__(self, model: Path) -> None:
        self.worker = infer.ModelWorker(model, "cpu", infer.Places(Path()), client=StageClient.__new__(StageClient))

    @property
    def stages(self) -> tuple[StageWork, ...]:
        """As in a run on a GPU."""
        return self.worker.read, self._prepare

    def _prepare(self, task: StudyTask, payload: Any) -> CaseResult:
        held = self.worker.prepare(task, payload)
        return CaseResult(case_key=task.case_key, status=CaseStatus.PREDICTED, seconds=held.seconds)


@dataclass(frozen=True)
class Flow:
    """How studies came out of a run.

    Attributes:
        per_second: In the middle of the run: without the first and the last study of each worker.
        wall_s: Of the whole run, start-up included.
        memory: Memory of the largest child process after each study, GiB.
        cases: Name -> bytes of everything in ``cases``.
    """

    per_second: float
    wall_s: float
    memory: list[float]
    seconds: dict[str, float]
    cases: dict[str, bytes]


def flow(
    tasks: Sequence[StudyTask],
    make_worker: Callable[..., Any],
    num_workers: int,
    out: Path,
    device: str,
    make_handler: MakeHandler | None = None,
) -> Flow:
    """Run studies and note when each is done."""
    times: list[float] = []
    memory: list[float] = []

    def note(finished: StudyFinished) -> None:
        if finished.result.status in (CaseStatus.FAILED, CaseStatus.REJECTED):
            raise SystemExit(f"a study failed: {finished.result.failure_message}")
        times.append(time.perf_counter())
        pids = [child.pid for child in multiprocessing.active_children() if child.pid]
        memory.append(max((resident_bytes(pid) for pid in pids), default=0) / GIB)

    settings = InferSettings(device=device, num_workers=num_workers)  # type: ignore[arg-type]
    start = time.perf_counter()
    summary = run_studies(
        tasks, make_worker, out, settings, {}, progress=note, options=RunOptions(make_handler=make_handler)
    )
    wall = time.perf_counter() - start
    if summary.was_interrupted:
        raise SystemExit("the run was interrupted: its figures would be of the studies done so far")
    edge = min(num_workers, (len(times) - 2) // 2)
    steady = times[edge : len(times) - edge]
    seconds = {stage: value / len(tasks) for stage, value in summary.stage_seconds.items()}
    cases = {path.name: path.read_bytes() for path in sorted((out / "cases").iterdir())}
    return Flow((len(steady) - 1) / (steady[-1] - steady[0]), wall, memory, seconds, cases)


def network_alone(model: Path, device: str, tasks: Sequence[StudyTask]) -> tuple[float, int, str]:
    """Studies per second through the network, batches always full, copies to and from the device included."""
    import torch

    from data_pipeline import read_volume
    from models.artefact import load_artefact
    from models.ensemble import NETWORK_KEYS

    torch.set_num_threads(1)
    artefact = load_artefact(model, device=device)
    size = artefact.predictor.ensemble.batch_size
    items = []
    for task in tasks[: min(2, size)]:
        item = artefact.prepare(read_volume(task.series))
        items.append({key: np.asarray(item[key]) for key in NETWORK_KEYS})
    batch = [items[index % len(items)] for index in range(size)]
    artefact.run_network(batch)
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < NETWORK_SECONDS:
        artefact.run_network(batch)
        count += size
    name = torch.cuda.get_device_name() if artefact.predictor.device.type == "cuda" else "CPU, one thread"
    return count / spent, size, name


def _send(connection: Any, model: Path, device: str, tasks: Sequence[StudyTask]) -> None:
    connection.send(network_alone(model, device, tasks))


def in_a_process(model: Path, device: str, tasks: Sequence[StudyTask]) -> tuple[float, int, str]:
    """``network_alone`` in a process that leaves the device empty behind it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(theirs, model, device, tasks))
    process.start()
    theirs.close()
    answer: tuple[float, int, str] = ours.recv()
    process.join()
    return answer


def untrained_model(folder: Path, config: str) -> Path:
    """A shipped configuration with fresh weights."""
    import torch

    from domain.antibodies import load_antibody_vocabulary
    from domain.covariates import load_covariate_vocabulary
    from domain.quantities import NETWORK_QUANTITIES
    from models.artefact_format import CohortSummary
    from models.artefact_writing import ArtefactParts, save_artefact
    from models.belief import fit_belief
    from models.image_statistics import IMAGE_STATISTICS
    from models.network import build_network
    from models.outputs import NetworkOutputs

    settings = load_settings(TrainSettings, config_path(config))
    torch.manual_seed(0)
    network = build_network(settings.network, 4, len(NETWORK_QUANTITIES)).eval()
    random, rows = np.random.default_rng(0), 40
    outputs = NetworkOutputs(
        logits=random.normal(size=(rows, 4)),
        branch_logits=random.normal(size=(rows, 1, 4)),
        embedding=random.normal(size=(rows, network.embedding_size)),
        quantitative=random.normal(size=(rows, len(NETWORK_QUANTITIES))),
        image_statistics=random.normal(size=(rows, len(IMAGE_STATISTICS))),
        targets=np.eye(4)[np.arange(rows) % 4],
    )
    parts = ArtefactParts(
        name="untrained",
        trained_on="nothing: synthetic benchmark",
        model=settings.network,
        preprocess=load_settings(PreprocessSpec, config_path(f"preprocess/{settings.preprocess}.yaml")),
        members=[network],
        num_channels=4,
        belief=fit_belief(outputs, [np.arange(rows // 2), np.arange(rows // 2, rows)]),
        antibodies=load_antibody_vocabulary(),
        covariates=load_covariate_vocabulary(),
        endpoints=(),
        cohort=CohortSummary(num_patients=rows, num_scans=rows, num_labelled=rows, patterns={"nsip": 10.0}),
    )
    return save_artefact(folder, parts)


def measure(args: argparse.Namespace, place: Path) -> str:
    """All of it, as Markdown."""
    say = partial(print, file=sys.stderr, flush=True)
    model = args.model or untrained_model(place / "model.hrct", args.config)
    if args.scans:
        tasks = tasks_in(args.scans, args.studies)
    else:
        tasks = phantom_tasks(place / "phantoms", args.studies, args.size, args.patients, workers=args.workers)
    say(f"{args.studies} studies of {args.patients} phantoms are there; the network alone")
    network, size, name = in_a_process(model, args.device, tasks)
    say(f"{network:.2f} studies/s; reading and preprocessing alone, {args.workers} workers")
    until = flow(tasks, partial(UntilNetwork, model), args.workers, place / "until", args.device)
    say(f"{until.per_second:.2f} studies/s; the whole run")
    clients = partial(infer.model_client, model, infer.Places(place / "whole" / "cases"))
    handler = partial(infer.SharedNetwork, model, args.device)
    whole = flow(tasks, clients, args.workers, place / "whole", args.device, handler)
    say(f"{whole.per_second:.2f} studies/s; again with other timing")
    few = tasks[: max(4, args.studies // 6)]
    clients = partial(infer.model_client, model, infer.Places(place / "again" / "cases"))
    again = flow(few, clients, max(1, args.workers // 3), place / "again", args.device, handler)
    same = sum(whole.cases[file] == content for file, content in again.cases.items())
    slices = np.median([task.series.table.num_slices for task in tasks])
    slower = min(network, until.per_second)
    settled = np.array(whole.memory[len(whole.memory) // 4 :])
    slope = np.polyfit(np.arange(len(settled)), settled, 1)[0] * 100 * 1024
    rows = [
        (f"read and preprocess alone, {args.workers} workers", f"{until.per_second:.2f}"),
        (f"network alone, full batches of {size}, with its evidence map", f"{network:.2f}"),
        ("whole run: the same two, then head, pictures and writing", f"{whole.per_second:.2f}"),
        ("whole run / slower stage alone (to reach: 0.90)", f"**{whole.per_second / slower:.2f}**"),
        ("share of its time that the device works", f"{whole.per_second / network:.2f}"),
    ]
    facts = [
        ("studies, start-up included", f"{len(tasks)} in {whole.wall_s:.0f} s"),
        ("largest process: memory at a quarter, at the end", f"{settled[0]:.2f}, {settled[-1]:.2f} GiB"),
        ("its slope from a quarter on", f"{slope:+.1f} MiB per 100 studies"),
        (f"files equal in bytes to a run with {max(1, args.workers // 3)} workers", f"{same} of {len(again.cases)}"),
        *((f"working time per study: {stage}", f"{value:.3f} s") for stage, value in whole.seconds.items()),
    ]
    kind = "real" if args.scans else f"synthetic ({args.size})"
    return (
        f"{name}, {num_cores()} cores; {kind} studies of {slices:g} slices (median), "
        f"{'untrained network of ' + args.config if args.model is None else args.model.name}.\n\n"
        + table(("stage", "studies per second"), rows)
        + "\n"
        + table(("the whole run", "value"), facts)
    )


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a trained model instead of an untrained network")
    parser.add_argument("--config", default="train/isotropic_3d_gpu.yaml", help="of the untrained network")
    parser.add_argument("--scans", type=Path, help="real studies instead of synthetic ones")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--size", choices=("tiny", "small", "full"), default="full")
    parser.add_argument("--patients", type=int, default=8, help="different phantoms")
    parser.add_argument("--studies", type=int, default=200, help="in the run")
    parser.add_argument("--workers", type=int, default=num_cores())
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        text = measure(args, Path(name))
    command = "python " + " ".join(["benchmarks/gpu_inference.py", *sys.argv[1:]])
    page = f"`{command}`, {platform.machine()}, load {os.getloadavg()[0]:.1f}\n\n{text}"
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.out, page)
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
