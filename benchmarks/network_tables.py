"""The JSON files of `network.py` as Markdown tables.

python benchmarks/network_tables.py OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from network_jobs import macro_auc

NUM_BOOTSTRAP = 500

Row = dict[str, Any]


def load(folder: Path, section: str) -> list[Row]:
    path = folder / f"{section}.json"
    return [row for row in json.loads(path.read_text()) if "error" not in row] if path.exists() else []


def span(value: float, interval: list[float]) -> str:
    return f"{value:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"


def difference(row: Row, other: Row, cohort: str) -> str:
    """AUC of one network less that of another on the same patients, with the bootstrap interval over patients."""
    targets = np.eye(4)[row[cohort]["labels"]]
    pair = [np.asarray(each[cohort]["probabilities"]) for each in (row, other)]
    generator = np.random.default_rng(0)
    draws = [generator.integers(0, len(targets), len(targets)) for _ in range(NUM_BOOTSTRAP)]
    values = [np.subtract(*(macro_auc(each[at], targets[at]) for each in pair)) for at in draws]
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{np.subtract(*(macro_auc(each, targets) for each in pair)):+.3f} ({low:+.3f} to {high:+.3f})"


def main_table(rows: list[Row]) -> list[str]:
    """Every network on unseen scanners; seconds are of the whole cross-fitting."""
    heads = (
        "network", "patients, preset", "macro AUC, unseen (95 %)", "less quantitative CT, paired", "out of fold",
        "image branch alone", "accuracy", "macro F1", "ECE (if calibrated)", "set coverage", "set size", "answered",
        "accuracy when answered", "weight of image, QCT", "weights", "s",
    )  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    alone = {
        (row["job"]["cohort"], row["num_training"]): row for row in rows if row["job"]["network"] == "quantitative_only"
    }
    for row in sorted(rows, key=lambda row: (row["job"]["cohort"], -row[row["job"]["tests"][0]]["auc"])):
        job, name = row["job"], row["job"]["tests"][0]
        found, answered = row[name], row[name]["accuracy_answered"]
        baseline = alone.get((job["cohort"], row["num_training"]))
        cells = (
            job["label"] or job["network"],
            f"{row['num_training']}, {job['cohort']}",
            span(found["auc"], found["auc_interval"]),
            "-" if baseline in (None, row) else difference(row, baseline, name),
            f"{row['out_of_fold']['auc']:.3f}",
            "-" if job["network"] == "quantitative_only" else f"{found['branches'][0]:.3f}",
            f"{found['accuracy']:.2f}",
            f"{found['f1']:.2f}",
            f"{found['ece']:.3f} ({found['ece_if_calibrated']:.3f})",
            f"{found['coverage']:.2f}",
            f"{found['set_size']:.2f}",
            f"{found['answered']:.2f}",
            "-" if answered is None else f"{answered:.2f}",
            ", ".join(f"{weight:.2f}" for weight in row["branch_weights"]),
            f"{row['weights']:,}",
            f"{row['seconds']:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def curve_table(rows: list[Row]) -> list[str]:
    lines = ["| training patients | network | macro AUC (95 %) | ECE | set coverage |", "|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (row["num_training"], row["job"]["network"])):
        found = row["realistic_unseen"]
        lines.append(
            f"| {row['num_training']} | {row['job']['network']} | {span(found['auc'], found['auc_interval'])} "
            f"| {found['ece']:.3f} | {found['coverage']:.2f} |"
        )
    return lines


def cell_table(rows: list[Row]) -> list[str]:
    cells = [row for row in rows if row["job"]["label"].startswith("cells")]
    names = cells[0]["job"]["tests"] if cells else []
    lines = ["| network | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in cells:
        lines.append(f"| {row['job']['network']} | " + " | ".join(f"{row[name]['auc']:.3f}" for name in names) + " |")
    return lines


def outside_table(rows: list[Row]) -> list[str]:
    lines = [
        "| scans | number | AUC of the score against unseen scans of the disease | refused by the score |",
        "|---" * 4 + "|",
    ]
    for row in rows:
        for name, found in row.get("outside", {}).items():
            if name == "inside":
                lines.append(f"| unseen scans of the disease | - | - | {found['far']:.2f} |")
            elif name != "limit":
                lines.append(f"| {name} | {found['num']} | {found['auc']:.3f} | {found['far']:.2f} |")
    return lines


def main(folder: Path) -> None:
    compare, curve, checks = (load(folder, section) for section in ("compare", "curve", "checks"))
    extra = [row for row in checks if row["job"]["label"] in ("mirror average", "two repeats", "elsewhere")]
    tables = {
        "Networks": main_table([*compare, *extra]),
        "Learning curve": curve_table([*curve, *(row for row in compare if row["job"]["cohort"] == "realistic")]),
        "Thickness and kernel": cell_table(checks),
        "Scans from elsewhere": outside_table(checks),
    }
    for title, lines in tables.items():
        print(f"\n## {title}\n")
        print("\n".join(lines))
    for row in checks:
        for caution in row.get("cautions", []):
            print(f"\n{row['name']}: {caution['code']}: {caution['message']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
