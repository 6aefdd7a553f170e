"""From an answer, or a refusal before reading, to the record that is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from domain.antibodies import AntibodyStatus
from domain.errors import StudyError
from domain.records import Case, CaseResult, CaseStatus, FindingRecord, Prediction, SeriesRef, StudyTask


def make_result(
    key: str,
    prediction: Prediction,
    source: StudyTask | Case,
    trained_on: str,
    seconds: Mapping[str, float],
    pictures: Mapping[str, str],
) -> CaseResult:
    """A prediction as the record that is written; what header and volume showed stands together, each code once."""
    series: SeriesRef | None = None if isinstance(source, Case) else source.series
    case = source if isinstance(source, Case) else source.case
    noticed = [FindingRecord.of(finding) for finding in (series.findings if series else ())]
    findings = {finding.code: finding for finding in (*prediction.findings, *noticed)}
    abstained = prediction.pattern is not None and prediction.pattern.abstained
    return CaseResult(
        case_key=key,
        status=CaseStatus.ABSTAINED if abstained else CaseStatus.PREDICTED,
        trained_on=trained_on,
        series_key=series.series_key if series else "",
        series_message=series.message if series else "no scan: prognosis from the case table alone",
        prediction=prediction.model_copy(update={"findings": tuple(findings.values())}),
        antibodies={
            name: result.status.value
            for name, result in (case.antibodies if case else {}).items()
            if result.status is not AntibodyStatus.NOT_TESTED
        },
        covariates=dict(case.covariates) if case else {},
        scan_facts=asdict(series.table) if series else {},
        pictures=dict(pictures),
        seconds={**seconds, "total": sum(seconds.values())},
    )


def refused(key: str, problem: StudyError, trained_on: str) -> CaseResult:
    """A study that was refused before it was read."""
    return CaseResult(
        case_key=key,
        status=CaseStatus.REJECTED,
        trained_on=trained_on,
        failure_stage=problem.stage,
        failure_code=problem.code,
        failure_message=problem.message,
    )
