"""Writes the case table of a synthetic cohort. Reading one, with all its checks, is ``data_pipeline.manifest``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from domain.antibodies import AntibodyStatus, AntibodyVocabulary
from domain.covariates import CovariateVocabulary
from domain.records import Case

CONSENSUS = "consensus"
GRADE_TEXT = {0: "-", 1: "(+)", 2: "+", 3: "++", 4: "+++"}


def case_table_text(cases: Sequence[Case], antibodies: AntibodyVocabulary, covariates: CovariateVocabulary) -> str:
    """The table as text, columns in the order of the vocabularies.

    Args:
        cases: Rows.
        antibodies: One ``ab_<key>`` column and its grade for each.
        covariates: One column, unit in the name, for each.
    """
    readers = list(dict.fromkeys(reader for case in cases for reader in case.pattern_votes))
    patterns = {reader: "pattern" if reader == CONSENSUS else f"pattern_{reader}" for reader in readers}
    heads = ["case_id", "patient_id", "scan", "site", *patterns.values()]
    heads += [name for entry in antibodies.antibodies for name in (entry.column, f"{entry.column}_grade")]
    heads += [entry.column for entry in covariates.covariates] + ["time_days", "event"]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, heads, restval="", lineterminator="\n")
    writer.writeheader()
    for case in cases:
        row: dict[str, object] = {
            "case_id": case.case_id,
            "patient_id": case.patient_id,
            "scan": case.scan or "",
            "site": case.site,
        }
        row |= {patterns[reader]: vote.value for reader, vote in case.pattern_votes.items()}
        for entry in antibodies.antibodies:
            result = case.antibodies.get(entry.key)
            row[entry.column] = (result.status if result else AntibodyStatus.NOT_TESTED).value
            if result and result.grade is not None:
                row[f"{entry.column}_grade"] = GRADE_TEXT[result.grade]
        row |= {entry.column: case.covariates.get(entry.key, "") for entry in covariates.covariates}
        if case.outcome:
            row |= {"time_days": case.outcome.time_days, "event": case.outcome.event}
        writer.writerow(row)
    return buffer.getvalue()


def write_case_table(
    path: Path, cases: Sequence[Case], antibodies: AntibodyVocabulary, covariates: CovariateVocabulary
) -> None:
    """Write the table, UTF-8."""
    path.write_text(case_table_text(cases, antibodies, covariates), encoding="utf-8")
