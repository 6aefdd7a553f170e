"""A data frame as the head's arrays, by the same columns as a case table. For use from Python; scans play no part."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from domain.antibodies import GRADES, STATUS_CODES, AntibodyStatus, AntibodyVocabulary, load_antibody_vocabulary
from domain.covariates import CovariateEntry, CovariateKind, CovariateValue, CovariateVocabulary
from domain.covariates import load_covariate_vocabulary as load_covariates
from domain.endpoints import Endpoint
from domain.errors import PrognosisDataError
from domain.prognostic_data import PrognosticData
from domain.records import IGNORED_PREFIX

MAX_SHOWN = 3  # values quoted in one message
MISSPELT_LIKENESS = 0.85  # of an unknown column to a known one, 0 to 1 (difflib)


def data_from_frame(
    frame: pd.DataFrame,
    endpoint: Endpoint | None = None,
    *,
    antibodies: AntibodyVocabulary | None = None,
    covariates: CovariateVocabulary | None = None,
) -> PrognosticData:
    """Code a frame with the columns of a case table (``ab_mda5``, ``ferritin_ng_ml``, ``time_days``, ...).

    Args:
        frame: One row per patient. Absent columns are missing inputs; ``case_id``, ``patient_id`` and ``site`` may be
            absent too. Columns of other names are not looked at unless they look like a misspelt one.
        endpoint: Codes the outcome columns it names; None for patients to be predicted.
        antibodies: The shipped vocabulary where None.
        covariates: The shipped vocabulary where None; a cohort's own YAML for other covariates.

    Raises:
        PrognosisDataError: Unknown states, levels or events, values out of range or measured after the index CT, and
            columns that look misspelt or like a covariate without a declared unit; every problem named at once.
    """
    panel, vocabulary = antibodies or load_antibody_vocabulary(), covariates or load_covariates()
    problems: list[str] = []
    states = np.array([_states(frame, f"ab_{key}", problems) for key in panel.keys], dtype=np.int8).T
    grades = np.array([_grades(frame, f"ab_{key}_grade", problems) for key in panel.keys], dtype=np.float64).T
    values = {entry.key: _values(frame, entry, problems) for entry in vocabulary.covariates}
    rows = [_row(values, index) for index in range(len(frame))]
    problems += [*_unknown_columns(frame, panel, vocabulary), *_late_inputs(frame, panel, vocabulary)]
    case_ids, patient_ids = _identities(frame, problems)
    data = PrognosticData(
        case_ids=case_ids,
        antibody_keys=panel.keys,
        antibodies=states,
        antibody_grades=grades,
        covariate_names=vocabulary.coded_names,
        covariates=vocabulary.code(rows),
        centres=_texts(frame, "site"),
        antibody_groups=panel.group_names,
        covariate_blocks=vocabulary.coded_blocks,
        patient_ids=patient_ids,
    )
    if endpoint is not None:
        data = _with_outcomes(data, frame, endpoint, problems)
    if problems:
        raise PrognosisDataError(problems)
    return data


def _texts(frame: pd.DataFrame, column: str) -> tuple[str, ...] | None:
    """A column as words, blank where a cell is missing; None without the column."""
    return tuple("" if pd.isna(value) else str(value) for value in frame[column]) if column in frame else None


def _identities(frame: pd.DataFrame, problems: list[str]) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Case ids, each once, and patient ids: the case's own where the table leaves one blank."""
    cases = _texts(frame, "case_id") or tuple(f"row_{index:06d}" for index in range(len(frame)))
    if repeated := sorted({case for case in cases if cases.count(case) > 1})[:MAX_SHOWN]:
        problems.append(f"case_id: {', '.join(map(repr, repeated))} stand more than once; every row is one case")
    patients = _texts(frame, "patient_id")
    return cases, patients and tuple(patient or case for patient, case in zip(patients, cases, strict=True))


def _states(frame: pd.DataFrame, column: str, problems: list[str]) -> list[int]:
    """Codes of one antibody column; not tested where the column or the cell is empty."""
    if column not in frame:
        return [STATUS_CODES[AntibodyStatus.NOT_TESTED]] * len(frame)
    words = [AntibodyStatus.NOT_TESTED.value if pd.isna(v) or v == "" else str(v).casefold() for v in frame[column]]
    known = {status.value for status in AntibodyStatus}
    if wrong := sorted(set(words) - known)[:MAX_SHOWN]:
        problems.append(f"{column}: {', '.join(map(repr, wrong))}; expected {', '.join(sorted(known))} or blank")
    return [STATUS_CODES[AntibodyStatus(word)] if word in known else 0 for word in words]


def _grades(frame: pd.DataFrame, column: str, problems: list[str]) -> list[float]:
    """Line-blot grades of one antibody column, NaN where none is given."""
    if column not in frame:
        return [np.nan] * len(frame)
    words = ["" if pd.isna(value) else str(value).casefold() for value in frame[column]]
    if wrong := sorted({word for word in words if word and word not in GRADES})[:MAX_SHOWN]:
        problems.append(f"{column}: {', '.join(map(repr, wrong))}; expected {', '.join(GRADES)} or blank")
    return [float(GRADES.get(word, np.nan)) for word in words]


