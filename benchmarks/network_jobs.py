"""One job of the network benchmark: cross-fit a network on a cohort, judge it on unseen scanners."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from network_cohorts import Cohort, load_graph
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import f1_score

from data_pipeline.graph import build_augment, split_preprocess
from data_pipeline.splits import repeated_folds
from domain import batch_keys
from domain.antibodies import load_antibody_vocabulary
from domain.endpoints import load_endpoint
from domain.patterns import PATTERNS
from domain.settings import TrainingSettings
from domain.specs import AugmentSpec, ComponentSpec, ModelSpec, PreprocessSpec
from evaluation.cohort import build_cohort
from evaluation.shortcuts import find_shortcuts
from models.abstention import coverage_accuracy_curve
from models.batches import ResidentItems, make_loader
from models.belief import Belief, cross_calibrated, fit_belief
from models.cross_fitting import CrossFit, cross_fit
from models.fitting import RunContext
from models.outputs import NetworkOutputs, gather_outputs

FloatArray = NDArray[np.float64]
NUM_BOOTSTRAP = 500
AUGMENTATIONS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "none": [],
    "mild": [("side_flip", {}), ("geometric", {}), ("intensity_drift", {}), ("noise", {})],
    "full": [
        ("side_flip", {}),
        ("geometric", {}),
        ("intensity_drift", {}),
        ("noise", {}),
        ("kernel", {}),
        ("slice_thickness", {}),
    ],
}

# name -> (backbone, parameters, quantitative CT as well, settings that differ)
Network = tuple[str, dict[str, Any], bool, dict[str, Any]]
NETWORKS: dict[str, Network] = {
    "quantitative_only": ("quantitative_only", {}, True, {"max_epochs": 60}),
    "small_cnn_3d": ("small_cnn_3d", {}, True, {}),
    "small_cnn_3d, image alone": ("small_cnn_3d", {}, False, {}),
    "densenet_3d": ("densenet_3d", {"init_features": 16, "growth_rate": 16, "block_config": [3, 6, 6]}, True, {}),
    "resnet_3d": ("resnet_3d", {"depth": 10, "width": 16}, True, {}),
    "efficientnet_3d": ("efficientnet_3d", {}, True, {}),
    "segresnet_3d": ("segresnet_3d", {"init_filters": 8, "blocks_down": [1, 1, 2]}, True, {}),
    "slice_attention": ("slice_attention", {"architecture": "resnet18"}, True, {"learning_rate": 5e-4}),
    "slice_attention, small": (
        "slice_attention",
        {"architecture": "mobilenet_v3_small"},
        True,
        {"learning_rate": 5e-4},
    ),
}


@dataclass(frozen=True)
class Job:
    """What to train and on what to judge it.

    Attributes:
        section: JSON file the result goes to.
        network: Key of ``NETWORKS``.
        cohort: Name of the training cohort.
        tests: Names of the cohorts it is judged on.
        graph: Preprocessing of the input.
        num_training: First so many rows; 0 for all.
        use_tissue: Show the network the tissue maps where the graph makes them.
        augmentation: Key of ``AUGMENTATIONS``.
        changes: Of the training settings.
        params: Of the backbone, over those of ``NETWORKS``.
        mirror_average: Answer with the mean over scan and mirror image as well.
        repeats: Of the three folds.
        outside: Cohorts from elsewhere, for the out-of-distribution score.
        find_shortcuts: Ask evaluation what it thinks of the out-of-fold predictions.
    """

    section: str
    network: str
    cohort: str
    tests: tuple[str, ...] = ()
    graph: str = "lungs_2.5mm"
    num_training: int = 0
    use_tissue: bool = True
    augmentation: str = "full"
    changes: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    mirror_average: bool = False
    repeats: int = 1
    outside: tuple[str, ...] = ()
    find_shortcuts: bool = False
    label: str = ""

    @property
    def name(self) -> str:
        size = f" n={self.num_training}" if self.num_training else ""
        return f"{self.section}: {self.label or self.network}{size} on {self.cohort}"


def resident(cohort: Cohort) -> ResidentItems:
    """A cohort as a training set in the machine's memory."""
    tensors = {
        batch_keys.IMAGE: cohort.images,
        batch_keys.IMAGE_MASK: cohort.masks,
        batch_keys.IMAGE_TISSUE: cohort.tissue,
        batch_keys.QUANTITATIVE: cohort.quantitative,
        batch_keys.PATTERN_TARGET: cohort.targets,
        batch_keys.CASE_INDEX: torch.arange(len(cohort)),
    }
    return ResidentItems(tensors, torch.arange(len(cohort)))


def on_device(items: ResidentItems, device: torch.device) -> ResidentItems:
    return ResidentItems({key: values.to(device) for key, values in items.tensors.items()}, items.rows)


def finish_of(job: Job, device: torch.device) -> Any:
    """The windows at the end of the job's graph."""
    graph = load_graph(job.graph)
    *steps, window = graph.steps
    if not job.use_tissue:
        window = window.model_copy(update={"params": window.params | {"tissue_channels": False}})
    return split_preprocess(PreprocessSpec(name=graph.name, steps=(*steps, window)), device=str(device))[1]


