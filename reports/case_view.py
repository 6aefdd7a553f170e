"""One study in the words of the report: labels, percentages, classes. What the page looks like is in the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from domain.antibodies import AntibodyStatus, load_antibody_vocabulary
from domain.covariates import load_covariate_vocabulary
from domain.patterns import PATTERNS, load_pattern_vocabulary
from domain.records import (
    CaseResult,
    CaseStatus,
    Contribution,
    EventTimeInterval,
    HorizonRisk,
    PrognosisPrediction,
    WhatIf,
)
from reports.survival_plot import (
    LegendEntry,
    causes_of,
    horizon_label,
    incidence_legend,
    incidence_plot,
    survival_legend,
    survival_plot,
)

ANTIBODY_PREFIX = "ab_"
IMAGE_INPUT = "image"
NOTHING = "\u2013"
CONTRIBUTION_DAY = 365.0  # contributions are shown at the day nearest to this one
SMALLEST_CONTRIBUTION = 0.005  # log hazard; anything smaller would print as 0.00
UNIT_SIGNS = {  # how the unit at the end of a column's name is written for people
    "percent": "%",
    "ng_ml": "ng/mL",
    "mg_dl": "mg/dL",
    "u_ml": "U/mL",
    "u_l": "U/L",
    "pg_ml": "pg/mL",
    "mmhg": "mmHg",
}
STATUS_LABELS = {
    CaseStatus.PREDICTED: "predicted",
    CaseStatus.ABSTAINED: "abstained",
    CaseStatus.REJECTED: "scan rejected",
    CaseStatus.FAILED: "failed",
}
ABBREVIATIONS = frozenset({"nsip", "op"})
UNSUPPORTED = "not supported"
MODE_LABELS = {
    "image_only": "from the image alone",
    "tables_only": "without an image",
    "baseline_only": "cohort average",
}
EVENT_LABELS = {"death": "death", "progression": "progression", "transplant": "transplant"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One pattern: its probability and whether it is in the prediction set."""

    key: str
    label: str
    share: float
    in_set: bool
    is_answer: bool

    @property
    def percent(self) -> str:
        """The probability as text."""
        return percent(self.share)


@dataclass(frozen=True, slots=True)
class AntibodyChip:
    """One antibody result."""

    name: str
    status: str


@dataclass(frozen=True, slots=True)
class SignedBar:
    """One contribution: width in percent of half the box, and its side."""

    label: str
    value: str
    width: float
    raises_risk: bool


@dataclass(frozen=True, slots=True)
class PrognosisView:
    """One endpoint, ready to print."""

    title: str
    answer: PrognosisPrediction
    headline: str
    mode_label: str
    inputs_used: str
    inputs_missing: str
    event_time: str
    survival_svg: str
    survival_legend: tuple[LegendEntry, ...]
    incidence_svg: str
    incidence_legend: tuple[LegendEntry, ...]
    causes: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    contributions: tuple[SignedBar, ...]
    contributions_about: str
    what_ifs: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True, slots=True)
class CaseView:
    """One study, ready to print."""

    result: CaseResult
    status_label: str
    pattern_label: str
    pattern_short: str
    set_label: str
    bars: tuple[Bar, ...]
    antibodies: tuple[AntibodyChip, ...]
    num_untested: int
    prognoses: tuple[PrognosisView, ...]
    quantities: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]


def view_of(result: CaseResult) -> CaseView:
    """The printable form of one result."""
    answer = result.prediction.pattern
    shown = [
        AntibodyChip(antibody_name(key), status)
        for key, status in result.antibodies.items()
        if status != AntibodyStatus.NOT_TESTED
    ]
    return CaseView(
        result=result,
        status_label=STATUS_LABELS[result.status],
        pattern_label=_pattern_label(result),
        pattern_short=_pattern_short(result),
        set_label=", ".join(pattern_name(pattern) for pattern in answer.pattern_set) if answer else "",
        bars=_bars(result),
        antibodies=tuple(sorted(shown, key=lambda chip: (chip.status != AntibodyStatus.POSITIVE, chip.name))),
        num_untested=len(result.antibodies) - len(shown),
        prognoses=tuple(_prognosis_view(prognosis) for prognosis in result.prediction.prognoses),
        quantities=tuple((_words(name), number(value)) for name, value in result.prediction.quantitative.items()),
        facts=tuple(
            (_words(name), number(value)) for name, value in result.scan_facts.items() if value not in {None, ""}
        ),
    )


