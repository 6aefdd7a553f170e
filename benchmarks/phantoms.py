"""How hard, how fast and how knowable the synthetic patients are; figures for ``docs/benchmarks/phantoms.md``.

python benchmarks/phantoms.py --only speed oracle truth difficulty --patients 200   (about 8 minutes on one idle core)
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from data_pipeline.phantoms import CohortSettings, Planted, draw_truths, generate_cohort
from data_pipeline.phantoms.clinical_settings import load_clinical_settings
from data_pipeline.phantoms.clinical_truth import draw_patients
from data_pipeline.phantoms.cohort import make_planned_scan, plan_scan
from data_pipeline.phantoms.disease_plan import DIFFICULTIES
from data_pipeline.phantoms.hazards import EDGES_DAYS, HazardModel, event_time, survival_and_incidence
from data_pipeline.quantitative.quantify import quantify
from domain.patterns import PATTERNS
from domain.quantities import NETWORK_QUANTITIES

NUM_ORACLE_PATIENTS = 3000
NUM_TRUTH_PATIENTS, NUM_OF_A_CLASS = 1500, 4000
LAST_DAY = 4000.0  # of the Kaplan-Meier curves
RISK_DAYS = 365.0


def measure_speed(_: int) -> list[str]:
    """Processor and wall seconds per patient, files included."""
    rows = [
        "| size | slices | processor s / patient | wall s / patient | load of the machine |",
        "|---|---|---|---|---|",
    ]
    for size, repeats in (("tiny", 7), ("small", 3), ("full", 2)):
        processor, wall, slices = [], [], []
        with TemporaryDirectory() as folder:
            generate_cohort(Path(folder) / "warm", num_patients=1, seed=0)
            for seed in range(1, repeats + 1):
                start = time.process_time(), time.perf_counter()
                root = generate_cohort(Path(folder) / str(seed), num_patients=1, seed=seed, size=size, workers=1)
                processor.append(time.process_time() - start[0])
                wall.append(time.perf_counter() - start[1])
                slices.append(len(list((root / "scans" / "P0001").iterdir())))
        load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        rows.append(
            f"| {size} | {statistics.median(slices):.0f} | {statistics.median(processor):.2f} "
            f"| {statistics.median(wall):.2f} | {load} |"
        )
    return rows


def measure_oracle(_: int) -> list[str]:
    """C-index of the true one-year risk against what happened: nothing can rank better in the long run."""
    rows = ["| cohort | patients | events | oracle C-index | antibody class alone |", "|---|---|---|---|---|"]
    for preset in ("east_asia", "west"):
        for name, planted in (("planted", Planted()), ("no image effect", Planted(image=False, interactions=False))):
            settings = CohortSettings(seed=404, num_patients=NUM_ORACLE_PATIENTS, preset=preset, planted=planted)
            truths = draw_truths(settings)
            times = np.array([truth.case.outcome.time_days for truth in truths])
            events = np.array([truth.case.outcome.event != "alive" for truth in truths])
            risk = np.array([1 - survival_and_incidence(truth.hazards, [RISK_DAYS])[0][0] for truth in truths])
            classes = np.array([int(truth.columns["class_index"]) for truth in truths])
            by_class = np.array([risk[classes == index].mean() for index in classes])
            rows.append(
                f"| {preset}, {name} | {len(truths)} | {events.sum()} | {concordance_index(times, -risk, events):.3f} "
                f"| {concordance_index(times, -by_class, events):.3f} |"
            )
    return rows


def measure_truth(_: int) -> list[str]:
    """Patterns, rapid courses, agreement of readers and Kaplan-Meier mortality beside what the YAML asks for."""
    clinical, preset = load_clinical_settings(), "east_asia"
    truths = draw_truths(CohortSettings(seed=77, num_patients=NUM_TRUTH_PATIENTS, preset=preset, num_readers=3))
    prevalence = np.array([entry.prevalence[preset] for entry in clinical.classes])
    asked = prevalence @ [[entry.patterns[pattern] for pattern in PATTERNS] for entry in clinical.classes]
    patterns = np.array([str(truth.columns["pattern"]) for truth in truths])
    rows = ["| quantity | asked | found |", "|---|---|---|"]
    for pattern, share in zip(PATTERNS, asked, strict=True):
        rows.append(f"| {pattern.value}, share | {share:.3f} | {(patterns == pattern.value).mean():.3f} |")
    rapid = float(prevalence @ [entry.rapid for entry in clinical.classes])
    found = np.mean([bool(truth.columns["rapid"]) for truth in truths])
    rows.append(f"| rapid course, share | {rapid:.3f} | {found:.3f} |")
    votes = [{name: vote.value for name, vote in truth.case.pattern_votes.items()} for truth in truths]
    read = {name: [vote[name] for vote in votes] for name in votes[0]}
    pairs = [cohen_kappa_score(read[one], read[other]) for one, other in combinations(read, 2)]
    rows.append(f"| kappa of two readers | 0.45-0.60 | {min(pairs):.3f}-{max(pairs):.3f} |")
    for index, entry in enumerate(clinical.classes):
        rng = np.random.Generator(np.random.Philox(index))
        columns = draw_patients(clinical, preset, np.full(NUM_OF_A_CLASS, index), rng)
        hazards = HazardModel(clinical, preset).hazards(columns, np.zeros(NUM_OF_A_CLASS))
        times = np.array([event_time(row[0], rng.random()) for row in hazards])
        curve = KaplanMeierFitter().fit(np.minimum(times, LAST_DAY), times < LAST_DAY)
        dead = 1 - curve.survival_function_at_times(list(EDGES_DAYS[1:])).to_numpy()
        wanted = ", ".join(f"{value:.3f}" for value in clinical.dead_by(entry.mortality))
        rows.append(f"| {entry.key}, dead by 3, 6, 12, 60 months | {wanted} | {', '.join(f'{v:.3f}' for v in dead)} |")
    return rows


def features(difficulty: str, num_patients: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Quantitative CT of tiny scans with their true lung masks, and the true patterns."""
    settings = CohortSettings(seed=505, num_patients=num_patients, difficulty=difficulty)
    rows, labels = [], []
    for truth in draw_truths(settings):
        scan = make_planned_scan(settings, plan_scan(settings, truth.columns, truth.index), truth.index)
        spacing = scan.grid.spacing_mm[::-1]
        # The phantom's frame is (Z, Y, X) to feet-head, front-back, right-left; RAS order is (X, Y, Z) flipped twice.
        voxels = np.ascontiguousarray(scan.hu.transpose(2, 1, 0)[::-1, ::-1])
        lungs = np.ascontiguousarray(scan.lungs.transpose(2, 1, 0)[::-1, ::-1])
        table, _ = quantify(voxels, lungs, spacing)
        rows.append([table.get(name, np.nan) for name in NETWORK_QUANTITIES])
        labels.append(PATTERNS.index(str(truth.columns["pattern"])))
    return np.array(rows), np.array(labels)