def augment_of(name: str) -> Any:
    steps = AUGMENTATIONS[name]
    spec = AugmentSpec(steps=tuple(ComponentSpec(name=step, version=1, params=params) for step, params in steps))
    return build_augment(spec) if steps else None


def settings_of(job: Job, device: torch.device) -> TrainingSettings:
    own = NETWORKS[job.network][3]
    base: dict[str, Any] = {
        "max_epochs": 30,
        "batch_size": 16,
        "learning_rate": 3e-3,
        "weight_decay": 0.01,
        "ema_decay": 0.98,
        "patience_epochs": 1000,
        "device": device.type,
        "precision": "bf16-mixed" if device.type == "cuda" else "32",
    }
    return TrainingSettings.model_validate({**base, **own, **job.changes})


def run_job(job: Job, cohorts: dict[str, Cohort], device: torch.device) -> dict[str, Any]:
    """Train and judge; plain JSON."""
    training = cohorts[job.cohort]
    if job.num_training:
        training = training.take(range(min(job.num_training, len(training))))
    backbone, params, use_quantitative, _ = NETWORKS[job.network]
    spec = ModelSpec(
        backbone=ComponentSpec(name=backbone, version=1, params={**params, **job.params}),
        use_quantitative=use_quantitative,
        mirror_average=job.mirror_average,
    )
    settings = settings_of(job, device)
    finish = finish_of(job, device)
    items = on_device(resident(training), device)
    pairs = repeated_folds(training.cases, num_folds=3, num_repeats=job.repeats, seed=0)
    started = time.perf_counter()
    run = RunContext(seed=1, finish=finish, augment=augment_of(job.augmentation))
    fitted = cross_fit(items, pairs, spec, settings, groups=[case.patient_id for case in training.cases], run=run)
    seconds = time.perf_counter() - started
    held_out = [rows for _, rows in pairs[:3]]
    belief = fit_belief(fitted.outputs, held_out)
    probabilities = cross_calibrated(fitted.outputs, held_out)
    result: dict[str, Any] = {
        "job": asdict(job),
        "num_training": len(training),
        "seconds": seconds,
        "samples_per_s": 2 * job.repeats * len(training) * settings.max_epochs / seconds,
        "weights": sum(value.numel() for value in fitted.members[0].network.parameters()),
        "branch_weights": fitted.members[0].network.branch_weights.tolist(),
        "temperature": belief.calibrator.temperature,
        "last_loss": [member.history[-1]["train_loss"] for member in fitted.members],
        "out_of_fold": judge(probabilities, fitted.outputs, belief),
    }
    result["branches_out_of_fold"] = branch_aucs(fitted.outputs)
    said: dict[str, NetworkOutputs] = {}
    for name in (*job.tests, *job.outside):
        said[name] = answers(fitted, cohorts[name], settings, finish, device)
    for name in job.tests:
        result[name] = judge(belief.calibrator.probabilities(said[name].logits), said[name], belief)
        result[name]["branches"] = branch_aucs(said[name])
    if job.outside:
        result["outside"] = outside_scores(belief, said, job)
    if job.find_shortcuts:
        result["cautions"] = shortcut_cautions(training, probabilities)
    return result


def answers(
    fitted: CrossFit, cohort: Cohort, settings: TrainingSettings, finish: Any, device: torch.device
) -> NetworkOutputs:
    """Mean of the members, as at inference."""
    loader = make_loader(on_device(resident(cohort), device), settings, in_shares=False)
    each = [gather_outputs(member.network.to(device), loader, device, finish) for member in fitted.members]
    fields = ("logits", "branch_logits", "embedding")
    mean = {name: np.mean([getattr(said, name) for said in each], axis=0) for name in fields}
    return NetworkOutputs(**{**{name: getattr(each[0], name) for name in vars(each[0])}, **mean})


def branch_aucs(outputs: NetworkOutputs) -> list[float]:
    """Macro AUC of every branch by itself, image first."""
    return [
        macro_auc(outputs.branch_logits[:, branch], outputs.targets) for branch in range(outputs.branch_logits.shape[1])
    ]


def macro_auc(scores: FloatArray, targets: FloatArray) -> float:
    """One against rest, mean over patterns; scores are probabilities or logits (made probabilities first)."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True)) if (scores < 0).any() else scores
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    present = [k for k in range(4) if 0 < targets[:, k].sum() < len(targets)]
    return float(np.mean([area_under_curve(targets[:, k] > 0.5, probabilities[:, k]) for k in present]))


def area_under_curve(positive: NDArray[np.bool_], scores: FloatArray) -> float:
    """From ranks: the same number as scikit-learn's, ten times as fast in a bootstrap."""
    ranks, num = rankdata(scores), int(positive.sum())
    return float((ranks[positive].sum() - num * (num + 1) / 2) / (num * (len(scores) - num)))


