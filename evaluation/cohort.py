"""Predictions and cases put side by side as arrays. Reads no file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from domain.antibodies import AntibodyVocabulary
from domain.endpoints import Endpoint
from domain.errors import InputError
from domain.patterns import NUM_PATTERNS, PATTERNS, Pattern, vote_probabilities
from domain.quantities import TABLE_QUANTITIES
from domain.records import Case
from evaluation.antibody_class import antibody_class

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
TextArray = NDArray[np.str_]

UNKNOWN_CAUSE = -1  # no outcome known
KEY_COLUMN = "case_key"
ENDPOINT_COLUMN = "endpoint"  # optional: which endpoint the columns without a prefix answer
SCANNER_COLUMNS = ("manufacturer", "kernel")  # optional
THICKNESS_COLUMN = "slice_thickness_mm"  # optional
THICKNESS_BANDS_MM = {1.5: "up_to_1.5_mm", 3.0: "up_to_3_mm", np.inf: "over_3_mm"}
FOLD_COLUMN = "fold"  # optional: which out-of-fold model made the row
PROBABILITY_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Cohort:
    """N evaluated cases: what was predicted and what was seen.

    Attributes:
        cases: The typed rows, in order.
        labels: Vote shares, shape (N, 4), NaN without a label.
        probabilities: Shape (N, 4), NaN where there is no answer.
        answers: Index of the named pattern, -1 where abstained or absent.
        is_abstained: Shape (N,).
        sets: Prediction sets, shape (N, 4); all False where there is none.
        survival: Probability of no event by each horizon, shape (N, H), NaN where not given.
        incidence: Cause -> shape (N, H).
        risk_groups: As predicted; empty where not given.
        quantities: Shape (N, Q) in the order of ``TABLE_QUANTITIES``.
        time_days: Shape (N,), NaN without an outcome. After an endpoint's window nothing is counted.
        cause: 0 censored, k the k-th cause, -1 unknown. Shape (N,).
        antibody_classes: Shape (N,).
        folds: Fold of the model behind each row, 0 where there is no such column.
        quality_codes: Codes of each scan's findings.
        scanners: Manufacturer, kernel, band of slice thickness -> text per case, shape (N,); only what the table has.
    """

    cases: tuple[Case, ...]
    labels: FloatArray
    probabilities: FloatArray
    answers: IntArray
    is_abstained: BoolArray
    sets: BoolArray
    survival: FloatArray
    incidence: dict[str, FloatArray]
    risk_groups: tuple[str, ...]
    quantities: FloatArray
    time_days: FloatArray
    cause: IntArray
    antibody_classes: tuple[str, ...]
    folds: IntArray
    quality_codes: tuple[tuple[str, ...], ...]
    scanners: dict[str, TextArray]

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient of each case."""
        return tuple(case.patient_id for case in self.cases)

    @property
    def sites(self) -> tuple[str, ...]:
        """Site of each case; empty where not given."""
        return tuple(case.site for case in self.cases)

    def take(self, rows: Sequence[int] | IntArray | BoolArray) -> Cohort:
        """Some rows, in the order given."""
        index = np.arange(len(self))[np.asarray(rows)]
        changed: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                changed[field.name] = value[index]
            elif isinstance(value, tuple):
                changed[field.name] = tuple(value[i] for i in index)
            else:
                changed[field.name] = {cause: block[index] for cause, block in value.items()}
        return replace(self, **changed)  # type: ignore[arg-type]