def _values(frame: pd.DataFrame, entry: CovariateEntry, problems: list[str]) -> list[CovariateValue | None]:
    """Values of one covariate in its canonical unit, None where missing."""
    for column, factor in entry.columns_with_factor.items():
        if column in frame:
            given = [None if pd.isna(value) or value == "" else value for value in frame[column]]
            coded = [_value(value, entry, factor) for value in given]
            wrong = [v for v, c in zip(given, coded, strict=True) if v is not None and c is None]
            if wrong:
                shown = ", ".join(map(repr, wrong[:MAX_SHOWN]))
                problems.append(f"{column}: impossible value(s) {shown}; expected {_expected(entry)}")
            return coded
    return [None] * len(frame)


def _value(value: Any, entry: CovariateEntry, factor: float) -> CovariateValue | None:
    """A value in the canonical unit; None where it is missing or impossible."""
    if value is None:
        return None
    if entry.kind is CovariateKind.CATEGORICAL:
        return str(value).casefold() if str(value).casefold() in entry.levels else None
    try:
        number = float(value) * factor
    except (TypeError, ValueError):
        return None
    low, high = entry.plausible_range
    return number if np.isfinite(number) and low <= number <= high else None


def _expected(entry: CovariateEntry) -> str:
    if entry.kind is CovariateKind.CATEGORICAL:
        return ", ".join(entry.levels)
    low, high = entry.plausible_range
    return f"{low:g} to {high:g} {entry.unit}"


def _row(values: Mapping[str, Sequence[CovariateValue | None]], index: int) -> dict[str, CovariateValue]:
    return {key: value for key, column in values.items() if (value := column[index]) is not None}


def _unknown_columns(frame: pd.DataFrame, panel: AntibodyVocabulary, vocabulary: CovariateVocabulary) -> list[str]:
    """Columns that would be silently left out: unknown antibodies, covariates without their unit, misspelt names."""
    units = {entry.key: ", ".join(entry.columns_with_factor) for entry in vocabulary.covariates if entry.unit}
    inputs = {column for entry in vocabulary.covariates for column in entry.columns_with_factor}
    inputs |= {f"ab_{key}{what}" for key in panel.keys for what in ("", "_grade", "_assay")}
    known = inputs | set(_day_columns(panel, vocabulary))
    problems = []
    for column in sorted(set(map(str, frame.columns)) - known):
        if column.startswith(IGNORED_PREFIX):
            continue
        without_unit = next((key for key in units if column == key or column.startswith(f"{key}_")), None)
        if without_unit is not None:
            named = f"the unit of {without_unit} is not declared; known columns: {units[without_unit]}"
            problems.append(f"{column}: {named}")
        elif alike := difflib.get_close_matches(column, known, n=1, cutoff=MISSPELT_LIKENESS):
            problems.append(f"{column}: not known; is {alike[0]!r} meant?")
        elif column.startswith("ab_"):
            problems.append(f"{column}: unknown antibody; known: {', '.join(panel.keys)}")
    return problems


def _day_columns(panel: AntibodyVocabulary, vocabulary: CovariateVocabulary) -> list[str]:
    return [f"{name}_day" for name in (*(f"ab_{key}" for key in panel.keys), *(c.key for c in vocabulary.covariates))]


def _late_inputs(frame: pd.DataFrame, panel: AntibodyVocabulary, vocabulary: CovariateVocabulary) -> list[str]:
    """Inputs of which a date says that the index CT was before them."""
    problems = []
    for column in _day_columns(panel, vocabulary):
        days = pd.to_numeric(frame[column], errors="coerce") if column in frame else pd.Series(dtype=float)
        if (late := int((days > 0).sum())) > 0:
            what = f"{late} value(s) measured after the index CT, up to {days.max():g} days"
            problems.append(f"{column}: {what}; only inputs up to the CT may be used")
    return problems


def _with_outcomes(
    data: PrognosticData, frame: pd.DataFrame, endpoint: Endpoint, problems: list[str]
) -> PrognosticData:
    missing = [name for name in (endpoint.time_column, endpoint.event_column) if name not in frame]
    if missing:
        problems += [f"{name}: the column is absent; endpoint {endpoint.name!r} needs it" for name in missing]
        return data
    words = [str(event) for event in frame[endpoint.event_column]]
    causes = [endpoint.cause_index(word) for word in words]
    if wrong := sorted({w for w, cause in zip(words, causes, strict=True) if cause is None})[:MAX_SHOWN]:
        problems.append(f"{endpoint.event_column}: unknown event(s) {', '.join(map(repr, wrong))}")
    return data.replaced(
        time_days=frame[endpoint.time_column].to_numpy(dtype=np.float64),
        cause=np.array([cause or 0 for cause in causes], dtype=np.int64),
    )
