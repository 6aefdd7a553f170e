"""``failures.csv``: one row per study without an answer, with where and why."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from domain.records import CaseResult
from domain.whole_files import write_whole
from reports.table_rows import FAILURE_COLUMNS, PREDICTED, failure_row


def write(results: Iterable[CaseResult], path: Path) -> None:
    """Write the table; it has its header also when nothing failed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FAILURE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(failure_row(result) for result in results if result.status not in PREDICTED)
    write_whole(path, text.getvalue())
