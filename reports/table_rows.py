"""One study as one row: which columns ``predictions.csv`` has, in which order, and what stands in each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from domain.patterns import PATTERNS
from domain.quantities import TABLE_QUANTITIES
from domain.records import CaseResult, CaseStatus, HorizonRisk, PrognosisPrediction

Cell = str | float | bool | None

LIST_SEPARATOR = ";"
NUM_DECIMALS = 6
CONTRACT_HORIZONS_DAYS = (90.0, 180.0, 365.0, 1096.0, 1826.0)
PREDICTED = frozenset({CaseStatus.PREDICTED, CaseStatus.ABSTAINED})
SCAN_COLUMNS = ("manufacturer", "kernel", "slice_thickness_mm")  # what a model may have learnt instead of disease
FAILURE_COLUMNS = ("case_key", "stage", "code", "message")


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """What varies between models: horizons and causes of the first endpoint, and further endpoints.

    Attributes:
        horizons_days: Of the first endpoint; the contract's are always there.
        causes: Keys of its competing causes, in order.
        further: Endpoint -> horizons, for the endpoints after the first.
    """

    horizons_days: tuple[float, ...] = CONTRACT_HORIZONS_DAYS
    causes: tuple[str, ...] = ()
    further: tuple[tuple[str, tuple[float, ...]], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns in order; those of the contract first."""
        further = [name for endpoint, days in self.further for name in _survival_names(days, f"{endpoint}_")]
        return (
            *("case_key", "status", "pattern", *(f"p_{pattern}" for pattern in PATTERNS)),
            *("pattern_set", "abstained", "ood_score", "quality_codes", *TABLE_QUANTITIES),
            *_survival_names(self.horizons_days),
            *(f"cif_{cause}_{day:g}d" for cause in self.causes for day in self.horizons_days),
            *("risk_group", "inputs_used", "inputs_missing", "seconds"),
            *("endpoint", "prognosis_mode", "trained_on", *SCAN_COLUMNS, *further),
        )


def plan_columns(results: Iterable[CaseResult]) -> ColumnPlan:
    """The columns that a set of results needs."""
    horizons: set[float] = set(CONTRACT_HORIZONS_DAYS)
    causes: dict[str, None] = {}
    further: dict[str, set[float]] = {}
    for result in results:
        for place, prognosis in enumerate(result.prediction.prognoses):
            wanted = further.setdefault(prognosis.endpoint, set()) if place else horizons
            wanted.update(risk.days for risk in prognosis.horizons)
            if not place:
                causes.update(
                    dict.fromkeys(cause for risk in prognosis.horizons for cause in risk.cumulative_incidence)
                )
    ordered = tuple((endpoint, tuple(sorted(days))) for endpoint, days in further.items())
    return ColumnPlan(tuple(sorted(horizons)), tuple(causes), ordered)


def prediction_row(result: CaseResult, columns: Iterable[str]) -> dict[str, Cell]:
    """One row of ``predictions.csv``: every column, None where there is nothing to say."""
    values = _case_cells(result) | _pattern_cells(result) | _prognosis_cells(result.prediction.prognoses)
    return {name: _rounded(values.get(name)) for name in columns}


def failure_row(result: CaseResult) -> dict[str, Cell]:
    """One row of ``failures.csv``."""
    stage, code = result.failure_stage, result.failure_code
    cells = (result.case_key, stage.value if stage else "", code.value if code else "", result.failure_message)
    return dict(zip(FAILURE_COLUMNS, cells, strict=True))


def _survival_names(horizons_days: Iterable[float], prefix: str = "") -> list[str]:
    return [f"{prefix}survival_{day:g}d{end}" for day in horizons_days for end in ("", "_lo", "_hi")]


def _case_cells(result: CaseResult) -> dict[str, Cell]:
    prediction = result.prediction
    codes = dict.fromkeys(finding.code.value for finding in prediction.findings)
    quantities: Mapping[str, float | None] = prediction.quantitative
    return {
        "case_key": result.case_key,
        "status": result.status.value,
        "quality_codes": LIST_SEPARATOR.join(codes),
        "seconds": result.seconds.get("total"),
        "trained_on": result.trained_on,
        **{name: quantities.get(name) for name in TABLE_QUANTITIES},
        **{name: result.scan_facts.get(name) for name in SCAN_COLUMNS},
    }


def _pattern_cells(result: CaseResult) -> dict[str, Cell]:
    answer = result.prediction.pattern
    if answer is None:
        return {"abstained": result.status is CaseStatus.ABSTAINED}
    return {
        "pattern": answer.pattern.value if answer.pattern and not answer.abstained else None,
        "pattern_set": LIST_SEPARATOR.join(pattern.value for pattern in answer.pattern_set),
        "abstained": answer.abstained,
        "ood_score": answer.ood_score,
        **{f"p_{pattern}": answer.probabilities.get(pattern) for pattern in PATTERNS},
    }


def _prognosis_cells(prognoses: tuple[PrognosisPrediction, ...]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for place, prognosis in enumerate(prognoses):
        for risk in prognosis.horizons:
            cells |= _survival_cells(risk, f"{prognosis.endpoint}_" if place else "")
    if prognoses:
        first = prognoses[0]
        for risk in first.horizons:
            cells |= {f"cif_{cause}_{risk.days:g}d": value for cause, value in risk.cumulative_incidence.items()}
        cells |= {
            "risk_group": first.risk_group,
            "inputs_used": LIST_SEPARATOR.join(first.inputs_used),
            "inputs_missing": LIST_SEPARATOR.join(first.inputs_missing),
            "endpoint": first.endpoint,
            "prognosis_mode": first.mode,
        }
    return cells


def _survival_cells(risk: HorizonRisk, prefix: str) -> dict[str, Cell]:
    name = f"{prefix}survival_{risk.days:g}d"
    return {name: risk.survival, f"{name}_lo": risk.survival_lo, f"{name}_hi": risk.survival_hi}


def _rounded(value: Cell) -> Cell:
    return round(value, NUM_DECIMALS) if isinstance(value, float) else value
