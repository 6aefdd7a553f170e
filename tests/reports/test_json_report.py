from __future__ import annotations

import json
from pathlib import Path

import pytest
from example_results import ALL_KINDS, predicted

from domain.records import CaseResult
from domain.result_json import result_from_json
from reports import json_report

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "schema" / "case.schema.json"


def test_a_written_result_reads_back(tmp_path: Path) -> None:
    json_report.write(predicted(), tmp_path / "case-1.json")
    back = result_from_json((tmp_path / "case-1.json").read_text())
    assert back.prediction == predicted().prediction


def test_the_published_schema_is_the_one_of_the_code() -> None:
    """Write it again with: python -m reports schema > docs/schema/case.schema.json."""
    assert PUBLISHED.read_text() == json_report.schema_text()


@pytest.mark.parametrize("result", ALL_KINDS, ids=lambda result: result.case_key)
def test_results_hold_only_what_the_schema_names(result: CaseResult) -> None:
    schema = json.loads(json_report.schema_text())
    assert set(json.loads(result.model_dump_json())) <= set(schema["properties"])
