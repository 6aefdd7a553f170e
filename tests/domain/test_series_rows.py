from __future__ import annotations

from domain.findings import Finding, QualityCode, Severity
from domain.records import FileRecord, FileStatus, SeriesRef, SeriesTable, SourceIdentity
from domain.series_rows import FILE_COLUMNS, SERIES_COLUMNS, file_row, series_row


def test_a_series_row_has_the_columns_of_the_contract_in_order() -> None:
    finding = Finding(QualityCode.THICK_SLICES, Severity.WARN, "thick")
    series = SeriesRef(
        "s1", "t1", "dicom", ("a",), SeriesTable(3, 3), findings=(finding, finding), identity=SourceIdentity(path="x/y")
    )
    row = series_row(series)
    assert tuple(row) == SERIES_COLUMNS
    assert row["codes"] == "thick_slices"
    assert row["path"] == "x/y"


def test_a_file_row_has_an_empty_code_when_there_is_none() -> None:
    row = file_row(FileRecord("a", FileStatus.USED))
    assert tuple(row) == FILE_COLUMNS
    assert row == {"path": "a", "status": "used", "code": ""}
