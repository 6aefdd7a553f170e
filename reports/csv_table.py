"""``predictions.csv``: one row per study that has an answer, abstentions included."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from domain.records import CaseResult
from domain.whole_files import write_whole
from reports.table_rows import PREDICTED, Cell, plan_columns, prediction_row


def write(results: Iterable[CaseResult], path: Path) -> None:
    """Write the table; the columns of the contract in order, further ones after them.

    Args:
        results: In the order of the rows; iterated twice, so not a one-shot iterator of a large archive.
        path: Where to.
    """
    again = list(results) if iter(results) is results else results
    columns = plan_columns(again).columns
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for result in again:
        if result.status in PREDICTED:
            writer.writerow([_written(cell) for cell in prediction_row(result, columns).values()])
    write_whole(path, text.getvalue())


def _written(cell: Cell) -> str:
    """Empty for nothing, ``true`` and ``false`` as most programs write them."""
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell)
