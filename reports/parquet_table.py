"""``predictions.parquet``: the same rows and columns as ``predictions.csv``, with types."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from domain.records import CaseResult
from domain.whole_files import write_whole
from reports.table_rows import PREDICTED, plan_columns, prediction_row

TEXT_COLUMNS = frozenset(
    {
        *("case_key", "status", "pattern", "pattern_set", "quality_codes", "risk_group"),
        *("inputs_used", "inputs_missing", "endpoint", "prognosis_mode", "trained_on", "manufacturer", "kernel"),
    }
)
ROWS_PER_GROUP = 10_000  # rows held as Python objects at once


def write(results: Iterable[CaseResult], path: Path) -> None:
    """Write the table; see ``csv_table.write``."""
    again = list(results) if iter(results) is results else results
    columns = plan_columns(again).columns
    schema = pa.schema([(name, _column_type(name)) for name in columns])
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, schema) as writer:
        rows: list[dict[str, object]] = []
        for result in again:
            if result.status in PREDICTED:
                rows.append({**prediction_row(result, columns)})
            if len(rows) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows.clear()
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    write_whole(path, stream.getvalue())


def _column_type(name: str) -> pa.DataType:
    if name == "abstained":
        return pa.bool_()
    return pa.string() if name in TEXT_COLUMNS else pa.float64()
