"""What an evaluation says: numbers with intervals, curves and cautions, as plain records for JSON, CSV and a page."""

from __future__ import annotations

from pydantic import Field

from domain.records import Record

MODEL = "model"  # name of the evaluated predictions among the comparators
EVERYONE = "all"  # name of the subgroup that is the whole cohort
EVENT_FREE = "event_free"  # target of survival metrics that count the first event of any cause
PATTERN = "pattern"  # target of metrics of the image pattern


class Metric(Record):
    """One number with its interval.

    Attributes:
        target: ``pattern``, ``event_free`` or a cause of the endpoint.
        metric: Name, ``auc_macro`` or ``uno_c`` for instance; lower-case words.
        model: ``model`` for the evaluated predictions, else the comparator's key.
        subgroup: ``all``, or ``variable=value``.
        horizon_days: Horizon of a metric that has one.
        value: None where it cannot be computed; ``note`` says why. Never an exception, never a NaN.
        lo: Lower end of the bootstrap interval.
        hi: Upper end.
        n: Cases behind the number.
        events: Events (survival) behind it; None for pattern metrics.
        note: Why there is no number, or what to keep in mind reading it.
    """

    target: str
    metric: str
    model: str = MODEL
    subgroup: str = EVERYONE
    horizon_days: float | None = None
    value: float | None
    lo: float | None = None
    hi: float | None = None
    n: int
    events: int | None = None
    note: str = ""


class Difference(Record):
    """Paired difference of one metric on the same cases: the evaluated model minus a comparator.

    Attributes:
        better_when: ``higher`` or ``lower``: which sign speaks for the model.
        share_better: Share of bootstrap samples in which the model is better.
    """

    target: str
    metric: str
    comparator: str
    horizon_days: float | None = None
    better_when: str
    model_value: float | None
    comparator_value: float | None
    value: float | None
    lo: float | None = None
    hi: float | None = None
    share_better: float | None = None
    n: int
    events: int | None = None
    note: str = ""


class Comparator(Record):
    """A simple model refitted for this evaluation."""

    key: str
    title: str
    how_fitted: str
    num_cases: int
    note: str = ""


class ReliabilityBin(Record):
    """Cases with similar predicted probability of one pattern: predicted against observed share."""

    pattern: str
    predicted: float
    observed: float
    lo: float | None = None
    hi: float | None = None
    n: int


class ConfusionMatrix(Record):
    """Reference label (rows) against answer (columns); rows are vote shares, so cells may be fractions."""

    labels: tuple[str, ...]
    counts: tuple[tuple[float, ...], ...]
    note: str = ""


class CurvePoint(Record):
    """One point of a curve with its interval."""

    x: float
    y: float
    lo: float | None = None
    hi: float | None = None


class Curve(Record):
    """A named curve for the page; ``kind`` says which picture it belongs to."""

    kind: str
    name: str
    points: tuple[CurvePoint, ...]
    n: int = 0
    events: int | None = None
    horizon_days: float | None = None
    note: str = ""


class CalibrationPoint(Record):
    """A quarter of the cases by predicted risk: mean predicted against observed incidence at a horizon."""

    target: str
    subgroup: str = EVERYONE
    horizon_days: float
    predicted: float
    observed: float | None
    lo: float | None = None
    hi: float | None = None
    n: int
    events: int


class Caution(Record):
    """Something a reader must know before believing the numbers.

    Attributes:
        code: ``shortcut_site``, ``few_events``, ``leak_suspected`` and so on.
        facts: The numbers behind it.
    """

    code: str
    message: str
    facts: dict[str, float | str] = Field(default_factory=dict)


class CohortSummary(Record):
    """Who was evaluated."""

    num_cases: int
    num_predicted: int
    num_abstained: int
    num_missing: int
    num_labelled: int
    num_with_outcome: int
    num_patients: int
    num_sites: int
    events: dict[str, int] = Field(default_factory=dict)
    median_follow_up_days: float | None = None
    antibody_classes: dict[str, int] = Field(default_factory=dict)
    patterns: dict[str, float] = Field(default_factory=dict)


class EvaluationResult(Record):
    """Everything ``evaluate.py`` found; ``evaluation.json`` is this record.

    Attributes:
        trained_on: What the model was trained on, where known.
        is_synthetic: The patients are synthetic: every figure carries that label.
        methods: In words: how intervals, weights and comparators were made.
    """

    format_version: int = 1
    trained_on: str = ""
    is_synthetic: bool = False
    endpoint: str
    endpoint_title: str
    survival_means: str
    level: float
    num_bootstrap: int
    cohort: CohortSummary
    metrics: tuple[Metric, ...] = ()
    differences: tuple[Difference, ...] = ()
    comparators: tuple[Comparator, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    confusion: ConfusionMatrix | None = None
    curves: tuple[Curve, ...] = ()
    calibration: tuple[CalibrationPoint, ...] = ()
    cautions: tuple[Caution, ...] = ()
    methods: tuple[str, ...] = ()

    def find(
        self, metric: str, *, model: str = MODEL, subgroup: str = EVERYONE, horizon_days: float | None = None
    ) -> Metric | None:
        """The first metric of that name, model, subgroup and horizon; None where there is none."""
        for candidate in self.metrics:
            place = (candidate.metric, candidate.model, candidate.subgroup, candidate.horizon_days)
            if place == (metric, model, subgroup, horizon_days):
                return candidate
        return None

    def headline(self) -> dict[str, float | str]:
        """The few figures of screen and model card, each with interval and size: name -> text."""
        wanted = {
            "pattern accuracy": self.find("accuracy"),
            "accuracy of the most frequent pattern": self.find("accuracy_of_most_frequent"),
            "pattern AUC": self.find("auc_macro"),
            "Uno's C of the course": self.find("uno_c"),
        }
        lines: dict[str, float | str] = {name: _figure(row) for name, row in wanted.items() if row is not None}
        for row in self.differences:
            if (row.comparator, row.metric) == ("antibody_class", "uno_c"):
                lines["gain in C over antibody class alone"] = _figure(row)
        return lines


def _figure(row: Metric | Difference) -> str:
    if row.value is None:
        return row.note or "n/a"
    limits = "" if row.lo is None or row.hi is None else f" ({row.lo:.3f} to {row.hi:.3f})"
    events = "" if row.events is None else f", {row.events} events"
    return f"{row.value:.3f}{limits}, {row.n} cases{events}"
