"""CSV text and screen tables of what was found. Knows no scan format."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

from domain.findings import QualityCode, Severity
from domain.records import FileRecord, FileStatus, SeriesRef
from domain.series_rows import FILE_COLUMNS, SERIES_COLUMNS, Cell, file_row, series_row


def csv_parts(columns: Sequence[str], rows: Iterable[Mapping[str, Cell]]) -> Iterator[str]:
    """A CSV file line by line; missing values are empty, booleans ``true`` and ``false``."""
    line = io.StringIO()
    writer = csv.DictWriter(line, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(row[name]) for name in columns})
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Cell]]) -> str:
    """A CSV file as text."""
    return "".join(csv_parts(columns, rows))


def _cell(value: Cell) -> str | int | float:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # Lone surrogates stand for bytes of a path that are no UTF-8: shown, not crashed over.
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "" if value is None else value


def series_csv(series: Iterable[SeriesRef]) -> str:
    """``series.csv`` of the contract."""
    return csv_text(SERIES_COLUMNS, (series_row(item) for item in series))


def files_csv(files: Iterable[FileRecord]) -> Iterator[str]:
    """``files.csv`` of the contract, in parts: it has a line for every file of a tree."""
    return csv_parts(FILE_COLUMNS, (file_row(record) for record in files))


def screen_lines(series: Sequence[SeriesRef]) -> list[str]:
    """The series as a table for the screen, each with its reason below it; nothing identifying."""
    lines = [f"{'':2}{'series':16}  {'decision':8}  {'slices':>6}  {'matrix':>9}  {'gap mm':>6}  {'kernel':10}  codes"]
    for item in series:
        table = item.table
        matrix = f"{table.rows}x{table.columns}" if table.rows else "-"
        gap = f"{table.slice_gap_mm:.2f}" if table.slice_gap_mm is not None else "-"
        codes = " ".join(code.value for code in item.codes) or "-"
        mark = "*" if item.selected else ""
        lines.append(
            f"{mark:2}{item.series_key:16}  {item.decision.value:8}  {table.num_slices:>6}  {matrix:>9}  {gap:>6}  "
            f"{(table.kernel or '-')[:10]:10}  {codes}"
        )
        lines.append(f"{'':4}{item.message}")
        shown = [finding for finding in item.findings if finding.severity is Severity.WARN]
        lines += [f"{'':4}warning: {finding.message}" for finding in shown]
    return lines


def summary_line(series: Sequence[SeriesRef], files: Sequence[FileRecord]) -> str:
    """Counts in one line."""
    num_used = sum(record.status is FileStatus.USED for record in files)
    studies = {item.study_key for item in series}
    chosen = sum(item.selected for item in series)
    closed = sum(record.code is QualityCode.UNSUPPORTED_ARCHIVE for record in files)
    advice = f"; {closed} archives are of a kind that is not opened (tar, gz, 7z, rar, zip in zip): unpack them"
    return (
        f"{len(files)} files ({num_used} used), {len(series)} series in {len(studies)} studies, "
        f"{chosen} series chosen (marked *)" + (advice if closed else "")
    )