def build_cohort(
    predictions: pd.DataFrame, cases: Sequence[Case], endpoint: Endpoint, vocabulary: AntibodyVocabulary
) -> Cohort:
    """Join on ``case_key`` = ``case_id``; rows of either side without a partner are left out.

    Args:
        predictions: Contract columns; a missing column counts as not given. Where they say that their first endpoint
            is another one, the columns ``<endpoint>_survival_<d>d`` are read.
        cases: Rows of the case table.
        endpoint: Gives causes and horizons.
        vocabulary: Gives antibody classes.

    Raises:
        InputError: No ``case_key`` column, a key twice, no case in common, an event the endpoint does not know,
            predictions of other endpoints only, or numbers that are no probabilities.
    """
    table = keyed(predictions)
    by_id = {case.case_id: case for case in cases}
    keys = [key for key in table.index if key in by_id]
    if not keys:
        raise InputError(
            f"no case in common: the predictions have {len(table)} keys (first {list(table.index[:3])}), the case "
            f"table {len(by_id)} (first {list(by_id)[:3]}). `case_key` must equal `case_id`: give the case table to "
            "infer.py as --cases, too."
        )
    rows, joined = table.loc[keys], tuple(by_id[key] for key in keys)
    probabilities = _probabilities(rows)
    time_days, cause = outcomes(joined, endpoint)
    horizons, prefix = endpoint.horizons_days, _prefix(rows, endpoint)
    return Cohort(
        cases=joined,
        labels=np.array([vote_probabilities(case.pattern_votes) for case in joined]).reshape(-1, NUM_PATTERNS),
        probabilities=probabilities,
        answers=_answers(rows),
        is_abstained=_truth(rows, "abstained"),
        sets=_sets(rows),
        survival=_block(rows, [f"{prefix}survival_{day}d" for day in horizons], lo=0, hi=1),
        incidence={
            key: _block(rows, [f"{prefix}cif_{key}_{day}d" for day in horizons], lo=0, hi=1)
            for key in endpoint.cause_keys
        },
        risk_groups=tuple(_text(rows, f"{prefix}risk_group")),
        quantities=_block(rows, TABLE_QUANTITIES),
        time_days=time_days,
        cause=cause,
        antibody_classes=tuple(antibody_class(case.antibodies, vocabulary) for case in joined),
        folds=np.nan_to_num(_block(rows, [FOLD_COLUMN])[:, 0], nan=0).astype(np.int64),
        quality_codes=tuple(tuple(re.findall(r"[a-z0-9_]+", text)) for text in _text(rows, "quality_codes")),
        scanners=_scanners(rows),
    )


def outcomes(cases: Sequence[Case], endpoint: Endpoint) -> tuple[FloatArray, IntArray]:
    """Time and cause of each case under an endpoint; an event after its window counts as censored.

    Returns:
        Times (N,), NaN without an outcome, and causes (N,), ``UNKNOWN_CAUSE`` without one. A time beyond the window is
        kept: it shows that the case was still under observation when the window closed.

    Raises:
        InputError: An event word the endpoint does not know.
    """
    time_days = np.full(len(cases), np.nan)
    cause = np.full(len(cases), UNKNOWN_CAUSE, dtype=np.int64)
    unknown: set[str] = set()
    for row, case in enumerate(cases):
        outcome = case.outcome_in(endpoint.event_column)
        if outcome is None:
            continue
        index = endpoint.cause_index(outcome.event)
        if index is None:
            unknown.add(outcome.event)
            continue
        time_days[row], cause[row] = outcome.time_days, index
        if endpoint.window_days is not None and time_days[row] > endpoint.window_days:
            cause[row] = 0
    if unknown:
        known = [*endpoint.censored_events, *(event for one in endpoint.causes for event in one.events)]
        raise InputError(
            f"endpoint {endpoint.name!r} does not know the event(s) {sorted(unknown)}; it knows {known}. Correct the "
            "event column, or name the endpoint the table was made for."
        )
    return time_days, cause


def keyed(predictions: pd.DataFrame, name: str = "predictions") -> pd.DataFrame:
    """A table by case key as text.

    Raises:
        InputError: No ``case_key`` column, or a key twice; says so of the table's ``name``.
    """
    if KEY_COLUMN not in predictions.columns:
        raise InputError(f"the {name} have no column {KEY_COLUMN!r}; found {list(predictions.columns)[:8]}")
    table = predictions.assign(**{KEY_COLUMN: predictions[KEY_COLUMN].astype(str)}).set_index(KEY_COLUMN)
    twice = sorted(set(table.index[table.index.duplicated()]))
    if twice:
        raise InputError(f"the {name} name {len(twice)} case(s) twice, first {twice[0]!r}: keep one row per case")
    return table


