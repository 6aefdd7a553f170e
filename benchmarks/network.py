"""Pattern networks on synthetic patients: accuracy, calibration, sets, cost, learning curve. Writes a Markdown page.

    python benchmarks/network.py --work /tmp/networks --train 400 --test 150 --epochs 20
    python benchmarks/network.py --work /tmp/networks --networks quantitative_only small_cnn_3d --sizes 50 100 200 400

Cohorts are made once in the work folder and kept. All figures are of synthetic patients and say nothing about others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from data_pipeline.dataset import GraphDataset
from data_pipeline.manifest import read_cases
from data_pipeline.phantoms import generate_cohort
from data_pipeline.splits import grouped_folds
from data_pipeline.training_cohort import load_training_cohort
from domain.antibodies import load_antibody_vocabulary
from domain.config_files import config_path
from domain.covariates import load_covariate_vocabulary
from domain.patterns import load_pattern_vocabulary
from domain.records import Case
from domain.settings import TrainingSettings
from domain.specs import ComponentSpec, ModelSpec, PreprocessSpec
from domain.strict_yaml import load_settings
from models.batches import make_loader
from models.belief import fit_belief
from models.cross_fitting import cross_fit
from models.outputs import gather_outputs

FloatArray = NDArray[np.float64]
NUM_BOOTSTRAP = 500

# name -> (backbone, parameters, quantitative CT as well)
NETWORKS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "quantitative_only": ("quantitative_only", {}, True),
    "small_cnn_3d": ("small_cnn_3d", {}, True),
    "small_cnn_3d, image alone": ("small_cnn_3d", {}, False),
    "resnet_3d 10": ("resnet_3d", {"depth": 10, "width": 16}, True),
    "densenet_3d small": ("densenet_3d", {"init_features": 16, "growth_rate": 8, "block_config": (3, 6, 6)}, True),
    "segresnet_3d small": ("segresnet_3d", {"init_filters": 8, "blocks_down": (1, 1, 2)}, True),
    "slice_attention": ("slice_attention", {"architecture": "mobilenet_v3_small"}, True),
}


@dataclass(frozen=True)
class Cohort:
    """Cases, and their items in memory."""

    cases: tuple[Case, ...]
    items: list[dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    num_training: int
    auc: float
    auc_interval: tuple[float, float]
    accuracy: float
    f1: float
    calibration_error: float
    coverage: float
    set_size: float
    answered: float
    accuracy_answered: float
    parameters: int
    seconds: float

    @property
    def markdown(self) -> str:
        lo, hi = self.auc_interval
        return (
            f"| {self.name} | {self.num_training} | {self.auc:.3f} ({lo:.3f}-{hi:.3f}) | {self.accuracy:.2f} "
            f"| {self.f1:.2f} | {self.calibration_error:.3f} | {self.coverage:.2f} | {self.set_size:.2f} "
            f"| {self.answered:.2f} | {self.accuracy_answered:.2f} | {self.parameters:,} | {self.seconds:.0f} |"
        )


HEADER = (
    "| network | training patients | macro AUC (95 %) | accuracy | macro F1 | ECE | set coverage | set size "
    "| answered | accuracy when answered | weights | CPU s, 3 members |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def load_cohort(folder: Path, num_patients: int, seed: int, difficulty: str, preprocess: str) -> Cohort:
    if not (folder / "cases.csv").exists():
        generate_cohort(folder, num_patients=num_patients, seed=seed, size="tiny", difficulty=difficulty)
    spec = load_settings(PreprocessSpec, config_path(f"preprocess/{preprocess}.yaml"))
    table = read_cases(
        folder / "cases.csv", load_antibody_vocabulary(), load_covariate_vocabulary(), load_pattern_vocabulary()
    )[:num_patients]
    cohort = load_training_cohort(table, folder / "scans", spec, cache_dir=folder / "cache")
    dataset = GraphDataset(cohort.samples, spec, cache_dir=folder / "cache")
    return Cohort(cohort.cases, [dataset[index] for index in range(len(dataset))])


def macro_auc(probabilities: FloatArray, targets: FloatArray) -> float:
    present = [k for k in range(4) if 0 < targets[:, k].sum() < len(targets)]
    return float(np.mean([roc_auc_score(targets[:, k], probabilities[:, k]) for k in present]))


def bootstrap_auc(probabilities: FloatArray, targets: FloatArray) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    rows = generator.integers(0, len(targets), (NUM_BOOTSTRAP, len(targets)))
    values = [macro_auc(probabilities[chosen], targets[chosen]) for chosen in rows]
    lo, hi = np.quantile(values, [0.025, 0.975])
    return float(lo), float(hi)


def expected_calibration_error(probabilities: FloatArray, targets: FloatArray, num_bins: int = 10) -> float:
    """Gap between confidence and accuracy of the answer, by bins of equal number, weighted."""
    confidence = probabilities.max(axis=1)
    right = targets[np.arange(len(targets)), probabilities.argmax(axis=1)]
    bins = np.array_split(np.argsort(confidence), num_bins)
    return float(sum(abs(confidence[b].mean() - right[b].mean()) * len(b) for b in bins) / len(targets))


def measure(name: str, training: Cohort, test: Cohort, settings: TrainingSettings) -> Row:
    backbone, params, use_quantitative = NETWORKS[name]
    spec = ModelSpec(backbone=ComponentSpec(name=backbone, version=1, params=params), use_quantitative=use_quantitative)
    folds = grouped_folds(training.cases, num_folds=3, seed=0, group_by_site=False)
    pairs = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(3)]
    started = time.process_time()
    fitted = cross_fit(training.items, pairs, spec, settings, groups=[case.patient_id for case in training.cases])
    seconds = time.process_time() - started
    belief = fit_belief(fitted.outputs, [held_out for _, held_out in pairs])
    device = torch.device("cpu")
    loader = make_loader(test.items, settings)
    outputs = [gather_outputs(member.network, loader, device) for member in fitted.members]
    targets = outputs[0].targets
    probabilities = belief.calibrator.probabilities(np.mean([said.logits for said in outputs], axis=0))
    right = targets[np.arange(len(targets)), probabilities.argmax(axis=1)]
    sets = belief.conformal.membership(probabilities)
    scores = belief.out_of_distribution.score(
        np.mean([said.embedding for said in outputs], axis=0), outputs[0].quantitative, outputs[0].image_statistics
    )
    answered = (probabilities.max(axis=1) >= belief.abstention.min_confidence) & (
        scores <= belief.out_of_distribution.threshold
    )
    return Row(
        name=name,
        num_training=len(training.items),
        auc=macro_auc(probabilities, targets),
        auc_interval=bootstrap_auc(probabilities, targets),
        accuracy=float(right.mean()),
        f1=float(f1_score(targets.argmax(axis=1), probabilities.argmax(axis=1), average="macro")),
        calibration_error=expected_calibration_error(probabilities, targets),
        coverage=float((sets * targets).sum(axis=1).mean()),
        set_size=float(sets.sum(axis=1).mean()),
        answered=float(answered.mean()),
        accuracy_answered=float(right[answered].mean()) if answered.any() else float("nan"),
        parameters=sum(value.numel() for value in fitted.members[0].network.parameters()),
        seconds=seconds,
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for cohorts; kept between runs")
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--test", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--difficulty", choices=("easy", "realistic", "hard"), default="realistic")
    parser.add_argument("--preprocess", default="small_3d")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS)[:3])
    parser.add_argument("--sizes", nargs="*", type=int, default=[], help="learning curve: numbers of training patients")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    folder = arguments.work / arguments.difficulty
    training = load_cohort(folder / "train", arguments.train, 11, arguments.difficulty, arguments.preprocess)
    test = load_cohort(folder / "test", arguments.test, 77, arguments.difficulty, arguments.preprocess)
    settings = TrainingSettings(max_epochs=arguments.epochs, learning_rate=arguments.learning_rate, device="cpu")
    print(f"{arguments.difficulty}: {len(training.items)} training, {len(test.items)} test patients\n\n{HEADER}")
    for name in arguments.networks:
        for size in arguments.sizes or [len(training.items)]:
            part = Cohort(training.cases[:size], training.items[:size])
            print(measure(name, part, test, settings).markdown, flush=True)


if __name__ == "__main__":
    main()
