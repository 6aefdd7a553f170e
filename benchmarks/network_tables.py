"""The JSON files of `network.py` as Markdown tables.

python benchmarks/network_tables.py OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def load(folder: Path, section: str) -> list[Row]:
    path = folder / f"{section}.json"
    return [row for row in json.loads(path.read_text()) if "error" not in row] if path.exists() else []


def span(value: float, interval: list[float]) -> str:
    return f"{value:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"


def main_table(rows: list[Row]) -> list[str]:
    lines = [
        "| network | preset | macro AUC (95 %) | accuracy | macro F1 | ECE (of a calibrated model) | set coverage "
        "| set size | answered | accuracy when answered | weight of image, QCT | weights | GPU s |",
        "|---" * 13 + "|",
    ]
    for row in sorted(rows, key=lambda row: (row["job"]["cohort"], -row[row["job"]["tests"][0]]["auc"])):
        job, found = row["job"], row[row["job"]["tests"][0]]
        branches = ", ".join(f"{weight:.2f}" for weight in row["branch_weights"])
        answered = found["accuracy_answered"]
        lines.append(
            f"| {job['label'] or job['network']} | {job['cohort']} | {span(found['auc'], found['auc_interval'])} "
            f"| {found['accuracy']:.2f} | {found['f1']:.2f} | {found['ece']:.3f} ({found['ece_if_calibrated']:.3f}) "
            f"| {found['coverage']:.2f} | {found['set_size']:.2f} | {found['answered']:.2f} "
            f"| {answered if answered is None else round(answered, 2)} | {branches} | {row['weights']:,} "
            f"| {row['seconds']:.0f} |"
        )
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


def tune_table(rows: list[Row]) -> list[str]:
    lines = ["| settings | out of fold | branches alone | weights | unseen | loss |", "|---" * 6 + "|"]
    for row in sorted(rows, key=lambda row: -row["out_of_fold"]["auc"]):
        unseen = row["realistic_unseen"]["auc"]
        lines.append(
            f"| {row['job']['label']} | {row['out_of_fold']['auc']:.3f} ece {row['out_of_fold']['ece']:.3f} "
            f"| {[round(v, 3) for v in row['branches_out_of_fold']]} | {[round(v, 2) for v in row['branch_weights']]} "
            f"| {unseen:.3f} | {[round(v, 2) for v in row['last_loss']]} | {row['seconds']:.0f} s |"
        )
    return lines


def main(folder: Path) -> None:
    compare, curve, checks = (load(folder, section) for section in ("compare", "curve", "checks"))
    extra = [row for row in checks if row["job"]["label"] in ("mirror average", "two repeats", "elsewhere")]
    tables = {
        "Tuning": tune_table(load(folder, "tune")),
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
