"""``<case_key>.json``: everything about one study, and the JSON Schema that says what can stand in it."""

from __future__ import annotations

import json
from pathlib import Path

from domain.records import CaseResult
from domain.result_json import result_to_json
from domain.whole_files import write_whole


def write(result: CaseResult, path: Path) -> None:
    """Write one result as the batch runner does: check sum included, timings left out."""
    write_whole(path, result_to_json(result))


def schema_text() -> str:
    """The JSON Schema of a result file; ``docs/schema/case.schema.json`` holds this text."""
    schema = CaseResult.model_json_schema(mode="serialization")
    header = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "myolung/case.schema.json"}
    return json.dumps({**header, **schema}, indent=1) + "\n"