def classifier() -> Pipeline:
    """Logistic regression on quantitative CT; nothing tuned."""
    return make_pipeline(
        SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=2000, C=0.3)
    )


def measure_difficulty(num_patients: int) -> list[str]:
    """What quantitative CT alone can tell of the pattern, cross-validated."""
    rows = [
        "| difficulty | patients | macro AUC (one against rest) | accuracy | commonest class |",
        "|---|---|---|---|---|",
    ]
    for difficulty in DIFFICULTIES:
        values, labels = features(difficulty, num_patients)
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        probabilities = cross_val_predict(classifier(), values, labels, cv=folds, method="predict_proba")
        area = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
        accuracy = accuracy_score(labels, probabilities.argmax(axis=1))
        commonest = np.bincount(labels).max() / len(labels)
        rows.append(f"| {difficulty} | {len(labels)} | {area:.3f} | {accuracy:.2f} | {commonest:.2f} |")
        print(rows[-1], flush=True)
    return rows


MEASURES: dict[str, Callable[[int], list[str]]] = {
    "speed": measure_speed,
    "oracle": measure_oracle,
    "truth": measure_truth,
    "difficulty": measure_difficulty,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--patients", type=int, default=200, help="per difficulty")
    args = parser.parse_args()
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}")
    for name in args.only:
        print(f"\n{name}\n")
        print("\n".join(MEASURES[name](args.patients)), flush=True)


if __name__ == "__main__":
    main()
