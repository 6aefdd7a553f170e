"""Pattern networks at full size on one GPU: one command, a JSON file per section, a time budget.

    python benchmarks/network_gpu.py --out OUT --sections tune --budget-s 290
    python benchmarks/network_gpu.py --out OUT --sections compare curve checks speed --budget-s 430

Cohorts of synthetic patients are made on all cores while networks already train; several trainings share the GPU.
Sections: ``tune`` (settings judged out of fold, on training patients only), ``compare`` (all networks, realistic and
hard, unseen scanners), ``curve`` (50 to 400 patients), ``checks`` (thickness x kernel, scans from elsewhere, mirror
averaging, a planted shortcut), ``speed`` (beside a stock MONAI loop). All figures are of synthetic patients.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from network_cohorts import VARIANTS, Cell, Cohort, Wanted, make_cohorts
from network_jobs import Job, run_job
from network_speed import measure_speed

from data_pipeline.phantoms.patients import CohortSettings

SECTIONS = ("tune", "compare", "curve", "checks", "speed")
TRAINING_SCANNERS = ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips")
UNSEEN_SCANNERS = ("TOSHIBA",)
THICKNESS_MM = (0.625, 1.25, 2.5, 5.0)
BEST = "small_cnn_3d"
ALL_NETWORKS = (
    "small_cnn_3d",
    "resnet_3d",
    "densenet_3d",
    "efficientnet_3d",
    "segresnet_3d",
    "slice_attention",
    "small_cnn_3d, image alone",
    "quantitative_only",
)


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    out: Path
    work: Path
    sections: tuple[str, ...]
    size: str
    train: int
    test: int
    cell_patients: int
    elsewhere: int
    processes: int
    workers: int
    budget_s: float
    epochs: int
    graph: str
    device: str
    speed_s: float


def wanted_cohorts(plan: Plan) -> dict[str, Wanted]:
    """Every cohort the sections need, in the order in which jobs wait for them."""

    def settings(seed: int, num: int, scanners: Sequence[str], **changes: Any) -> CohortSettings:
        options: dict[str, Any] = {"size": plan.size, "difficulty": "realistic", "scanners": tuple(scanners)}
        return CohortSettings(seed=seed, num_patients=num, **(options | changes))

    found = {"realistic": Wanted(settings(11, plan.train, TRAINING_SCANNERS))}
    # Synthetic vendors differ in their headers only; what shifts is the kernel: half of the unseen scans are soft.
    soft: dict[str, Any] = {"cell": Cell(0, is_sharp=False), "is_every_second": True}
    found["realistic_unseen"] = Wanted(settings(77, plan.test, UNSEEN_SCANNERS), **soft)
    if "compare" in plan.sections:
        found["hard"] = Wanted(settings(12, plan.train, TRAINING_SCANNERS, difficulty="hard"))
        found["hard_unseen"] = Wanted(settings(78, plan.test, UNSEEN_SCANNERS, difficulty="hard"), **soft)
    if "checks" in plan.sections:
        few = settings(79, plan.elsewhere, UNSEEN_SCANNERS)
        for variant in VARIANTS:
            found[variant] = Wanted(few, variant=variant)
        found["varied"] = Wanted(settings(80, plan.elsewhere, UNSEEN_SCANNERS, protocol="varied"))
        found["shortcut"] = Wanted(settings(81, max(plan.train // 2, 24), (), shortcut=0.85, size="tiny"))
        patients = range(min(plan.cell_patients, plan.test))
        for thickness in THICKNESS_MM[::-1]:
            for is_sharp in (True, False):
                cell = Cell(thickness, is_sharp)
                found[cell.name] = Wanted(settings(77, plan.test, UNSEEN_SCANNERS), cell, patients=patients)
    return found


def cell_names() -> tuple[str, ...]:
    return tuple(Cell(thickness, is_sharp).name for thickness in THICKNESS_MM for is_sharp in (True, False))


def jobs_of(plan: Plan) -> list[Job]:  # noqa: C901  # one flat list of what is trained
    """Jobs in the order in which their cohorts are made; the tables' main rows first."""
    base = {"max_epochs": plan.epochs}
    jobs: list[Job] = []

    def add(section: str, network: str, cohort: str, **options: Any) -> None:
        changes = {**base, **options.pop("changes", {})}
        if network == "quantitative_only":
            changes["max_epochs"] = 60
        graph = options.pop("graph", "slices_2mm" if network == "slice_attention" else plan.graph)
        jobs.append(Job(section, network, cohort, graph=graph, changes=changes, **options))

    unseen = ("realistic_unseen",)
    if "tune" in plan.sections:
        for label, options in tuning_grid().items():
            network = options.pop("network", BEST)
            add("tune", network, "realistic", tests=unseen, label=f"{network}, {label}", **options)
    if "compare" in plan.sections:
        for preset in ("realistic", "hard"):
            for network in ALL_NETWORKS:
                add("compare", network, preset, tests=(f"{preset}_unseen",))
    if "curve" in plan.sections:
        for size in (50, 100, 200):
            for network in (BEST, "quantitative_only"):
                add("curve", network, "realistic", tests=unseen, num_training=size)
    if "checks" in plan.sections:
        add("checks", BEST, "realistic", tests=unseen, mirror_average=True, label="mirror average")
        add("checks", BEST, "realistic", tests=unseen, repeats=2, label="two repeats")
        add("checks", BEST, "realistic", tests=unseen, outside=(*VARIANTS, "varied"), label="elsewhere")
        add("checks", BEST, "shortcut", find_shortcuts=True, label="shortcut")
        for network in (BEST, "quantitative_only"):
            add("checks", network, "realistic", tests=cell_names(), label=f"cells, {network}")
    return jobs


