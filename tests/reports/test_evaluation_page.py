from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from domain.evaluation_result import (
    CalibrationPoint,
    Caution,
    CohortSummary,
    Comparator,
    ConfusionMatrix,
    Curve,
    CurvePoint,
    Difference,
    EvaluationResult,
    Metric,
    ReliabilityBin,
)
from reports import evaluation_page, evaluation_plots
from reports.evaluation_words import headline


def small_result(**changes: object) -> EvaluationResult:
    points = tuple(CurvePoint(x=x, y=1 - x / 900, lo=0.9 - x / 900, hi=1.0) for x in (0.0, 200.0, 400.0))
    values: dict[str, object] = {
        "endpoint": "course",
        "endpoint_title": "Course of the lung disease",
        "survival_means": "alive without progression",
        "trained_on": "synthetic patients",
        "is_synthetic": True,
        "level": 0.95,
        "num_bootstrap": 50,
        "cohort": CohortSummary(
            num_cases=60,
            num_predicted=60,
            num_abstained=2,
            num_missing=1,
            num_labelled=60,
            num_with_outcome=58,
            num_patients=60,
            num_sites=2,
            events={"death": 20},
            median_follow_up_days=812.0,
        ),
        "metrics": (
            Metric(target="pattern", metric="accuracy", value=0.8, lo=0.7, hi=0.9, n=60),
            Metric(target="pattern", metric="accuracy_of_most_frequent", value=0.4, lo=0.3, hi=0.5, n=60),
            Metric(target="event_free", metric="uno_c", value=0.71, lo=0.6, hi=0.8, n=58, events=20),
            Metric(
                target="event_free",
                metric="uno_c",
                value=None,
                n=4,
                events=1,
                subgroup="site=<b>x</b>",
                note="n/a (1 events)",
            ),
            Metric(target="event_free", metric="uno_c", model="antibody_class", value=0.58, n=58, events=20),
        ),
        "differences": (
            Difference(
                target="event_free",
                metric="uno_c",
                comparator="antibody_class",
                better_when="higher",
                model_value=0.71,
                comparator_value=0.58,
                value=0.13,
                lo=0.02,
                hi=0.24,
                n=58,
                events=20,
            ),
        ),
        "comparators": (
            Comparator(
                key="antibody_class", title="Kaplan-Meier per antibody class", how_fitted="out of fold", num_cases=58
            ),
        ),
        "reliability": (ReliabilityBin(pattern="nsip", predicted=0.2, observed=0.25, lo=0.1, hi=0.4, n=30),),
        "confusion": ConfusionMatrix(labels=("nsip", "op", "abstained"), counts=((20.0, 5.0, 1.0), (4.5, 28.5, 1.0))),
        "curves": (
            Curve(kind="risk_group_observed", name="low", points=points, n=30, events=5),
            Curve(kind="risk_group_predicted", name="low", points=points, n=30, events=5),
            Curve(kind="net_benefit", name="model", points=points, n=58, events=20, horizon_days=365.0),
            Curve(kind="coverage_accuracy", name="model", points=points, n=60),
        ),
        "calibration": (
            CalibrationPoint(
                target="event_free", horizon_days=365.0, predicted=0.2, observed=0.25, lo=0.1, hi=0.4, n=15, events=4
            ),
        ),
        "cautions": (Caution(code="few_events", message="Only 20 events."),),
        "methods": ("Intervals: bootstrap.",),
    }
    return EvaluationResult(**(values | changes))  # type: ignore[arg-type]


class Outline(HTMLParser):
    """Collects addresses and checks that tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open_tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "img", "br", "link", "hr"}:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    return evaluation_page.render(small_result())


def test_the_page_stands_alone_and_its_tags_close(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert outline.open_tags == []
    assert outline.addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in outline.addresses)


def test_synthetic_patients_are_labelled_on_page_and_in_every_row_and_others_are_not(page: str) -> None:
    synthetic, real = small_result(), small_result(is_synthetic=False, trained_on="cohort A")
    assert "Synthetic patients" in page
    assert "Synthetic patients" not in evaluation_page.render(real)
    for result, label in ((synthetic, "synthetic patients"), (real, "")):
        rows = list(csv.DictReader(io.StringIO(evaluation_page.metrics_csv(result))))
        assert {row["label"] for row in rows} == {label}


def test_the_three_files_are_written_whole_and_agree(tmp_path: Path) -> None:
    result = small_result()
    evaluation_page.write(result, tmp_path / "out" / "report.html")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "evaluation.json",
        "metrics.csv",
        "report.html",
    ]
    assert EvaluationResult.model_validate(json.loads((tmp_path / "out" / "evaluation.json").read_text())) == result
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "metrics.csv").read_text())))
    assert len(rows) == len(result.metrics) + len(result.differences)
    found = next(row for row in rows if row["metric"] == "difference:uno_c")
    assert (found["model"], float(found["value"])) == ("model - antibody_class", 0.13)


def test_words_from_tables_are_escaped(page: str) -> None:
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page


def test_a_missing_figure_shows_its_reason(page: str) -> None:
    assert "n/a (1 events)" in page


def test_the_verdict_on_antibody_class_follows_the_interval() -> None:
    difference = small_result().differences[0]
    for limits, words in (
        ({"lo": 0.02, "hi": 0.2}, "ranks better than"),
        ({"lo": -0.02, "hi": 0.2}, "not distinguishable from"),
        ({"lo": -0.2, "hi": -0.1}, "ranks worse than"),
    ):
        found = headline(small_result(differences=(difference.model_copy(update=limits),)))
        sentence = next(sentence for title, _, sentence in found if title == "Gain over antibody class")
        assert f"{words} antibody class alone" in sentence


@pytest.mark.parametrize(
    ("better_when", "lo", "hi", "expected"),
    [
        ("higher", 0.1, 0.2, "better"),
        ("higher", -0.2, -0.1, "worse"),
        ("lower", -0.2, -0.1, "better"),
        ("lower", -0.1, 0.1, ""),
    ],
)
def test_colours_follow_the_sign_that_speaks_for_the_model(
    better_when: str, lo: float, hi: float, expected: str
) -> None:
    row = small_result().differences[0].model_copy(update={"better_when": better_when, "lo": lo, "hi": hi})
    assert evaluation_page.verdict(row) == expected


@pytest.mark.parametrize("site", ["B$_$", "東京大学病院", "A&B <north>"])
def test_pictures_show_names_of_sites_as_they_stand_in_the_table(site: str) -> None:
    row = Metric(target="event_free", metric="uno_c", value=0.7, n=58, events=20, subgroup=f"site={site}")
    address = evaluation_plots.by_site(small_result(metrics=(row,)))
    picture = base64.b64decode(address.partition(",")[2]).decode()
    assert site in "".join(ElementTree.fromstring(picture).itertext())


def test_words_of_an_endpoint_are_no_formula() -> None:
    address = evaluation_plots.risk_groups(small_result(survival_means="costs $_$ less"))
    assert "costs $_$ less" in base64.b64decode(address.partition(",")[2]).decode()


def test_an_empty_evaluation_still_makes_a_page() -> None:
    empty = small_result(
        metrics=(),
        differences=(),
        comparators=(),
        reliability=(),
        confusion=None,
        curves=(),
        calibration=(),
        cautions=(),
    )
    page = evaluation_page.render(empty)
    assert "n/a: too few labelled cases." in page
    assert not re.search(r"\bNone\b", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
