from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

from example_results import prognosis

from domain.records import PrognosisPrediction
from reports.survival_plot import horizon_label, incidence_plot, survival_legend, survival_plot


def points(svg: str, css: str) -> list[tuple[float, float]]:
    text = re.search(rf'class="{css}" points="([^"]*)"', svg)
    assert text is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.group(1).split())]


def test_the_curve_starts_at_the_top_and_never_rises() -> None:
    curve = points(survival_plot(prognosis()), "curve")
    assert curve[0] == (46.0, 10.0)
    assert all(later[1] >= earlier[1] for earlier, later in itertools.pairwise(curve))


def test_plots_are_well_formed_and_named() -> None:
    for svg in (survival_plot(prognosis()), incidence_plot(prognosis())):
        assert ElementTree.fromstring(svg).attrib["aria-label"]


def test_stacked_causes_end_where_survival_is() -> None:
    answer = prognosis()
    survival_end = points(survival_plot(answer), "curve")[-1][1]
    areas = re.findall(r'class="cause cause-\d" points="([^"]*)"', incidence_plot(answer))
    top = min(float(pair.split(",")[1]) for pair in areas[-1].split())
    assert abs((survival_end - 10) - (230 - top)) < 0.3


def test_a_prognosis_without_a_curve_has_no_plot() -> None:
    bare = prognosis().model_copy(update={"curve": ()})
    assert survival_plot(bare) == incidence_plot(bare) == ""


def test_an_unsupported_end_of_the_curve_is_left_out() -> None:
    answer = prognosis()
    cut = tuple(
        r if r.days < 400 else r.model_copy(update={"survival": None, "survival_lo": None}) for r in answer.curve
    )
    short = PrognosisPrediction(**{**dict(answer), "curve": cut})
    assert len(points(survival_plot(short), "curve")) < len(points(survival_plot(answer), "curve"))


def test_the_legend_states_level_and_measured_coverage() -> None:
    assert any(
        "90% band, measured coverage 88% on synthetic cohorts" in entry.label for entry in survival_legend(prognosis())
    )


def test_horizons_are_told_in_months() -> None:
    assert [horizon_label(days) for days in (30, 180, 365, 1096, 1826)] == [
        "1 month", "6 months", "12 months", "36 months", "60 months",
    ]  # fmt: skip
