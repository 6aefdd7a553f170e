"""The prognosis of every row of a case table, in the columns of ``predictions.csv``. Reads no scan."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from domain.antibodies import AntibodyVocabulary
from domain.covariates import CovariateVocabulary
from domain.errors import CaseTableError, InputError, PrognosisDataError
from domain.prognostic_data import PrognosticData
from domain.table_lines import delimiter_of, numbered_lines
from models.prognosis.cross_fitting import horizon_columns
from models.prognosis.data_frames import data_from_frame
from models.prognosis.explanation import inputs
from models.prognosis.feature_table import read_feature_table, with_features
from models.prognosis.guards import check_inputs
from models.prognosis.model import PrognosticModel

TEXT_COLUMNS = ("case_id", "patient_id", "site")
MISSING_WORDS = ["missing", "unknown"]  # beside pandas' own


def predict_table(
    heads: Mapping[str, PrognosticModel],
    cases: Path,
    features: Path | None = None,
    endpoint: str = "",
    *,
    antibodies: AntibodyVocabulary,
    covariates: CovariateVocabulary,
) -> pd.DataFrame:
    """Answer for the rows of a case table.

    Args:
        heads: Endpoint name -> head.
        cases: The table; outcomes in it are not looked at.
        features: Stored image features, see ``read_feature_table``.
        endpoint: Name of one of ``heads``; the first where empty.
        antibodies: Of the model.
        covariates: Of the model.

    Returns:
        One row per patient: ``case_key``, ``survival_<d>d`` with ``_lo`` and ``_hi``, ``cif_<cause>_<d>d``,
        ``risk_group``, ``inputs_used``, ``inputs_missing``, ``endpoint``. ``attrs["notes"]`` holds warnings about the
        cohort.

    Raises:
        InputError: No such endpoint, or the tables are not usable.
    """
    if not heads:
        raise InputError("the model has no prognostic head")
    if endpoint and endpoint not in heads:
        raise InputError(f"endpoint {endpoint!r} is unknown to this model, which knows: {', '.join(heads)}")
    head = heads[endpoint or next(iter(heads))]
    data = data_from_frame(_read(cases), antibodies=antibodies, covariates=covariates)
    if features is not None:
        data = with_features(data, read_feature_table(features), out_of_fold=None)
    if problems := check_inputs(data):
        raise PrognosisDataError(problems)
    frame = pd.DataFrame({"case_key": data.case_ids} | horizon_columns(head, data))
    days = head.endpoint.horizons_days
    for name, band in zip(("lo", "hi"), head.interval(data, np.array(days, dtype=np.float64)), strict=True):
        for index, day in enumerate(days):
            frame[f"survival_{day}d_{name}"] = band[:, index]
    risk = 1 - frame[f"survival_{head.endpoint.risk_horizon_days}d"]
    frame["risk_group"] = [head.endpoint.risk_group(value) if np.isfinite(value) else "" for value in risk]
    frame["inputs_used"], frame["inputs_missing"] = _inputs(head, data)
    frame["endpoint"] = head.endpoint.name
    frame.attrs["notes"] = [*head.state.summary.notes, *head.notes_for_use(data)]
    return frame


def _read(path: Path) -> pd.DataFrame:
    """The table with comma or semicolon; whole lines beginning with ``#`` are comments."""
    try:
        lines = [line for _, line in numbered_lines(path.read_text(encoding="utf-8-sig"))]
        frame = pd.read_csv(
            StringIO("\n".join(lines)),
            sep=delimiter_of("".join(lines[:1])),
            na_values=MISSING_WORDS,
            dtype=dict.fromkeys(TEXT_COLUMNS, str),
        )
    except (OSError, ValueError) as error:
        raise CaseTableError(path, [f"cannot be read as a table: {error}"]) from error
    return frame.rename(columns=str.strip)


def _inputs(head: PrognosticModel, data: PrognosticData) -> tuple[list[str], list[str]]:
    """Words of ``inputs_used`` and ``inputs_missing`` of each patient."""
    both = [inputs(head.state, data.take([row])) for row in range(len(data))]
    return [" ".join(used) for used, _ in both], [" ".join(missing) for _, missing in both]