def calibration_error(probabilities: FloatArray, targets: FloatArray, num_bins: int = 10) -> float:
    """Gap between confidence and accuracy of the answer, by bins of equal number, weighted."""
    confidence = probabilities.max(axis=1)
    right = targets[np.arange(len(targets)), probabilities.argmax(axis=1)]
    bins = np.array_split(np.argsort(confidence), num_bins)
    return float(sum(abs(confidence[b].mean() - right[b].mean()) * len(b) for b in bins) / len(targets))


def judge(probabilities: FloatArray, outputs: NetworkOutputs, belief: Belief) -> dict[str, Any]:
    """Everything the tables show of one network on one cohort, with bootstrap intervals."""
    targets = outputs.targets
    generator = np.random.default_rng(0)
    right = targets[np.arange(len(targets)), probabilities.argmax(axis=1)]
    sets = belief.conformal.membership(probabilities)
    scores = belief.out_of_distribution.score(outputs.embedding, outputs.quantitative, outputs.image_statistics)
    is_far = scores > belief.out_of_distribution.threshold
    answered = (probabilities.max(axis=1) >= belief.abstention.min_confidence) & ~is_far
    rows = [generator.integers(0, len(targets), len(targets)) for _ in range(NUM_BOOTSTRAP)]
    found = {
        "num": len(targets),
        "auc": macro_auc(probabilities, targets),
        "auc_interval": interval([macro_auc(probabilities[at], targets[at]) for at in rows]),
        "auc_by_pattern": [
            float(area_under_curve(targets[:, k] > 0.5, probabilities[:, k]))
            if 0 < (targets[:, k] > 0.5).sum() < len(targets)
            else None
            for k in range(4)
        ],
        "accuracy": float(right.mean()),
        "accuracy_interval": interval([right[at].mean() for at in rows]),
        "f1": float(f1_score(targets.argmax(axis=1), probabilities.argmax(axis=1), average="macro")),
        "ece": calibration_error(probabilities, targets),
        "ece_interval": interval([calibration_error(probabilities[at], targets[at]) for at in rows[:200]]),
        "ece_if_calibrated": float(np.mean(expected_error(probabilities, generator))),
        "coverage": float((sets * targets).sum(axis=1).mean()),
        "coverage_by_pattern": [float(sets[targets[:, k] > 0.5, k].mean()) for k in range(4)],
        "set_size": float(sets.sum(axis=1).mean()),
        "answered": float(answered.mean()),
        "accuracy_answered": float(right[answered].mean()) if answered.any() else None,
        "far": float(is_far.mean()),
        "curve": [list(point) for point in coverage_accuracy_curve(probabilities, targets)][::3],
        "labels": targets.argmax(axis=1).tolist(),
        "probabilities": np.round(probabilities, 4).tolist(),
    }
    return found


def expected_error(probabilities: FloatArray, generator: np.random.Generator, num_draws: int = 100) -> list[float]:
    """ECE of a perfectly calibrated model on as many scans: what the bins' own noise gives."""
    cumulative = probabilities.cumsum(axis=1)
    found = []
    for _ in range(num_draws):
        labels = (generator.random((len(probabilities), 1)) > cumulative[:, :3]).sum(axis=1)
        found.append(calibration_error(probabilities, np.eye(4)[labels]))
    return found


def interval(values: Sequence[float]) -> list[float]:
    return [float(value) for value in np.quantile(values, [0.025, 0.975])]


def outside_scores(belief: Belief, said: dict[str, NetworkOutputs], job: Job) -> dict[str, Any]:
    """How well the out-of-distribution score tells scans from elsewhere from unseen scans of the same disease."""
    score, limit = belief.out_of_distribution.score, belief.out_of_distribution.threshold

    def scores(name: str) -> FloatArray:
        return score(said[name].embedding, said[name].quantitative, said[name].image_statistics)

    inside = scores(job.tests[0])
    found: dict[str, Any] = {
        "limit": limit,
        "inside": {"median": float(np.median(inside)), "far": float((inside > limit).mean())},
    }
    for name in job.outside:
        outside = scores(name)
        labels = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
        found[name] = {
            "num": len(outside),
            "auc": float(area_under_curve(labels > 0, np.r_[inside, outside])),
            "far": float((outside > limit).mean()),
            "median": float(np.median(outside)),
        }
    return found


def shortcut_cautions(training: Cohort, probabilities: FloatArray) -> list[dict[str, Any]]:
    """What evaluation says of out-of-fold predictions of a cohort with a planted shortcut."""
    frame = pd.DataFrame(probabilities, columns=[f"p_{pattern}" for pattern in PATTERNS])
    frame["case_key"] = [case.case_id for case in training.cases]
    frame["pattern"] = [PATTERNS[index].value for index in probabilities.argmax(axis=1)]
    frame["manufacturer"] = [scan.vendor for scan in training.scanned]
    frame["kernel"] = [scan.kernel for scan in training.scanned]
    cohort = build_cohort(frame, training.cases, load_endpoint("course"), load_antibody_vocabulary())
    counts = np.random.default_rng(0).multinomial(len(cohort), np.full(len(cohort), 1 / len(cohort)), size=200)
    return [caution.model_dump(mode="json") for caution in find_shortcuts(cohort, counts.astype(float), 0.95, 0)]
