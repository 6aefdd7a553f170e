from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

from data_pipeline.case_matching import match_cases
from domain.findings import Finding, QualityCode, Severity
from domain.records import Case, SeriesRef, SeriesTable, SourceIdentity


def series(folder: Path, study: str, *, selected: bool = True, findings: tuple[Finding, ...] = ()) -> SeriesRef:
    return SeriesRef(
        series_key=f"{study}-{folder.name}", study_key=study, reader="dicom", files=(str(folder / "1.dcm"),),
        table=SeriesTable(num_files=1, num_slices=1), findings=findings, selected=selected,
        identity=SourceIdentity(study_uid=f"1.2.{study}"),
    )  # fmt: skip


def test_rows_name_studies_by_folder_or_uid(tmp_path: Path) -> None:
    noticed = (Finding(QualityCode.THICK_SLICES, Severity.WARN, "4 mm", {"slice_thickness_mm": 4.0}),)
    found = [series(tmp_path / "a" / "thin", "1", findings=noticed), series(tmp_path / "b", "2", findings=noticed)]
    rows = match_cases([Case("x", "x", scan="a"), Case("y", "y", scan="1.2.2")], found, tmp_path)
    assert [row.study.study_key for row in rows if row.study] == ["1", "2"]
    assert all(row.problem is None for row in rows)
    assert [row.files for row in rows] == [(tmp_path / "a" / "thin" / "1.dcm",), (tmp_path / "b" / "1.dcm",)]


def test_a_folder_whose_name_begins_alike_is_not_taken(tmp_path: Path) -> None:
    (row, rest) = match_cases([Case("x", "x", scan="a")], [series(tmp_path / "ab", "1")], tmp_path)
    assert row.problem is not None
    assert row.problem.code is QualityCode.SCAN_NOT_FOUND
    assert rest.case is None


def test_studies_no_row_names_are_kept(tmp_path: Path) -> None:
    rows = match_cases([], [series(tmp_path / "a", "1"), series(tmp_path / "b", "2")], tmp_path)
    assert [row.series is not None for row in rows] == [True, True]


def test_a_study_without_a_usable_series_says_why(tmp_path: Path) -> None:
    finding = Finding(QualityCode.MISSING_SLICES, Severity.REJECT, "2 slices are missing")
    (row,) = match_cases([], [series(tmp_path / "a", "1", selected=False, findings=(finding,))], tmp_path)
    assert row.problem is not None
    assert row.problem.code is QualityCode.MISSING_SLICES
    assert row.series is None


def test_two_studies_at_one_place_are_not_guessed_between(tmp_path: Path) -> None:
    found = [series(tmp_path / "a" / "1", "1"), series(tmp_path / "a" / "2", "2")]
    row = match_cases([Case("x", "x", scan="a")], found, tmp_path)[0]
    assert row.problem is not None
    assert row.problem.code is QualityCode.AMBIGUOUS_SCAN


def test_folders_with_the_member_sign_and_archives_in_them_are_matched(tmp_path: Path) -> None:
    found = [series(tmp_path / "new!" / "a", "1"), replace(series(tmp_path, "2"), files=(zipped(tmp_path / "b!c"),))]
    rows = match_cases([Case("x", "x", scan="new!/a"), Case("y", "y", scan="b!c/scan.zip")], found, tmp_path)
    assert [row.study.study_key for row in rows if row.study] == ["1", "2"]
    assert [row.files for row in rows] == [(tmp_path / "new!" / "a" / "1.dcm",), (tmp_path / "b!c" / "scan.zip",)]


def zipped(folder: Path) -> str:
    folder.mkdir()
    with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
        archive.writestr("1.dcm", b"image")
    return str(folder / "scan.zip!1.dcm")


def test_a_row_without_a_scan_is_no_problem(tmp_path: Path) -> None:
    (row,) = match_cases([Case("x", "x")], [], tmp_path)
    assert row.problem is None
    assert row.series is None
