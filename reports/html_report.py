"""``report.html``: one page that needs nothing but itself. It lays out numbers that are worked out elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from domain.records import CaseResult, CaseStatus, is_synthetic
from domain.whole_files import write_whole
from reports.case_view import (
    STATUS_LABELS,
    CaseView,
    covariate_name,
    covariate_text,
    horizon_nearest,
    percent,
    short_pattern_name,
    survival_text,
    view_of,
)
from reports.embedded_pictures import data_uri
from reports.survival_plot import horizon_label

MAX_CASES_IN_FULL = 200  # cases with a part of their own: about 100 KB each with pictures
MAX_TABLE_ROWS = 5_000  # rows a browser still sorts at once; the tables beside the page hold all
TABLE_HORIZON_DAYS = 365.0


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line of the table of cases."""

    view: CaseView
    survival: str
    survival_share: float
    risk_group: str
    positives: str
    codes: str
    seconds: float | None
    has_part: bool


@dataclass(slots=True)
class _Page:
    """What has been gathered of the results so far."""

    rows: list[TableRow] = field(default_factory=list)
    cases: list[tuple[CaseView, list[tuple[str, str]]]] = field(default_factory=list)
    counts: Counter[CaseStatus] = field(default_factory=Counter)
    patterns: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    trained_on: set[str] = field(default_factory=set)
    horizon: str = ""
    num_results: int = 0


def write(results: Iterable[CaseResult], run_facts: Mapping[str, object], path: Path, pictures_dir: Path) -> None:
    """Write the page.

    Args:
        results: In the order of the page; one is needed at a time.
        run_facts: Name -> value, printed in this order; nothing identifying may be among them. A nested mapping
            becomes a table of its own (``settings``, ``seconds per stage``).
        path: Where to.
        pictures_dir: Where the pictures of ``CaseResult.pictures`` are.
    """
    page = _gather(results, pictures_dir)
    template = _environment().get_template("report.html.j2")
    text = template.render(
        page=page,
        status_tiles=_status_tiles(page),
        facts={name: value for name, value in run_facts.items() if not isinstance(value, Mapping)},
        fact_groups={name: value for name, value in run_facts.items() if isinstance(value, Mapping)},
        is_synthetic=any(is_synthetic(text) for text in page.trained_on),
        trained_on=", ".join(sorted(page.trained_on)),
        median_seconds=median(page.seconds) if page.seconds else None,
    )
    write_whole(path, text)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"percent": percent, "horizon": horizon_label, "short_pattern": short_pattern_name}
    environment.filters.update(filters)
    environment.globals.update(covariate_name=covariate_name, covariate_text=covariate_text)
    return environment


def _gather(results: Iterable[CaseResult], pictures_dir: Path) -> _Page:
    page = _Page()
    for result in results:
        page.num_results += 1
        page.counts[result.status] += 1
        if result.trained_on:
            page.trained_on.add(result.trained_on)
        if "total" in result.seconds:
            page.seconds.append(result.seconds["total"])
        answer = result.prediction.pattern
        if answer and answer.pattern and not answer.abstained:
            page.patterns[answer.pattern.value] += 1
        if page.num_results <= MAX_TABLE_ROWS:
            _add_case(page, result, pictures_dir)
    return page


def _add_case(page: _Page, result: CaseResult, pictures_dir: Path) -> None:
    view = view_of(result)
    has_part = len(page.cases) < MAX_CASES_IN_FULL
    page.rows.append(_table_row(page, view, has_part=has_part))
    if has_part:
        page.cases.append((view, _embedded(result, pictures_dir)))


def _table_row(page: _Page, view: CaseView, *, has_part: bool) -> TableRow:
    result = view.result
    prognosis = result.prediction.prognoses[0] if result.prediction.prognoses else None
    risk = horizon_nearest(prognosis.horizons, TABLE_HORIZON_DAYS) if prognosis else None
    if risk:
        page.horizon = horizon_label(risk.days)
    codes = dict.fromkeys(finding.code.value for finding in result.prediction.findings)
    failure = [result.failure_code.value] if result.failure_code else []
    return TableRow(
        view=view,
        survival=survival_text(risk) if prognosis else "",
        survival_share=risk.survival if risk and risk.survival is not None else -1.0,
        risk_group=(prognosis.risk_group or "") if prognosis else "",
        positives=", ".join(chip.name for chip in view.antibodies if chip.status == "positive"),
        codes=", ".join([*failure, *codes]),
        seconds=result.seconds.get("total"),
        has_part=has_part,
    )


def _embedded(result: CaseResult, pictures_dir: Path) -> list[tuple[str, str]]:
    """Pictures of one case as (address, caption); a missing file is left out, the ledger will have it made again."""
    found = []
    for name, caption in result.pictures.items():
        if (pictures_dir / name).is_file():
            found.append((data_uri(pictures_dir / name), caption))
    return found


def _status_tiles(page: _Page) -> list[tuple[str, str, int]]:
    return [(status.value, STATUS_LABELS[status], page.counts.get(status, 0)) for status in CaseStatus]
