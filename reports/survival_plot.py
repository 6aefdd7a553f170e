"""Curves of the prognosis as inline SVG: survival with band and plausible range, cumulative incidence per cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from domain.records import HorizonRisk, PrognosisPrediction
from reports.svg import Plot, Point

DAYS_PER_MONTH = 365.25 / 12
NUM_CAUSE_COLOURS = 4  # classes cause-0 .. cause-3 of the page's style
PERCENT_TICKS = tuple((share / 4, f"{share * 25}%") for share in range(5))
TICK_STEPS_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
MAX_TICKS = 8


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One line of a plot's legend: class of its colour, and what it is."""

    css: str
    label: str


def months(days: float) -> float:
    """Days as months; reports speak in months."""
    return days / DAYS_PER_MONTH


def horizon_label(days: float) -> str:
    """A horizon in words, ``6 months`` for 180 days."""
    count = round(months(days))
    return f"{count} month{'s' if count != 1 else ''}" if count else f"{days:g} days"


def survival_plot(prognosis: PrognosisPrediction) -> str:
    """Survival over time: curve, band, range over untested antibodies, markers at the horizons.

    Returns:
        An ``<svg>`` element; empty when the prognosis has no curve.
    """
    curve = _from_start(prognosis.curve)
    if len(curve) < 2:
        return ""
    plot = _plot_of(curve)
    parts = [_time_axes(plot)]
    parts += _band(plot, _from_start(prognosis.plausible_range), "range")
    parts += _band(plot, curve, "band")
    parts.append(plot.line(_points(curve, lambda risk: risk.survival), "curve"))
    for risk in prognosis.horizons:
        if risk.survival is not None:
            title = f"{horizon_label(risk.days)}: {risk.survival:.0%}"
            parts.append(plot.dot((months(risk.days), risk.survival), "mark", title))
    return plot.picture(parts, f"Probability of being {prognosis.survival_means} over time")


def survival_legend(prognosis: PrognosisPrediction) -> tuple[LegendEntry, ...]:
    """What the survival plot shows."""
    entries = [LegendEntry("curve", prognosis.survival_means)]
    if any(risk.survival_lo is not None for risk in prognosis.curve):
        entries.append(LegendEntry("band", _band_label(prognosis)))
    if prognosis.plausible_range:
        entries.append(LegendEntry("range", "range over the plausible results of untested antibodies"))
    return tuple(entries)


def incidence_plot(prognosis: PrognosisPrediction) -> str:
    """Cumulative incidence per cause, stacked: with survival the areas fill the box.

    Returns:
        An ``<svg>`` element; empty with fewer than two causes, where it would only mirror survival.
    """
    curve = _from_start(prognosis.curve)
    causes = causes_of(prognosis)
    if len(curve) < 2 or len(causes) < 2:
        return ""
    plot = _plot_of(curve)
    parts: list[str] = []
    below = [0.0] * len(curve)
    for place, cause in enumerate(causes):
        above = [base + (risk.cumulative_incidence.get(cause) or 0.0) for base, risk in zip(below, curve, strict=True)]
        times = [months(risk.days) for risk in curve]
        lower, upper = list(zip(times, below, strict=True)), list(zip(times, above, strict=True))
        parts.append(plot.area(lower, upper, f"cause cause-{place % NUM_CAUSE_COLOURS}"))
        below = above
    return plot.picture([*parts, _time_axes(plot)], "Cumulative incidence of each event over time")


def incidence_legend(prognosis: PrognosisPrediction) -> tuple[LegendEntry, ...]:
    """What the incidence plot shows, from the top."""
    causes = causes_of(prognosis)
    entries = [
        LegendEntry(f"cause cause-{place % NUM_CAUSE_COLOURS}", cause.replace("_", " "))
        for place, cause in enumerate(causes)
    ]
    return tuple(reversed(entries))


def causes_of(prognosis: PrognosisPrediction) -> tuple[str, ...]:
    """Keys of the competing causes, in the order of the endpoint."""
    return tuple(dict.fromkeys(cause for risk in prognosis.curve for cause in risk.cumulative_incidence))


def _from_start(curve: Sequence[HorizonRisk]) -> list[HorizonRisk]:
    """The supported part of a curve, from day 0 on, where survival is certain."""
    known = [risk for risk in curve if risk.survival is not None or risk.survival_lo is not None]
    if known and known[0].days > 0:
        start = HorizonRisk(days=0.0, survival=1.0, survival_lo=1.0, survival_hi=1.0)
        return [start, *known]
    return known


def _plot_of(curve: Sequence[HorizonRisk]) -> Plot:
    return Plot(x_range=(0.0, months(curve[-1].days)))


def _time_axes(plot: Plot) -> str:
    end = plot.x_range[1]
    step = next((step for step in TICK_STEPS_MONTHS if end / step <= MAX_TICKS), TICK_STEPS_MONTHS[-1])
    ticks = [(float(value), str(value)) for value in range(0, int(end + 0.1) + 1, step)]
    return plot.axes(ticks, PERCENT_TICKS, "months from the index CT")


def _points(curve: Sequence[HorizonRisk], value: Callable[[HorizonRisk], float | None]) -> list[Point]:
    found = ((months(risk.days), value(risk)) for risk in curve)
    return [(time, share) for time, share in found if share is not None]


def _band(plot: Plot, curve: Sequence[HorizonRisk], css: str) -> list[str]:
    lower, upper = _points(curve, lambda risk: risk.survival_lo), _points(curve, lambda risk: risk.survival_hi)
    return [plot.area(lower, upper, css)] if len(lower) > 1 and len(upper) > 1 else []


def _band_label(prognosis: PrognosisPrediction) -> str:
    if prognosis.band_level is None:
        return "band"
    label = f"{prognosis.band_level:.0%} band"
    measured = prognosis.band_coverage
    return label if measured is None else f"{label}, measured coverage {measured:.0%} on synthetic cohorts"
