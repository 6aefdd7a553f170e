"""One self-contained page about an evaluation, with evaluation.json and metrics.csv beside it. Computes nothing."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from domain.evaluation_result import EVERYONE, MODEL, PATTERN, Difference, EvaluationResult, Metric
from reports import evaluation_plots as plots
from reports.evaluation_words import GROUPS, METRIC_NAMES, headline, metric_name, subgroup_name

JSON_NAME, CSV_NAME = "evaluation.json", "metrics.csv"
CSV_COLUMNS = ("target", "metric", "model", "subgroup", "horizon_days", "value", "lo", "hi", "n", "events", "note")
SUBGROUP_METRICS = {
    "accuracy": "Accuracy",
    "auc_macro": "Pattern AUC",
    "uno_c": "Uno's C",
    "observed_over_expected": "Observed / expected",
    "ici": "ICI",
}


def write(result: EvaluationResult, path: Path) -> None:
    """Write the page, and ``evaluation.json`` and ``metrics.csv`` in the same folder.

    Args:
        result: What ``evaluation.evaluate`` returned.
        path: The HTML file; its folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(path.parent / JSON_NAME, result.model_dump_json(indent=1))
    _write_whole(path.parent / CSV_NAME, metrics_csv(result))
    _write_whole(path, render(result))


def metrics_csv(result: EvaluationResult) -> str:
    """All metrics and paired differences as one flat table; differences have metric ``difference:<name>``."""
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, fieldnames=[*CSV_COLUMNS, "label"], lineterminator="\n")
    table.writeheader()
    label = plots.SYNTHETIC_MARK if result.is_synthetic else ""
    for metric in result.metrics:
        table.writerow(metric.model_dump(include=set(CSV_COLUMNS)) | {"label": label})
    for row in result.differences:
        values = row.model_dump(include=set(CSV_COLUMNS))
        place = {"metric": f"difference:{row.metric}", "model": f"{MODEL} - {row.comparator}", "subgroup": EVERYONE}
        table.writerow(values | place | {"label": label})
    return buffer.getvalue()


def render(result: EvaluationResult) -> str:
    """The page as text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        number=number, interval=interval, name=metric_name, subgroup=subgroup_name, verdict=verdict
    )
    template = environment.from_string((files("reports") / "templates" / "evaluation.html.j2").read_text("utf-8"))
    return template.render(
        result=result,
        headline=headline(result),
        pictures=_pictures(result),
        groups=_metric_groups(result),
        comparison=_comparison_rows(result, "event_free", ("uno_c", "auc_at", "ibs")),
        pattern_comparison=_comparison_rows(result, PATTERN, ("auc_macro", "accuracy", "brier")),
        difficulty=[row for row in result.metrics if row.model == "best_single_quantity"],
        subgroups=_subgroup_rows(result),
        subgroup_metrics=SUBGROUP_METRICS,
        pattern=PATTERN,
        metric_names=METRIC_NAMES,
    )


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(row: Metric | Difference | None, digits: int = 3) -> str:
    """Value with limits, or the reason there is none."""
    if row is None or row.value is None:
        return (row.note if row is not None and row.note.strip() else "n/a") if row is not None else "-"
    if row.lo is None or row.hi is None:
        return number(row.value, digits)
    return f"{row.value:.{digits}f} ({row.lo:.{digits}f} to {row.hi:.{digits}f})"


def verdict(row: Difference | None) -> str:
    """CSS class of a difference: ``better`` or ``worse`` when its interval leaves out 0."""
    if row is None or row.lo is None or row.hi is None or row.lo <= 0 <= row.hi:
        return ""
    return "better" if (row.lo > 0) == (row.better_when == "higher") else "worse"


def _pictures(result: EvaluationResult) -> dict[str, str]:
    kinds = {curve.kind for curve in result.curves}
    wanted: dict[str, tuple[bool, Callable[[], str]]] = {
        "reliability": (bool(result.reliability), lambda: plots.reliability(result)),
        "confusion": (result.confusion is not None, lambda: plots.confusion(result)),
        "coverage_accuracy": ("coverage_accuracy" in kinds, lambda: plots.coverage_accuracy(result)),
        "risk_groups": ("risk_group_observed" in kinds, lambda: plots.risk_groups(result)),
        "calibration": (_has_calibration(result, EVERYONE), lambda: plots.calibration(result)),
        "decision": ("net_benefit" in kinds, lambda: plots.decision(result)),
        "by_site": (
            any(
                row.subgroup.startswith("site=") and row.metric in plots.SITE_METRICS and row.value is not None
                for row in result.metrics
            ),
            lambda: plots.by_site(result),
        ),
        "differences": (
            any(row.metric == "uno_c" and row.value is not None for row in result.differences),
            lambda: plots.differences(result, "uno_c"),
        ),
    }
    pictures = {name: draw() for name, (is_there, draw) in wanted.items() if is_there}
    for subgroup in dict.fromkeys(point.subgroup for point in result.calibration if point.subgroup != EVERYONE):
        pictures[f"calibration:{subgroup}"] = plots.calibration(result, subgroup)
    return pictures


def _has_calibration(result: EvaluationResult, subgroup: str) -> bool:
    return any(point.subgroup == subgroup for point in result.calibration)


def _metric_groups(result: EvaluationResult) -> list[tuple[str, list[Metric]]]:
    """Metrics of the whole cohort under headings, in the order of ``GROUPS``."""
    rows = [row for row in result.metrics if row.subgroup == EVERYONE and row.model in {MODEL, "readers"}]
    targets = list(dict.fromkeys(row.target for row in rows))
    groups = []
    for target in targets:
        for title, names in GROUPS:
            chosen = [row for row in rows if row.target == target and row.metric in names]
            if chosen:
                groups.append((f"{target}: {title}", chosen))
    return groups


def _comparison_rows(result: EvaluationResult, target: str, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Per comparator of a target: the leading metric's row, and the differences in the order of ``metrics``."""
    of_target = {row.model for row in result.metrics if row.target == target}
    found = {(row.comparator, row.metric): row for row in result.differences if row.target == target}
    rows = []
    for comparator in result.comparators:
        if comparator.key in of_target:
            chosen = [found.get((comparator.key, name)) for name in metrics]
            rows.append({"comparator": comparator, "lead": chosen[0], "differences": chosen})
    return rows


def _subgroup_rows(result: EvaluationResult) -> list[tuple[str, int, list[Metric | None]]]:
    names = list(dict.fromkeys(row.subgroup for row in result.metrics if row.subgroup != EVERYONE))
    rows = []
    for name in names:
        of_it = [row for row in result.metrics if row.subgroup == name and row.model == MODEL]
        size = max(row.n for row in of_it)
        rows.append((name, size, [_pick(of_it, metric) for metric in SUBGROUP_METRICS]))
    return rows


def _pick(rows: Sequence[Metric], metric: str) -> Metric | None:
    """The metric, at the horizon nearest one year where it has one."""
    chosen = [row for row in rows if row.metric == metric and row.target in {PATTERN, "event_free"}]
    return min(chosen, key=lambda row: abs((row.horizon_days or 365.0) - 365.0), default=None)


def _write_whole(path: Path, text: str) -> None:
    """Write under a temporary name, sync, rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    Path(temporary).replace(path)
    path.chmod(0o644)
