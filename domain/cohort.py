"""Rows of a case table as the arrays the prognostic head reads. The same coding for training and for one patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domain.antibodies import STATUS_CODES, AntibodyResult, AntibodyVocabulary
from domain.covariates import CovariateVocabulary
from domain.endpoints import Endpoint
from domain.prognostic_data import FloatArray, PrognosticData
from domain.records import Case


def code_cohort(
    cases: Sequence[Case],
    antibodies: AntibodyVocabulary,
    covariates: CovariateVocabulary,
    endpoint: Endpoint | None = None,
) -> PrognosticData:
    """Code the tables of N cases; image blocks are left absent.

    Args:
        cases: One per row.
        antibodies: Columns of the antibody block, in order.
        covariates: Columns of the covariate block, in order.
        endpoint: Codes the outcomes; None leaves them out. A case without outcome gets time NaN and cause 0.

    Returns:
        Antibodies (N, A), grades (N, A), covariates (N, C), centres, and outcomes where asked for.
    """
    untested = AntibodyResult()
    results = [[case.antibodies.get(key, untested) for key in antibodies.keys] for case in cases]
    shape = (len(cases), len(antibodies.keys))
    states = np.array([[STATUS_CODES[result.status] for result in row] for row in results], dtype=np.int8)
    grades = np.array(
        [[np.nan if result.grade is None else float(result.grade) for result in row] for row in results],
        dtype=np.float64,
    )
    data = PrognosticData(
        case_ids=tuple(case.case_id for case in cases),
        antibody_keys=antibodies.keys,
        antibodies=states.reshape(shape),
        antibody_grades=grades.reshape(shape),
        covariate_names=covariates.coded_names,
        covariates=covariates.code([case.covariates for case in cases]),
        centres=tuple(case.site for case in cases),
        antibody_groups=antibodies.group_names,
        covariate_blocks=covariates.coded_blocks,
        patient_ids=tuple(case.patient_id for case in cases),
    )
    return data if endpoint is None else with_outcomes(data, cases, endpoint)


def with_outcomes(data: PrognosticData, cases: Sequence[Case], endpoint: Endpoint) -> PrognosticData:
    """Add time and cause of one endpoint. Events after the endpoint's window are censored at the window."""
    outcomes = [case.outcome_in(endpoint.event_column) for case in cases]
    time_days: FloatArray = np.array([np.nan if outcome is None else outcome.time_days for outcome in outcomes])
    cause = np.array([0 if outcome is None else endpoint.cause_index(outcome.event) or 0 for outcome in outcomes])
    if endpoint.window_days is not None:
        cause = np.where(time_days > endpoint.window_days, 0, cause)
        time_days = np.minimum(time_days, endpoint.window_days)
    return data.replaced(time_days=time_days, cause=cause.astype(np.int64))