def tuning_grid() -> dict[str, dict[str, Any]]:
    """One change at a time around the middle; judged out of fold on training patients. Most telling first."""
    return {
        "quantitative only": {"network": "quantitative_only"},
        "middle": {},
        "lr 5e-3": {"changes": {"learning_rate": 5e-3}},
        "3 mm": {"graph": "lungs_3mm"},
        "no auxiliary": {"changes": {"auxiliary_weight": 0.0}},
        "auxiliary 1": {"changes": {"auxiliary_weight": 1.0}},
        "mild augmentation": {"augmentation": "mild"},
        "width 24": {"params": {"width": 24}},
        "slices": {"network": "slice_attention"},
        "resnet": {"network": "resnet_3d"},
        "lr 1e-3": {"changes": {"learning_rate": 1e-3}},
        "5 stages": {"params": {"num_halvings": 4, "num_stages": 5, "width": 16}},
        "twice the epochs": {"changes": {"max_epochs": 60}},
    }


def cohort_path(plan: Plan, name: str, graph: str) -> Path:
    return plan.work / "cohorts" / f"{name.replace(' ', '_')}-{graph}.pt"


def generate(plan: Plan, graphs: Sequence[str]) -> None:
    """Make every cohort and leave it as a file; an empty file where no scan of it has lungs."""
    facts: dict[str, Any] = {}
    wanted = wanted_cohorts(plan)
    for name, by_graph, scans in make_cohorts(wanted, graphs, processes=plan.processes, say=say):
        for graph in graphs:
            path = cohort_path(plan, name, graph)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".part")
            if by_graph:
                torch.save(by_graph[graph], temporary)
            else:
                temporary.touch()
            temporary.rename(path)
        refused = [scan.refused for scan in scans if scan.refused]
        facts[name] = {
            "num": len(scans),
            "refused": {code: refused.count(code) for code in sorted(set(refused))},
            "seconds_make_and_graph": np.mean([scan.seconds for scan in scans], axis=0).round(2).tolist(),
        }
        write_json(plan.out / "cohorts.json", {"plan": asdict(plan), "cohorts": facts})


def load_cohort(plan: Plan, name: str, graph: str, deadline: float) -> Cohort | None:
    """Wait for a cohort's file.

    Raises:
        TimeoutError: The time is up.
    """
    path = cohort_path(plan, name, graph)
    while not path.exists():
        if time.time() > deadline:
            raise TimeoutError(f"{path.name} was not there in time")
        time.sleep(0.5)
    if path.stat().st_size == 0:
        return None
    cohort: Cohort = torch.load(path, weights_only=False, mmap=True)  # our own file of this very run
    return cohort


def work_on(plan: Plan, tasks: Any, results: Any, deadline: float) -> None:
    """A training process: jobs from the queue until it is empty or the time is up."""
    torch.set_num_threads(1)
    device = torch.device(plan.device)
    while time.time() < deadline:
        try:
            job: Job = tasks.get_nowait()
        except queue.Empty:
            return
        try:
            names = dict.fromkeys((job.cohort, *job.tests, *job.outside))
            loaded = {name: load_cohort(plan, name, job.graph, deadline) for name in names}
            cohorts = {name: cohort for name, cohort in loaded.items() if cohort is not None}
            kept = Job(**{**vars(job), "outside": tuple(name for name in job.outside if name in cohorts)})
            results.put((job, run_job(kept, cohorts, device)))
        except Exception as error:  # noqa: BLE001  # one job must not end the others
            results.put((job, {"error": "".join(traceback.format_exception(error))[-1500:]}))
        if device.type == "cuda":
            torch.cuda.empty_cache()


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, default=str), encoding="utf-8")