def percent(share: float | None) -> str:
    """A probability as text; never a flat 0% or 100%, which no model can know."""
    if share is None:
        return NOTHING
    if share < 0.01:
        return "<1%"
    return ">99%" if share > 0.99 else f"{100 * share:.0f}%"


def counted(count: int, noun: str) -> str:
    """``1 patient``, ``2 patients``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def number(value: str | float | None) -> str:
    """A measure as text, three significant digits."""
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def survival_text(risk: HorizonRisk | None) -> str:
    """Survival at one horizon with its band."""
    if risk is None:
        return NOTHING
    if risk.survival is None:
        return UNSUPPORTED
    band = f" ({spread(risk.survival_lo, risk.survival_hi)})" if risk.survival_lo is not None else ""
    return percent(risk.survival) + band


def spread(low: float | None, high: float | None) -> str:
    """Two probabilities as a range."""
    return NOTHING if low is None or high is None else f"{percent(low)}{NOTHING}{percent(high)}"


def inputs_text(names: Sequence[str], *, antibodies: str) -> str:
    """Inputs by name: ``image; antibodies: Anti-MDA5, Anti-Jo-1; covariates: age``.

    Args:
        names: As in ``PrognosisPrediction.inputs_used``.
        antibodies: Word before the antibodies among them.
    """
    tested = [antibody_name(name.removeprefix(ANTIBODY_PREFIX)) for name in names if name.startswith(ANTIBODY_PREFIX)]
    others = [name for name in names if not name.startswith(ANTIBODY_PREFIX) and name != IMAGE_INPUT]
    parts = [IMAGE_INPUT] if IMAGE_INPUT in names else []
    parts += [f"{antibodies}: {', '.join(tested)}"] if tested else []
    parts += [f"covariates: {', '.join(covariate_name(name) for name in others)}"] if others else []
    return "; ".join(parts)


def horizon_nearest(risks: Sequence[HorizonRisk], days: float) -> HorizonRisk | None:
    """The horizon nearest to a day."""
    return min(risks, key=lambda risk: abs(risk.days - days), default=None)


@cache
def _antibody_names() -> dict[str, str]:
    return {entry.key: entry.name for entry in load_antibody_vocabulary().antibodies}


@cache
def _covariate_names() -> dict[str, str]:
    return {entry.key: entry.name for entry in load_covariate_vocabulary().covariates}


@cache
def _covariate_units() -> dict[str, str]:
    return {entry.key: UNIT_SIGNS.get(entry.unit, entry.unit) for entry in load_covariate_vocabulary().covariates}


@cache
def _pattern_names() -> dict[str, str]:
    return {entry.key.value: entry.name for entry in load_pattern_vocabulary().patterns}


def antibody_name(key: str) -> str:
    """Name of an antibody; the key itself for one of a cohort's own vocabulary."""
    return _antibody_names().get(key, key)


def covariate_name(key: str) -> str:
    """Name of a covariate; the key in words for one of a cohort's own vocabulary."""
    return _covariate_names().get(key, _words(key))


def covariate_text(key: str, value: float | str) -> str:
    """Value of a covariate with its unit."""
    return f"{value:.4g} {_covariate_units().get(key, '')}".strip() if isinstance(value, float | int) else value


def pattern_name(key: str) -> str:
    """Name of a pattern."""
    return _pattern_names().get(key, key)


def short_pattern_name(key: str) -> str:
    """Name of a pattern for a table."""
    return key.upper() if key in ABBREVIATIONS else key


def _words(name: str) -> str:
    return (
        name.replace("_percent", " (%)")
        .replace("_mm", " (mm)")
        .replace("_hu", " (HU)")
        .replace("_ml", " (ml)")
        .replace("_", " ")
    )


def _pattern_label(result: CaseResult) -> str:
    answer = result.prediction.pattern
    if answer is None:
        return NOTHING
    return "no answer" if answer.abstained or answer.pattern is None else pattern_name(answer.pattern)


def _pattern_short(result: CaseResult) -> str:
    answer = result.prediction.pattern
    if answer is None:
        return NOTHING
    return "no answer" if answer.abstained or answer.pattern is None else short_pattern_name(answer.pattern)


