"""Are the evaluation's own figures trustworthy: coverage of its intervals, shortcut alarms, speed beside a peer.

    python benchmarks/evaluation_checks.py [--sets 200] [--out docs/benchmarks/evaluation.md]

Data are drawn here with a known truth; nothing is read from disk. Every figure is about synthetic data.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from domain.patterns import PATTERNS
from evaluation import calibration_error, discrimination, shortcuts, survival, survival_calibration
from evaluation.discrimination import one_vs_rest_auc
from evaluation.intervals import FloatArray, bootstrap_counts, interval
from evaluation.survival import Observed

SIZES = (60, 120, 240)
NUM_RESAMPLES = 300
LEVEL = 0.95
DAY, TAU = 365.0, 1096.0
TRUTH_CASES = 16_000


@dataclass(frozen=True, eq=False)
class Sample:
    """One drawn cohort: an exactly right risk model, a weaker one, and a four-pattern classifier."""

    risk: FloatArray
    weaker: FloatArray
    time_days: FloatArray
    cause: np.ndarray
    probabilities: FloatArray
    labels: FloatArray


def draw(num_cases: int, seed: int, *, censored: bool = True) -> Sample:
    generator = np.random.default_rng(seed)
    known, hidden = generator.normal(size=(2, num_cases))
    hazard = np.exp(-7.0 + 0.8 * known + 0.6 * hidden)
    event = generator.exponential(1 / hazard)
    limit = np.minimum(generator.exponential(3000, num_cases), generator.uniform(300, 2500, num_cases))
    if not censored:
        limit = np.full(num_cases, np.inf)
    label = generator.choice(4, num_cases, p=[0.4, 0.3, 0.2, 0.1])
    logits = np.log([0.4, 0.3, 0.2, 0.1]) + 1.5 * (generator.normal(size=(num_cases, 4)) + 1.5 * np.eye(4)[label])
    return Sample(
        risk=1 - np.exp(-hazard * DAY),
        weaker=1 - np.exp(-np.exp(-6.9 + 0.8 * known) * DAY),
        time_days=np.minimum(event, limit),
        cause=(event <= limit).astype(np.int64),
        probabilities=np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        labels=np.eye(4)[label],
    )


def measures(sample: Sample, counts: FloatArray) -> dict[str, FloatArray]:
    observed = Observed.of(sample.time_days, sample.cause, counts)
    answer = sample.probabilities.argmax(axis=1)
    confusion = discrimination.soft_confusion(sample.labels, answer, counts)
    model = survival.concordance(sample.risk, observed, tau=TAU)
    return {
        "Uno's C": model,
        "difference in C (paired)": model - survival.concordance(sample.weaker, observed, tau=TAU),
        "AUC at 365 days": survival.auc_at(sample.risk, observed, DAY),
        "Brier at 365 days": survival.brier_at(sample.risk, observed, DAY),
        "observed / expected": survival_calibration.observed_over_expected(sample.risk, observed, DAY, None),
        "calibration slope": survival_calibration.calibration_curve(sample.risk, observed, DAY, None).slope,
        "pattern accuracy": discrimination.accuracy(confusion),
        "pattern AUC, macro": discrimination.macro_average(
            one_vs_rest_auc(sample.probabilities, sample.labels, counts)
        ),
        "pattern Brier": calibration_error.brier_score(sample.probabilities, sample.labels, counts),
    }


def coverage_table(num_sets: int) -> list[str]:
    truth_sample = draw(TRUTH_CASES, 10**6, censored=False)
    truth = {name: float(values[0]) for name, values in measures(truth_sample, np.ones((1, TRUTH_CASES))).items()}
    truth |= {"observed / expected": 1.0, "calibration slope": 1.0}  # the model is exactly right
    lines = [
        "| figure | truth | " + " | ".join(f"n = {size}: coverage (width)" for size in SIZES) + " |",
        "|---|---|" + "---|" * len(SIZES),
    ]
    hits: dict[tuple[str, int], list[tuple[bool, float]]] = {}
    for size in SIZES:
        for seed in range(num_sets):
            counts = bootstrap_counts([str(i) for i in range(size)], NUM_RESAMPLES, seed)
            for name, replicates in measures(draw(size, seed), counts).items():
                limits = interval(replicates, LEVEL)
                if np.isfinite(limits.lo):
                    inside = limits.lo <= truth[name] <= limits.hi
                    hits.setdefault((name, size), []).append((inside, limits.hi - limits.lo))
    for name, value in truth.items():
        cells = []
        for size in SIZES:
            found = hits[(name, size)]
            cells.append(f"{np.mean([hit for hit, _ in found]):.2f} ({np.mean([width for _, width in found]):.2f})")
        lines.append(f"| {name} | {value:.3f} | " + " | ".join(cells) + " |")
    return lines


def shortcut_probabilities(
    size: int, seed: int, follows_label: float, pull: float
) -> tuple[FloatArray, FloatArray, np.ndarray]:
    generator = np.random.default_rng(seed)
    sample = draw(size, seed)
    label = sample.labels.argmax(axis=1)
    site = np.where(generator.random(size) < follows_label, label, generator.integers(0, 4, size))
    logits = np.log(sample.probabilities)
    logits[np.arange(size), site] += pull
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), sample.labels, site


def is_flagged(probabilities: FloatArray, labels: FloatArray, site: np.ndarray, seed: int) -> bool:
    dependence = shortcuts.dependence_given_label(probabilities, labels, site, seed)
    depends = dependence.p_value <= shortcuts.MAX_P_VALUE and dependence.gap >= shortcuts.MIN_PROBABILITY_GAP
    counts = bootstrap_counts([str(i) for i in range(len(site))], 200, seed)
    loss = interval(shortcuts.auc_loss_within_groups(probabilities, labels, site, counts), LEVEL)
    return depends or bool(np.isfinite(loss.lo) and loss.lo > 0 and loss.value >= shortcuts.MIN_AUC_LOSS)


def shortcut_table(num_sets: int) -> list[str]:
    scenarios = {
        "honest, sites independent of the label": (0.0, 0.0),
        "honest, sites follow the label in 60 %": (0.6, 0.0),
        "model pulled towards its site (1 logit), sites independent": (0.0, 1.0),
        "model pulled towards its site (2 logits), sites independent": (0.0, 2.0),
        "model pulled (2 logits), sites follow the label in 60 %": (0.6, 2.0),
    }
    lines = ["| cohort | " + " | ".join(f"n = {size}: flagged" for size in SIZES) + " |", "|---|" + "---|" * len(SIZES)]
    for name, (follows_label, pull) in scenarios.items():
        cells = []
        for size in SIZES:
            flags = [
                is_flagged(*shortcut_probabilities(size, seed, follows_label, pull), seed) for seed in range(num_sets)
            ]
            cells.append(f"{np.mean(flags):.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def seconds(action: Callable[[], object], repeats: int = 5) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def speed_table() -> list[str]:
    from sksurv.metrics import concordance_index_ipcw

    lines = ["| Uno's C, one resample | ours | scikit-survival 0.28 in a loop | ratio |", "|---|---|---|---|"]
    for size in (240, 1000):
        sample = draw(size, 0)
        counts = bootstrap_counts([str(i) for i in range(size)], 500, 0)
        outcome = np.array(
            list(zip(sample.cause > 0, sample.time_days, strict=True)), dtype=[("e", bool), ("t", float)]
        )
        drawn = [np.repeat(np.arange(size), row.astype(int)) for row in counts[1:6]]

        def loop(outcome: np.ndarray = outcome, drawn: list[np.ndarray] = drawn, sample: Sample = sample) -> None:
            for rows in drawn:
                concordance_index_ipcw(outcome[rows], outcome[rows], sample.risk[rows], tau=TAU)

        def ours(sample: Sample = sample, counts: FloatArray = counts) -> None:
            survival.concordance(sample.risk, Observed.of(sample.time_days, sample.cause, counts), tau=TAU)

        mine, theirs = seconds(ours) / len(counts), seconds(loop) / len(drawn)
        lines.append(f"| n = {size} | {1e3 * mine:.3f} ms | {1e3 * theirs:.2f} ms | {theirs / mine:.0f} x |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=200, help="drawn cohorts per size")
    parser.add_argument("--out", type=Path, help="write the tables here, too")
    args = parser.parse_args()
    assert len(PATTERNS) == 4
    censored = 1 - draw(TRUTH_CASES, 0).cause.mean()
    text = "\n".join(
        [
            "# Is the evaluation itself right? (synthetic data)",
            "",
            f"`python benchmarks/evaluation_checks.py --sets {args.sets}`",
            "",
            f"## Coverage of the {LEVEL:.0%} bootstrap intervals",
            "",
            f"{args.sets} cohorts per size, {NUM_RESAMPLES} resamples; {censored:.0%} censored. "
            f"Monte-Carlo error of a coverage near {LEVEL}: {(LEVEL * (1 - LEVEL) / args.sets) ** 0.5:.2f}.",
            "",
            *coverage_table(args.sets),
            "",
            "## Shortcut alarms",
            "",
            f"{max(args.sets // 4, 5)} cohorts per cell, four sites. A flag in the first two rows is a false alarm.",
            "",
            *shortcut_table(max(args.sets // 4, 5)),
            "",
            "## Speed",
            "",
            "Median of 5, one core, the same data in the same run; the machine was shared, so read the ratio.",
            "",
            *speed_table(),
            "",
        ]
    )
    print(text)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
