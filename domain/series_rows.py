"""Columns of ``series.csv`` and ``files.csv``: one order for every command that writes them.."""

from __future__ import annotations

from dataclasses import asdict

from domain.records import FileRecord, SeriesRef

Cell = str | int | float | bool | None

SERIES_COLUMNS: tuple[str, ...] = (
    "series_key",
    "study_key",
    "decision",
    "selected",
    "codes",
    "message",
    "num_files",
    "num_slices",
    "rows",
    "columns",
    "row_spacing_mm",
    "column_spacing_mm",
    "slice_gap_mm",
    "slice_thickness_mm",
    "kernel",
    "patient_position",
    "phase",
    "manufacturer",
    "transfer_syntax",
    "path",
)
FILE_COLUMNS: tuple[str, ...] = ("path", "status", "code")


def series_row(series: SeriesRef) -> dict[str, Cell]:
    """One row of ``series.csv``; ``path`` identifies the source, so the file belongs under ``private/``."""
    row: dict[str, Cell] = {
        "series_key": series.series_key,
        "study_key": series.study_key,
        "decision": series.decision.value,
        "selected": series.selected,
        "codes": ";".join(code.value for code in series.codes),
        "message": series.message,
        **asdict(series.table),
        "path": series.identity.path,
    }
    return {name: row[name] for name in SERIES_COLUMNS}


def file_row(record: FileRecord) -> dict[str, Cell]:
    """One row of ``files.csv``."""
    return {"path": record.path, "status": record.status.value, "code": record.code.value if record.code else ""}