def _bars(result: CaseResult) -> tuple[Bar, ...]:
    answer = result.prediction.pattern
    if answer is None:
        return ()
    return tuple(
        Bar(
            pattern.value,
            pattern_name(pattern),
            answer.probabilities.get(pattern, 0.0),
            pattern in answer.pattern_set,
            pattern == answer.pattern and not answer.abstained,
        )
        for pattern in PATTERNS
    )


def _prognosis_view(prognosis: PrognosisPrediction) -> PrognosisView:
    year = horizon_nearest(prognosis.horizons, CONTRIBUTION_DAY)
    has_answer = year is not None and year.survival is not None
    headline = (
        f"{survival_text(year)} {prognosis.survival_means} at {horizon_label(year.days)}" if year and has_answer else ""
    )
    causes = causes_of(prognosis)
    bars, about = _contribution_bars(prognosis.contributions)
    return PrognosisView(
        title=prognosis.endpoint.replace("_", " "),
        answer=prognosis,
        headline=headline,
        mode_label=MODE_LABELS.get(prognosis.mode, ""),
        inputs_used=inputs_text(prognosis.inputs_used, antibodies="antibodies"),
        inputs_missing=inputs_text(prognosis.inputs_missing, antibodies="not tested"),
        event_time=event_time_text(prognosis.event_time),
        survival_svg=survival_plot(prognosis),
        survival_legend=survival_legend(prognosis),
        incidence_svg=incidence_plot(prognosis),
        incidence_legend=incidence_legend(prognosis),
        causes=tuple(EVENT_LABELS.get(cause, _words(cause)) for cause in causes),
        rows=tuple(_horizon_row(prognosis, risk, causes) for risk in prognosis.horizons),
        contributions=bars,
        contributions_about=about,
        what_ifs=tuple(_what_if_row(item, year) for item in prognosis.what_if),
    )


def event_time_text(interval: EventTimeInterval | None) -> str:
    """The prediction interval for the event time as a sentence; empty where the model was not calibrated for one."""
    if interval is None:
        return ""
    if interval.from_days is None:
        return f"Interval for the time of the event: {interval.reason}."
    start = f"not before day {interval.from_days:.0f}"
    end = "no upper end within follow-up" if interval.until_days is None else f"by day {interval.until_days:.0f}"
    measured = "" if interval.measured_coverage is None else f", measured {interval.measured_coverage:.0%}"
    whom = f"calibrated on {interval.stratum}"
    return f"Interval for the time of the event ({interval.level:.0%} nominal{measured}; {whom}): {start}, {end}."


def _horizon_row(prognosis: PrognosisPrediction, risk: HorizonRisk, causes: tuple[str, ...]) -> tuple[str, ...]:
    incidence = [percent(risk.cumulative_incidence.get(cause)) for cause in causes]
    ends = next((item for item in prognosis.plausible_range if item.days == risk.days), None)
    plausible = spread(ends.survival_lo, ends.survival_hi) if ends else NOTHING
    return (horizon_label(risk.days), survival_text(risk), plausible, *incidence)


def _contribution_bars(contributions: tuple[Contribution, ...]) -> tuple[tuple[SignedBar, ...], str]:
    """Bars of the first cause at the day nearest to a year, and what they are about."""
    if not contributions:
        return (), ""
    cause = contributions[0].cause
    day = min((item.days for item in contributions), key=lambda days: abs(days - CONTRIBUTION_DAY))
    chosen = [item for item in contributions if item.cause == cause and item.days == day]
    largest = max([abs(item.log_hazard) for item in chosen] + [0.5])  # a weak patient's bars stay short
    bars = tuple(
        SignedBar(
            _words(item.block), f"{item.log_hazard:+.2f}", 100 * abs(item.log_hazard) / largest, item.log_hazard > 0
        )
        for item in sorted(chosen, key=lambda item: -abs(item.log_hazard))
        if abs(item.log_hazard) >= SMALLEST_CONTRIBUTION
    )
    about = f"log hazard of {EVENT_LABELS.get(cause, _words(cause)) or 'the event'} at {horizon_label(day)}"
    return bars, about


def _what_if_row(item: WhatIf, year: HorizonRisk | None) -> tuple[str, str, str, str]:
    name, status = antibody_name(item.antibody), item.status.replace("_", " ")
    if item.refused:
        return name, status, item.refused, ""
    risk = horizon_nearest(item.horizons, year.days if year else CONTRIBUTION_DAY)
    return (
        name,
        status,
        percent(risk.survival if risk else None),
        counted(item.num_training_patients, "training patient"),
    )