def say(text: str) -> None:
    print(f"[{time.time() - STARTED:6.1f} s] {text}", flush=True)


STARTED = time.time()


def read_plan(argv: Sequence[str] | None) -> Plan:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files")
    parser.add_argument("--work", type=Path, default=Path("/tmp/network_gpu"), help="folder for cohorts")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--size", default="small", choices=("tiny", "small"))
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--cell-patients", type=int, default=40)
    parser.add_argument("--elsewhere", type=int, default=24)
    parser.add_argument("--processes", type=int, default=max((os.cpu_count() or 2) - 2, 1), help="making cohorts")
    parser.add_argument("--workers", type=int, default=6, help="trainings at once on the GPU")
    parser.add_argument("--budget-s", type=float, default=430)
    parser.add_argument("--speed-s", type=float, default=75, help="kept at the end for the speed section")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--graph", default="lungs_2mm")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = vars(parser.parse_args(argv))
    return Plan(**{**args, "sections": tuple(args["sections"])})


def main(argv: Sequence[str] | None = None) -> None:
    plan = read_plan(argv)
    has_speed = "speed" in plan.sections
    deadline = STARTED + plan.budget_s - (plan.speed_s if has_speed else 0)
    jobs = jobs_of(plan)
    graphs = tuple(dict.fromkeys([plan.graph, *(job.graph for job in jobs)]))
    say(f"{len(jobs)} jobs, graphs {graphs}, device {plan.device}")
    context = multiprocessing.get_context("spawn")
    maker = context.Process(target=generate, args=(plan, graphs))
    maker.start()
    tasks, results = context.Queue(), context.Queue()
    for job in jobs:
        tasks.put(job)
    workers = [context.Process(target=work_on, args=(plan, tasks, results, deadline)) for _ in range(plan.workers)]
    for worker in workers:
        worker.start()
    collect(plan, jobs, results, [maker, *workers], deadline)
    for process in workers:
        process.join(timeout=2)
        process.kill()  # a training that outlasts its time must not share the GPU with what is timed now
    if has_speed:
        time_training(plan)
    maker.terminate()
    say("done")


def time_training(plan: Plan) -> None:
    """The speed section, alone on the GPU."""
    cohort = load_cohort(plan, "realistic", plan.graph, STARTED + plan.budget_s)
    assert cohort is not None
    part = cohort.take(range(min(96, len(cohort))))
    epochs = 5 if plan.train > 50 else 2
    device = torch.device(plan.device)
    for found in measure_speed(part, plan.graph, device, names=[BEST, "resnet_3d"], epochs=epochs, say=say):
        write_json(plan.out / "speed.json", found)
        if time.time() > STARTED + plan.budget_s:
            say("the time is up")
            return


def collect(plan: Plan, jobs: Sequence[Job], results: Any, processes: Sequence[Any], deadline: float) -> None:
    """Write each section's file again whenever a job of it is done."""
    by_section: dict[str, list[Any]] = {}
    for _ in range(len(jobs)):
        found = None
        while found is None:
            try:
                found = results.get(timeout=2)
            except queue.Empty:
                if time.time() > deadline + 5 or has_ended(processes):
                    say("not all jobs were done in time")
                    return
        job, result = found
        by_section.setdefault(job.section, []).append({"name": job.name, **result})
        write_json(plan.out / f"{job.section}.json", by_section[job.section])
        say(line_of(job, result))


def has_ended(processes: Sequence[Any]) -> bool:
    """Nothing more will come: the maker of cohorts failed, or no training process is left."""
    maker, *workers = processes
    return bool(maker.exitcode) or not any(worker.is_alive() for worker in workers)


def line_of(job: Job, result: dict[str, Any]) -> str:
    if "error" in result:
        return f"{job.name}: {result['error'][-400:]}"
    parts = [f"{job.name}: {result['seconds']:.0f} s, weights {[round(w, 2) for w in result['branch_weights']]}"]
    parts.append(f"branches {[round(value, 3) for value in result['branches_out_of_fold']]}")
    for name in ("out_of_fold", *job.tests):
        found = result[name]
        figures = {key: round(found[key], 3) for key in ("auc", "accuracy", "ece", "coverage")}
        parts.append(f"{name} {figures}")
    if "outside" in result:
        parts.append(
            str({name: value.get("auc") for name, value in result["outside"].items() if isinstance(value, dict)})
        )
    if "cautions" in result:
        parts.append(str([caution["code"] for caution in result["cautions"]]))
    return " | ".join(parts)


if __name__ == "__main__":
    main()
