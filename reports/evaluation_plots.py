"""Pictures of an evaluation as self-contained SVG data addresses. Numbers come in ready-made; nothing is computed."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from domain.evaluation_result import EVERYONE, CalibrationPoint, Curve, Difference, EvaluationResult, ReliabilityBin

INK, QUIET, RULE = "#1f2933", "#7b8794", "#cbd2d9"
GROUP_COLOURS = ("#2a9d8f", "#e9a23b", "#c8443f", "#5b6abf", "#7b8794")
MODEL_COLOUR, ALL_COLOUR = "#2b5fa8", "#c8443f"
DAYS_PER_MONTH = 30.4375
SYNTHETIC_MARK = "synthetic patients"
SITE_METRICS = ("accuracy", "uno_c")
METRIC_LABELS = {"uno_c": "Uno's C"}


def as_data_address(figure: Figure) -> str:
    """The figure as an SVG that can stand in an ``img`` tag without a file beside it.

    Text stays text, as it stands in the tables, and is drawn with the fonts of the reader's browser: a name may hold a
    dollar sign, or letters our font lacks.
    """
    buffer = io.BytesIO()
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # made before; the setting below is for those made while drawing
    with rc_context({"text.parse_math": False, "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # only its width is guessed
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _figure(
    columns: int, *, width: float = 3.1, height: float = 3.0, is_synthetic: bool = False
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    axes = [figure.add_subplot(1, columns, place + 1) for place in range(columns)]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(QUIET)
        one.tick_params(colors=QUIET, labelsize=8)
    if is_synthetic:
        figure.text(0.995, 0.995, SYNTHETIC_MARK, ha="right", va="top", fontsize=7, color="#b3541e")
    return figure, axes


def _caption(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel(x, fontsize=8, color=INK)
    axes.set_ylabel(y, fontsize=8, color=INK)


def _error_bars(axes: Axes, point: ReliabilityBin | CalibrationPoint, colour: str) -> None:
    if point.lo is not None and point.hi is not None:
        axes.plot([point.predicted] * 2, [point.lo, point.hi], color=colour, linewidth=1, alpha=0.5)


def reliability(result: EvaluationResult) -> str:
    """Predicted probability against observed share, one panel per pattern."""
    patterns = list(dict.fromkeys(one.pattern for one in result.reliability))
    figure, panels = _figure(len(patterns), width=2.5, height=2.6, is_synthetic=result.is_synthetic)
    for axes, pattern in zip(panels, patterns, strict=True):
        bins = [one for one in result.reliability if one.pattern == pattern]
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1, zorder=0)
        for one in bins:
            _error_bars(axes, one, MODEL_COLOUR)
        axes.plot([one.predicted for one in bins], [one.observed for one in bins], "o-", color=MODEL_COLOUR, ms=4, lw=1)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        _caption(axes, pattern.upper() if pattern in {"nsip", "op"} else pattern, "predicted", "observed")
    return as_data_address(figure)


def confusion(result: EvaluationResult) -> str:
    """Reference label against answer, shaded by the share of the row."""
    matrix = result.confusion
    assert matrix is not None  # the page asks first
    figure, (axes,) = _figure(1, width=3.9, height=3.0, is_synthetic=result.is_synthetic)
    shares = [[cell / max(sum(row), 1e-9) for cell in row] for row in matrix.counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
    for i, row in enumerate(matrix.counts):
        for j, cell in enumerate(row):
            text = f"{cell:.0f}" if abs(cell - round(cell)) < 1e-9 else f"{cell:.1f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=9, color="white" if shares[i][j] > 0.6 else INK)
    axes.set_xticks(range(len(matrix.labels)), matrix.labels, fontsize=8)
    axes.set_yticks(range(len(matrix.counts)), matrix.labels[: len(matrix.counts)], fontsize=8)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    _caption(axes, "Reference (rows) against answer", "answer", "reference")
    return as_data_address(figure)


def coverage_accuracy(result: EvaluationResult) -> str:
    """Accuracy when only the most confident share of cases is answered."""
    curve = _curves(result, "coverage_accuracy")[0]
    figure, (axes,) = _figure(1, width=3.6, is_synthetic=result.is_synthetic)
    _band(axes, curve, MODEL_COLOUR, "")
    axes.set(xlim=(0.28, 1.02), ylim=(0, 1.03))
    _caption(axes, "Answering only when sure", "share of cases answered", "accuracy")
    return as_data_address(figure)


def risk_groups(result: EvaluationResult) -> str:
    """Observed event-free probability per predicted risk group, with the mean prediction dashed."""
    figure, (axes,) = _figure(1, width=4.8, height=3.3, is_synthetic=result.is_synthetic)
    predicted = {curve.name: curve for curve in _curves(result, "risk_group_predicted")}
    for curve, colour in zip(_curves(result, "risk_group_observed"), GROUP_COLOURS, strict=False):
        months = [point.x / DAYS_PER_MONTH for point in curve.points]
        label = f"{curve.name}: {curve.n} cases, {curve.events} events"
        axes.step(months, [point.y for point in curve.points], where="post", color=colour, lw=1.6, label=label)
        limits = [
            (point.lo if point.lo is not None else point.y, point.hi if point.hi is not None else point.y)
            for point in curve.points
        ]
        axes.fill_between(
            months, [lo for lo, _ in limits], [hi for _, hi in limits], step="post", color=colour, alpha=0.13, lw=0
        )
        dashed = predicted[curve.name].points
        axes.plot(
            [point.x / DAYS_PER_MONTH for point in dashed], [point.y for point in dashed], "--", color=colour, lw=1
        )
    axes.set(ylim=(0, 1.03), xlim=(0, None))
    axes.legend(fontsize=7, frameon=False, loc="upper right")
    _caption(axes, "Risk groups: observed, and predicted (dashed)", "months from index CT", result.survival_means)
    return as_data_address(figure)


def calibration(result: EvaluationResult, subgroup: str = EVERYONE) -> str:
    """Quarters of predicted risk against observed incidence, one panel per horizon."""
    points = [point for point in result.calibration if point.subgroup == subgroup]
    horizons = sorted({point.horizon_days for point in points})
    figure, panels = _figure(len(horizons), width=2.3, height=2.5, is_synthetic=result.is_synthetic)
    for axes, horizon in zip(panels, horizons, strict=True):
        here = [point for point in points if point.horizon_days == horizon and point.observed is not None]
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1, zorder=0)
        for point in here:
            _error_bars(axes, point, MODEL_COLOUR)
        axes.plot(
            [point.predicted for point in here],
            [point.observed or 0.0 for point in here],
            "o",
            color=MODEL_COLOUR,
            ms=4,
        )
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        _caption(axes, f"{horizon:g} days", "predicted risk", "observed")
    return as_data_address(figure)


def decision(result: EvaluationResult) -> str:
    """Net benefit against threshold, one panel per horizon."""
    curves = _curves(result, "net_benefit")
    horizons = sorted({curve.horizon_days or 0.0 for curve in curves})
    figure, panels = _figure(len(horizons), width=2.6, height=3.3, is_synthetic=result.is_synthetic)
    for axes, horizon in zip(panels, horizons, strict=True):
        for curve in (one for one in curves if one.horizon_days == horizon):
            is_model = curve.name == "model"
            _band(axes, curve, MODEL_COLOUR if is_model else ALL_COLOUR, "model" if is_model else "act on all")
        axes.axhline(0, color=QUIET, lw=1, label="act on none")
        axes.legend(fontsize=7, frameon=False)
        _caption(axes, f"{horizon:g} days", "risk threshold", "net benefit")
    return as_data_address(figure)


def differences(result: EvaluationResult, metric: str, horizon_days: float | None = None) -> str:
    """Paired differences to every comparator with intervals."""
    titles = {one.key: one.title for one in result.comparators}
    rows = [row for row in result.differences if _is_shown(row, metric, horizon_days)]
    figure, (axes,) = _figure(1, width=6.4, height=0.5 + 0.32 * max(len(rows), 1), is_synthetic=result.is_synthetic)
    for place, row in enumerate(reversed(rows)):
        value = row.value or 0.0
        is_clear = row.lo is not None and row.hi is not None and (row.lo > 0 or row.hi < 0)
        colour = MODEL_COLOUR if is_clear else QUIET
        if row.lo is not None and row.hi is not None:
            axes.plot([row.lo, row.hi], [place, place], color=colour, lw=1.6)
        axes.plot([value], [place], "s", color=colour, ms=5)
    axes.axvline(0, color=QUIET, lw=1)
    axes.set_yticks(
        range(len(rows)), [titles.get(row.comparator, row.comparator) for row in reversed(rows)], fontsize=8
    )
    _caption(axes, "", f"difference in {METRIC_LABELS.get(metric, metric)}, model minus comparator", "")
    return as_data_address(figure)


def by_site(result: EvaluationResult) -> str:
    """Accuracy and Uno's C of each site with intervals; the dashed line is the whole cohort."""
    sites = list(dict.fromkeys(row.subgroup for row in result.metrics if row.subgroup.startswith("site=")))
    height = 0.9 + 0.26 * max(len(sites), 1)
    figure, panels = _figure(2, width=3.6, height=height, is_synthetic=result.is_synthetic)
    for axes, metric in zip(panels, SITE_METRICS, strict=True):
        for place, site in enumerate(reversed(sites)):
            row = result.find(metric, subgroup=site)
            if row is None or row.value is None:
                axes.text(
                    0.02, place, "n/a", fontsize=7, color=QUIET, va="center", transform=axes.get_yaxis_transform()
                )
                continue
            if row.lo is not None and row.hi is not None:
                axes.plot([row.lo, row.hi], [place, place], color=MODEL_COLOUR, lw=1.4)
            axes.plot([row.value], [place], "s", color=MODEL_COLOUR, ms=4)
        everyone = result.find(metric)
        if everyone is not None and everyone.value is not None:
            axes.axvline(everyone.value, color=QUIET, lw=1, ls="--")
        axes.set(xlim=(0, 1.02), ylim=(-0.6, len(sites) - 0.4))
        axes.set_yticks(range(len(sites)), [site.removeprefix("site=") for site in reversed(sites)], fontsize=8)
        _caption(axes, METRIC_LABELS.get(metric, metric), "", "")
    return as_data_address(figure)


def _is_shown(row: Difference, metric: str, horizon_days: float | None) -> bool:
    return row.metric == metric and row.horizon_days == horizon_days and row.value is not None


def _curves(result: EvaluationResult, kind: str) -> Sequence[Curve]:
    return [curve for curve in result.curves if curve.kind == kind]


def _band(axes: Axes, curve: Curve, colour: str, label: str) -> None:
    x, y = [point.x for point in curve.points], [point.y for point in curve.points]
    axes.plot(x, y, color=colour, lw=1.5, label=label or None)
    if all(point.lo is not None and point.hi is not None for point in curve.points):
        lows, highs = [point.lo or 0.0 for point in curve.points], [point.hi or 0.0 for point in curve.points]
        axes.fill_between(x, lows, highs, color=colour, alpha=0.13, lw=0)
