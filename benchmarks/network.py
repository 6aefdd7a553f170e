"""Pattern networks beside each other: one command, a JSON file per section, a time budget.

    python benchmarks/network.py --out OUT --budget-s 1200                                        (one GPU, 16 cores)
    python benchmarks/network.py --out OUT --budget-s 9000 --device cpu --size tiny --graph small_3d \
        --slice-graph slices_4mm --epochs 30 --batch-size 8 --test 250 --cell-patients 40 --compare-train 200 \
        --checked small_cnn_3d --workers 2 --processes 2 --sections compare curve checks \
        --networks quantitative_only small_cnn_3d "small_cnn_3d, no tissue maps"                  (2 cores, no GPU)

Cohorts of synthetic patients are made on all cores while networks already train; several trainings share the GPU.
First every candidate is trained on the realistic preset; the one that is best out of fold, on training patients only
(or ``--checked``), is used for the learning curve and the checks. Sections: ``compare`` (networks, realistic and hard,
unseen scanners), ``curve`` (50 to 400 patients), ``checks`` (thickness x kernel, scans from elsewhere, mirror
averaging, repeats, a planted shortcut), ``speed`` and ``score`` (beside a stock MONAI loop). All figures are of
synthetic patients.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from network_cohorts import VARIANTS, Cell, Cohort, Wanted, make_cohorts
from network_jobs import Job, run_job
from network_speed import measure_speed, validation_scores

from data_pipeline.phantoms.patients import CohortSettings

SECTIONS = ("compare", "curve", "checks", "speed", "score")
TRAINING_SCANNERS = ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips")
UNSEEN_SCANNERS = ("TOSHIBA",)
BEST = "small_cnn_3d"
GPU_CANDIDATES = (
    "small_cnn_3d", "quantitative_only", "small_cnn_3d, 2 mm", "small_cnn_3d, no auxiliary",
    "small_cnn_3d, twice the epochs", "resnet_3d", "densenet_3d", "slice_attention",
)  # fmt: skip
CHOICE_SHARE = 0.55  # of the time, at which the choice is made among the candidates that are done
CELLS = tuple(Cell(thickness, is_sharp) for thickness in (0.625, 1.25, 2.5, 5.0) for is_sharp in (True, False))


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
    batch_size: int
    graph: str
    fine_graph: str
    slice_graph: str
    networks: tuple[str, ...]
    checked: str
    compare_train: int
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
    if "checks" in plan.sections:
        few = settings(79, plan.elsewhere, UNSEEN_SCANNERS)
        found |= {variant: Wanted(few, variant=variant) for variant in VARIANTS}
        found["varied"] = Wanted(settings(80, plan.elsewhere, UNSEEN_SCANNERS, protocol="varied"))
        found["shortcut"] = Wanted(settings(81, max(plan.train // 2, 24), (), shortcut=0.85, size="tiny"))
        patients = range(min(plan.cell_patients, plan.test))
        unseen = settings(77, plan.test, UNSEEN_SCANNERS)
        found |= {cell.name: Wanted(unseen, cell, patients=patients) for cell in CELLS}
    if "compare" in plan.sections:
        found["hard"] = Wanted(settings(12, plan.compare_train or plan.train, TRAINING_SCANNERS, difficulty="hard"))
        found["hard_unseen"] = Wanted(settings(78, plan.test, UNSEEN_SCANNERS, difficulty="hard"), **soft)
    return found


def graph_of(plan: Plan, network: str) -> str:
    return plan.slice_graph if network.startswith("slice_attention") else plan.graph


def job_for(plan: Plan, section: str, network: str, cohort: str, **options: Any) -> Job:
    own = {"max_epochs": plan.epochs, "batch_size": plan.batch_size}
    changes = {**({} if network == "quantitative_only" else own), **options.pop("changes", {})}
    options = {"graph": graph_of(plan, network), "tests": (f"{cohort}_unseen",), **options}
    return Job(section, network, cohort, changes=changes, **options)


def candidates(plan: Plan) -> list[Job]:
    """What the best is chosen from, on the realistic preset."""
    variants: dict[str, tuple[str, dict[str, Any]]] = {
        "small_cnn_3d": (BEST, {}),
        "quantitative_only": ("quantitative_only", {}),
        "small_cnn_3d, 2 mm": (BEST, {"graph": plan.fine_graph}),
        "small_cnn_3d, no tissue maps": (BEST, {"use_tissue": False}),
        "small_cnn_3d, no auxiliary": (BEST, {"changes": {"auxiliary_weight": 0.0}}),
        "small_cnn_3d, twice the epochs": (BEST, {"changes": {"max_epochs": 2 * plan.epochs}}),
        "resnet_3d": ("resnet_3d", {}),
        "densenet_3d": ("densenet_3d", {}),
        "efficientnet_3d": ("efficientnet_3d", {}),
        "segresnet_3d": ("segresnet_3d", {}),
        "slice_attention": ("slice_attention", {}),
        "slice_attention, small": ("slice_attention, small", {}),
    }
    return [
        job_for(plan, "compare", network, "realistic", label=label, num_training=plan.compare_train, **options)
        for label, (network, options) in variants.items()
        if label in plan.networks
    ]


def further_jobs(plan: Plan, best: Job) -> list[Job]:
    """Everything after the choice, most telling first, in the order in which cohorts are made."""

    def again(section: str, cohort: str = "realistic", **options: Any) -> Job:
        changes = {"tests": (f"{cohort}_unseen",), "num_training": 0, **options}
        return replace(best, section=section, cohort=cohort, **changes)

    def plain(section: str, network: str, cohort: str = "realistic", **options: Any) -> Job:
        return job_for(plan, section, network, cohort, **options)

    compared = {"num_training": plan.compare_train}
    jobs: list[Job] = []
    if "checks" in plan.sections:
        tests = ("realistic_unseen", *(cell.name for cell in CELLS))
        jobs.append(again("checks", tests=tests, outside=(*VARIANTS, "varied"), label=f"cells, {best.network}"))
        jobs.append(plain("checks", "quantitative_only", tests=tests, label="cells, quantitative_only"))
        jobs.append(again("checks", "shortcut", tests=(), find_shortcuts=True, label="shortcut"))
    if "compare" in plan.sections:
        jobs.append(again("compare", "hard", **compared))
        jobs.append(plain("compare", "quantitative_only", "hard", **compared))
    if "curve" in plan.sections:
        for size in {50, 100, 200} - {plan.compare_train}:
            jobs.append(again("curve", num_training=size))
            jobs.append(plain("curve", "quantitative_only", num_training=size))
    if "checks" in plan.sections:
        jobs.append(again("checks", mirror_average=True, label="mirror average"))
    if "compare" in plan.sections:
        others = {
            job.network: job for job in candidates(plan) if job.network not in (best.network, "quantitative_only")
        }
        jobs += [plain("compare", network, "hard", **compared) for network in others]
    if not plan.compare_train:  # the whole cohort for everyone: there is a GPU
        jobs.append(again("checks", repeats=2, label="two repeats"))
        late = [network for network in ("segresnet_3d", "efficientnet_3d") if network not in plan.networks]
        jobs += [plain("compare", network) for network in late]
    return jobs


def cohort_path(plan: Plan, name: str, graph: str) -> Path:
    return plan.work / "cohorts" / f"{name.replace(' ', '_')}-{graph}.pt"


def generate(plan: Plan, graphs: Sequence[str]) -> None:
    """Make every cohort that is not there yet and leave it as a file; an empty file where no scan of it has lungs."""
    facts: dict[str, Any] = {}
    wanted = {
        name: cohort
        for name, cohort in wanted_cohorts(plan).items()
        if not all(cohort_path(plan, name, graph).exists() for graph in graphs)
    }
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
    """A training process: jobs from the queue until the time is up."""
    torch.set_num_threads(1)
    device = torch.device(plan.device)
    while time.time() < deadline:
        try:
            job: Job = tasks.get(timeout=1)
        except queue.Empty:
            continue
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
    parser.add_argument(
        "--work", type=Path, default=Path("/tmp/networks"), help="folder for cohorts; kept, for the same options only"
    )
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--size", default="small", choices=("tiny", "small"))
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--cell-patients", type=int, default=30)
    parser.add_argument("--elsewhere", type=int, default=16)
    parser.add_argument("--processes", type=int, default=max((os.cpu_count() or 2) - 3, 1), help="making cohorts")
    parser.add_argument("--workers", type=int, default=6, help="trainings at once on the GPU")
    parser.add_argument("--budget-s", type=float, default=490)
    parser.add_argument("--speed-s", type=float, default=75, help="kept at the end for the speed section")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--graph", default="lungs_2.5mm")
    parser.add_argument("--fine-graph", default="lungs_2mm")
    parser.add_argument("--slice-graph", default="slices_2mm")
    parser.add_argument("--networks", nargs="+", default=GPU_CANDIDATES, help="candidates")
    parser.add_argument("--checked", default="", help="candidate for curve and checks; blank: the best out of fold")
    parser.add_argument("--compare-train", type=int, default=0, help="patients the candidates train on; 0: all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = vars(parser.parse_args(argv))
    return Plan(**{**args, "sections": tuple(args["sections"]), "networks": tuple(args["networks"])})


def main(argv: Sequence[str] | None = None) -> None:
    plan = read_plan(argv)
    deadline = STARTED + plan.budget_s - (plan.speed_s if "speed" in plan.sections else 0)
    first = candidates(plan) if set(plan.sections) - {"speed", "score"} else []
    graphs = tuple(dict.fromkeys([plan.graph, *(job.graph for job in first)]))
    say(f"{len(first)} candidates, graphs {graphs}, device {plan.device}")
    context = multiprocessing.get_context("spawn")
    maker = context.Process(target=generate, args=(plan, graphs))
    maker.start()
    tasks, results = context.Queue(), context.Queue()
    tasks.cancel_join_thread()  # jobs nobody took must not keep this process from ending
    workers = [context.Process(target=work_on, args=(plan, tasks, results, deadline)) for _ in range(plan.workers)]
    for worker in workers:
        worker.start()
    train_all(plan, first, (tasks, results), [maker, *workers], deadline)
    for process in workers:
        process.kill()  # a training that outlasts its time must not share the GPU with what is timed now
    maker.join(timeout=max(deadline - time.time(), 1))
    maker.terminate()
    if "score" in plan.sections:
        cohort = load_cohort(plan, "realistic", plan.graph, deadline)
        assert cohort is not None
        scores = validation_scores(cohort, plan.graph, torch.device(plan.device), num_epochs=plan.epochs)
        write_json(plan.out / "score.json", scores)
        say(f"validation scores: {scores}")
    if "speed" in plan.sections:
        time_training(plan)
    say("done")


def train_all(
    plan: Plan, first: Sequence[Job], queues: tuple[Any, Any], processes: Sequence[Any], deadline: float
) -> None:
    """Candidates, the choice, then everything else; files are written again whenever a job is done."""
    tasks, results = queues
    waiting, has_chosen = len(first), bool(plan.checked)
    if plan.checked:  # known beforehand: the large candidates can come last
        waiting += put_further(plan, chosen(plan, first, ()), tasks)
    for job in first:
        tasks.put(job)
    by_section: dict[str, list[Any]] = {}
    choose_at = STARTED + CHOICE_SHARE * plan.budget_s
    while waiting:
        if not has_chosen and "compare" in by_section and time.time() > choose_at:
            has_chosen = True
            waiting += put_further(plan, chosen(plan, first, by_section["compare"]), tasks)
        try:
            job, result = results.get(timeout=2)
        except queue.Empty:
            if time.time() > deadline + 5 or has_ended(processes):
                say(f"{waiting} jobs were not done in time")
                return
            continue
        waiting -= 1
        by_section.setdefault(job.section, []).append({"name": job.name, **result})
        write_json(plan.out / f"{job.section}.json", by_section[job.section])
        say(line_of(job, result))
        if not waiting and not has_chosen:
            has_chosen = True
            waiting = put_further(plan, chosen(plan, first, by_section["compare"]), tasks)


def put_further(plan: Plan, best: Job, tasks: Any) -> int:
    """Queue everything after the choice; gives the number of jobs."""
    say(f"curve and checks with {best.label}")
    later = further_jobs(plan, best)
    for job in later:
        tasks.put(job)
    return len(later)


def chosen(plan: Plan, jobs: Sequence[Job], results: Sequence[dict[str, Any]]) -> Job:
    """The network asked for, or the one with the highest AUC out of fold: nothing of the unseen scans is looked at."""
    if plan.checked:
        return next(job for job in jobs if job.label == plan.checked)
    scores = {result["name"]: result["out_of_fold"]["auc"] for result in results if "error" not in result}
    networks = [job for job in jobs if job.name in scores and job.network != "quantitative_only"]
    return max(networks, key=lambda job: scores[job.name]) if networks else jobs[0]


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
