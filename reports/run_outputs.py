"""All files of a run beside its results: tables, page, manifest."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from domain.records import CaseResult
from domain.whole_files import write_whole
from reports import csv_table, failures_table, html_report, parquet_table


def write(
    results: Iterable[CaseResult],
    facts: Mapping[str, object],
    formats: Collection[str],
    out: Path,
    pictures_dir: Path,
) -> None:
    """Write what was asked for; ``failures.csv`` and ``run.json`` always.

    Args:
        results: In the order of the rows; iterated once per file.
        facts: Of the run; nothing identifying.
        formats: Among ``csv``, ``parquet``, ``html``.
        out: Where to.
        pictures_dir: Where the pictures of the cases are.
    """
    if "csv" in formats:
        csv_table.write(results, out / "predictions.csv")
    if "parquet" in formats:
        parquet_table.write(results, out / "predictions.parquet")
    if "html" in formats:
        html_report.write(results, facts, out / "report.html", pictures_dir)
    failures_table.write(results, out / "failures.csv")
    write_whole(out / "run.json", json.dumps(facts, indent=1) + "\n")
