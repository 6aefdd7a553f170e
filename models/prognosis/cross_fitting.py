"""Heads for several endpoints of one cohort, and what they say of patients they never saw. Knows no files.

Legend: N cases, rows of the case table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from domain.cohort import with_outcomes
from domain.endpoints import Endpoint
from domain.patterns import PATTERNS
from domain.prognostic_data import PrognosticData
from domain.quantities import TABLE_QUANTITIES
from domain.records import Case
from domain.settings import PrognosisSettings
from models.prognosis.model import PrognosticModel
from models.prognosis.sample_size import sample_size_report

Rows = NDArray[np.int64]
Say = Callable[[str], None]
OWN_RISK = "risk_at_own_time"  # predicted risk of any event by the end of the patient's own follow-up


def fit_heads(
    cases: Sequence[Case],
    data: PrognosticData,
    endpoints: Sequence[Endpoint],
    settings: PrognosisSettings,
    say: Say,
) -> dict[str, PrognosticModel]:
    """One prognostic model per endpoint, on the cases whose outcome is known.

    Args:
        cases: N of them, with outcomes.
        data: Their inputs, image features out of fold.
        endpoints: Questions; one without any outcome is left out, and said.
        settings: Of the fit.
        say: Told the size of the cohort before each fit.

    Raises:
        PrognosisDataError: The guards refuse the cohort.
    """
    heads: dict[str, PrognosticModel] = {}
    for endpoint in endpoints:
        if not (known := known_outcomes(cases, endpoint)).size:
            say(f"no case has an outcome: no prognosis for {endpoint.name!r}")
            continue
        if hidden := hidden_events(cases, endpoint, endpoints):
            say(
                f"{endpoint.name!r} ends follow-up at {hidden} and knows nothing after it: its answers are too hopeful "
                f"unless column {endpoint.event_column!r} was made for it; give it a column of its own"
            )
        training = with_outcomes(data, cases, endpoint).take(known)
        for line in sample_size_report(training, settings, endpoint).lines():
            say(line)
        heads[endpoint.name] = PrognosticModel.fit(training, settings, endpoint)
    return heads


def hidden_events(cases: Sequence[Case], endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> str:
    """Events of other endpoints in the same column that censor this one: what followed them was never recorded."""
    others = {
        word
        for other in endpoints
        if other.event_column == endpoint.event_column
        for cause in other.causes
        for word in cause.events
    }
    found = {outcome.event for case in cases if (outcome := case.outcome_in(endpoint.event_column)) is not None}
    return ", ".join(sorted(found & others & set(endpoint.censored_events)))


def known_outcomes(cases: Sequence[Case], endpoint: Endpoint) -> Rows:
    """Rows with an outcome."""
    return np.flatnonzero([case.outcome_in(endpoint.event_column) is not None for case in cases])


def out_of_fold_columns(
    cases: Sequence[Case],
    data: PrognosticData,
    endpoint: Endpoint,
    held_out_rows: Sequence[Rows],
    settings: PrognosisSettings,
) -> pd.DataFrame:
    """``fold``, ``survival_<d>d``, ``cif_<cause>_<d>d``, ``risk_group`` and ``risk_at_own_time`` by unseeing heads.

    A row is answered by a head that was not fitted on its patient.

    Args:
        cases: N of them.
        data: Their inputs.
        endpoint: The question.
        held_out_rows: Rows of each fold. Rows in none of them only ever train; they get blanks.
        settings: Of the fits, which make no bands.

    Returns:
        N rows in the order of ``cases``.
    """
    frame = pd.DataFrame(index=range(len(cases)))
    quick = PrognosisSettings.model_validate(settings.model_dump() | {"num_bootstrap": 0})
    with_outcome, known = with_outcomes(data, cases, endpoint), known_outcomes(cases, endpoint)
    for fold, held_out in enumerate(held_out_rows):
        frame.loc[held_out, "fold"] = fold
        patients = {cases[row].patient_id for row in held_out}
        training_rows = np.array([row for row in known if cases[row].patient_id not in patients], dtype=np.int64)
        if training_rows.size:
            head = PrognosticModel.fit(with_outcome.take(training_rows), quick, endpoint)
            for column, values in horizon_columns(head, data.take(held_out)).items():
                frame.loc[held_out, column] = values
            answered = np.intersect1d(held_out, known)
            if answered.size:
                frame.loc[answered, OWN_RISK] = head.risk_at_own_time(with_outcome.take(answered))
    risk = 1 - frame.get(f"survival_{endpoint.risk_horizon_days}d", pd.Series(np.nan, frame.index))
    return frame.assign(risk_group=[endpoint.risk_group(value) if np.isfinite(value) else "" for value in risk])


def with_event_time_intervals(
    heads: Mapping[str, PrognosticModel],
    endpoint: Endpoint,
    cases: Sequence[Case],
    data: PrognosticData,
    columns: pd.DataFrame,
) -> dict[str, PrognosticModel]:
    """Heads, that of one endpoint with intervals for the event time calibrated on the out-of-fold answers.

    Args:
        heads: Endpoint name -> head fitted on all of ``cases``.
        endpoint: That of ``columns``.
        cases: N of them.
        data: Their inputs.
        columns: ``out_of_fold_columns``.
    """
    changed = dict(heads)
    if endpoint.name in heads and OWN_RISK in columns:
        risk = columns[OWN_RISK].to_numpy(dtype=np.float64)
        rows = np.flatnonzero(np.isfinite(risk))
        cohort = with_outcomes(data, cases, endpoint).take(rows)
        if np.any(cohort.cause):
            changed[endpoint.name] = heads[endpoint.name].with_conformal(cohort, risk=risk[rows])
    return changed


def image_columns(data: PrognosticData) -> pd.DataFrame:
    """``case_key`` and, where there is an image block, ``p_<pattern>``, ``pattern`` and the contract's quantities."""
    frame = pd.DataFrame({"case_key": data.case_ids})
    if (probabilities := data.pattern_probabilities) is not None:
        for index, pattern in enumerate(PATTERNS):
            frame[f"p_{pattern}"] = probabilities[:, index]
        is_known = np.atleast_1d(~np.isnan(probabilities).any(axis=1))
        likely: list[int] = np.nan_to_num(probabilities).argmax(axis=1).tolist()
        frame["pattern"] = [PATTERNS[i].value if known else "" for i, known in zip(likely, is_known, strict=True)]
    for name in TABLE_QUANTITIES:
        if data.quantitative is not None and name in data.quantitative_names:
            frame[name] = data.quantitative[:, data.quantitative_names.index(name)]
    return frame


def horizon_columns(head: PrognosticModel, data: PrognosticData) -> dict[str, NDArray[np.float64]]:
    """``survival_<d>d`` and ``cif_<cause>_<d>d`` of some patients at the horizons of the head's endpoint."""
    days = np.array(head.endpoint.horizons_days, dtype=np.float64)
    survival = head.survival(data, days)
    columns = {f"survival_{day:g}d": survival[:, index] for index, day in enumerate(days)}
    for cause, incidence in head.cumulative_incidence(data, days).items():
        columns |= {f"cif_{cause}_{day:g}d": incidence[:, index] for index, day in enumerate(days)}
    return columns