def _prefix(rows: pd.DataFrame, endpoint: Endpoint) -> str:
    """What the columns of an endpoint begin with: nothing for the first one of a model, its name for a further one."""
    named = sorted(set(_text(rows, ENDPOINT_COLUMN)) - {""})
    if named in ([], [endpoint.name]):
        return ""
    prefix = f"{endpoint.name}_"
    if len(named) == 1 and any(f"{prefix}survival_{day}d" in rows.columns for day in endpoint.horizons_days):
        return prefix
    absent = f"there is no column {prefix}survival_{endpoint.horizons_days[0]}d"
    raise InputError(
        f"the predictions answer endpoint {' and '.join(map(repr, named))}, and {endpoint.name!r} is to be evaluated; "
        f"{absent if len(named) == 1 else 'one table can answer only one'}. Evaluate the endpoint they answer "
        f"(--endpoint), or predict {endpoint.name!r} with a model that knows it."
    )


def _block(rows: pd.DataFrame, columns: Sequence[str], *, lo: float = -np.inf, hi: float = np.inf) -> FloatArray:
    values = np.full((len(rows), len(columns)), np.nan)
    for place, column in enumerate(columns):
        if column in rows.columns:
            numbers = pd.to_numeric(rows[column], errors="coerce").to_numpy(dtype=np.float64)
            if ((numbers < lo - PROBABILITY_SUM_TOLERANCE) | (numbers > hi + PROBABILITY_SUM_TOLERANCE)).any():
                raise InputError(f"column {column!r} of the predictions has values outside {lo:g}..{hi:g}")
            values[:, place] = np.clip(numbers, lo, hi)
    return values


def _probabilities(rows: pd.DataFrame) -> FloatArray:
    values = _block(rows, [f"p_{pattern}" for pattern in PATTERNS], lo=0, hi=1)
    totals = values.sum(axis=1)
    wrong = np.isfinite(totals) & (np.abs(totals - 1) > 10 * PROBABILITY_SUM_TOLERANCE)
    if wrong.any():
        key = rows.index[int(np.flatnonzero(wrong)[0])]
        raise InputError(f"the four pattern probabilities of case {key!r} add up to {totals[wrong][0]:.3f}, not 1")
    return np.where(np.isfinite(totals)[:, None], values / np.maximum(totals, 1e-12)[:, None], np.nan)


def _text(rows: pd.DataFrame, column: str) -> list[str]:
    if column not in rows.columns:
        return [""] * len(rows)
    return [str(value) if isinstance(value, str) else "" for value in rows[column]]


def _truth(rows: pd.DataFrame, column: str) -> BoolArray:
    if column not in rows.columns:
        return np.zeros(len(rows), dtype=bool)
    return np.array([str(value).strip().lower() in {"true", "1", "1.0", "yes"} for value in rows[column]], dtype=bool)


def _answers(rows: pd.DataFrame) -> IntArray:
    places: dict[str, int] = {pattern.value: place for place, pattern in enumerate(PATTERNS)}
    return np.array([places.get(text.strip(), -1) for text in _text(rows, "pattern")], dtype=np.int64)


def _sets(rows: pd.DataFrame) -> BoolArray:
    words = [set(re.findall(r"[a-z]+", text)) for text in _text(rows, "pattern_set")]
    return np.array([[Pattern(pattern).value in found for pattern in PATTERNS] for found in words], dtype=bool).reshape(
        -1, NUM_PATTERNS
    )


def _scanners(rows: pd.DataFrame) -> dict[str, TextArray]:
    """Facts of the acquisition a model could read instead of the disease; empty text where not known."""
    found = {
        column: np.array(_text(rows, column), dtype=np.str_) for column in SCANNER_COLUMNS if column in rows.columns
    }
    if THICKNESS_COLUMN in rows.columns:
        thickness = _block(rows, [THICKNESS_COLUMN])[:, 0]
        edges, bands = np.array(list(THICKNESS_BANDS_MM)), list(THICKNESS_BANDS_MM.values())
        places = np.searchsorted(edges, np.nan_to_num(thickness), side="left")
        named = [bands[place] if np.isfinite(mm) else "" for place, mm in zip(places, thickness, strict=True)]
        found["slice_thickness"] = np.array(named, dtype=np.str_)
    return found
