"""Files, links and zip archives as sources of bytes."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_pipeline import header_scan, read_volume
from data_pipeline.discovery import survey
from data_pipeline.source_listing import list_sources
from data_pipeline.sources import read_span, read_start
from domain.findings import QualityCode
from domain.records import FileRecord, FileStatus


def names(root: Path) -> list[str]:
    return [item if isinstance(item, str) else f"{item.path} {item.code}" for item in list_sources(root)]


def test_a_zip_is_read_in_place_and_equals_its_folder(make_series: object, tmp_path: Path) -> None:
    paths = make_series()  # type: ignore[operator]
    archive = tmp_path / "scans.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in paths:
            target.write(path, f"study/{path.name}")
    assert np.array_equal(read_volume(archive).voxels, read_volume(paths[0].parent).voxels)
    assert sorted(tmp_path.iterdir()) == [archive, paths[0].parent]


@pytest.mark.parametrize("name", ["../../evil.dcm", "/etc/evil.dcm", "..\\evil.dcm", "C:/evil.dcm"])
def test_member_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr(name, b"x" * 200)
    records = survey(archive).files
    assert [record.code for record in records] == [QualityCode.UNSAFE_ARCHIVE]


def test_links_inside_archives_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link.dcm")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as target:
        target.writestr(info, "/etc/passwd")
    assert survey(tmp_path / "a.zip").files[0].code is QualityCode.UNSAFE_ARCHIVE


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("bomb.dcm", b"\0" * (64 << 20))
    assert survey(tmp_path / "a.zip").files[0].code is QualityCode.UNSAFE_ARCHIVE


def test_a_broken_archive_is_one_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 not really")
    record = survey(tmp_path).files[0]
    assert (record.status, record.code) == (FileStatus.UNREADABLE, QualityCode.UNREADABLE)


def test_links_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path) == [str(tmp_path / "a" / "file")]


def test_broken_links_and_pipes_are_listed_not_opened(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    found = list(list_sources(tmp_path))
    assert all(isinstance(item, FileRecord) for item in found)
    assert len(found) == 2


@pytest.mark.parametrize("name", [".a1b2.dcm.12-0a0b0c0d.partial", ".a1b2.12-0a0b0c0d.partial/0.dcm"])
def test_what_a_killed_listener_or_fetch_left_is_no_part_of_the_scan(
    make_series: object, tmp_path: Path, name: str
) -> None:
    paths = make_series()  # type: ignore[operator]
    remains = paths[0].parent / name
    remains.parent.mkdir(exist_ok=True)
    half = paths[1].read_bytes()
    remains.write_bytes(half[: len(half) // 2])
    found = survey(tmp_path)
    assert [series.table.num_slices for series in found.series] == [len(paths)]
    assert not any("partial" in file for series in found.series for file in series.files)
    assert sum(record.status is FileStatus.IGNORED for record in found.files) == 1


def test_a_name_with_the_member_sign_is_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "odd!name.dcm"
    path.write_bytes(b"abcdef")
    assert read_start(str(path), 3) == (b"abc", 6)
    assert read_span(str(path), 2, 100) == b"cdef"


def test_a_file_that_vanishes_during_the_survey_is_one_unreadable_file(
    make_series: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_series()[0].parent  # type: ignore[operator]
    (folder / "note.txt").write_text("no scan, and gone before its second reading")
    read_header = header_scan.read_header

    def read_and_remove(source: str) -> object:
        try:
            return read_header(source)
        finally:
            if source.endswith("note.txt"):
                Path(source).unlink()

    monkeypatch.setattr(header_scan, "read_header", read_and_remove)
    found = survey(folder)
    assert [item.table.num_files for item in found.series] == [24]
    assert [record.code for record in found.files if record.status is FileStatus.UNREADABLE] == [QualityCode.UNREADABLE]


@pytest.mark.parametrize("name", ["._chest.nii.gz", "._chest.mha", "._IM1.dcm"])
def test_shadows_that_macos_writes_are_no_scans(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(100))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as target:
        target.write(tmp_path / name, name)
    found = survey(tmp_path)
    assert found.series == ()
    assert {(record.status, record.code) for record in found.files} == {(FileStatus.IGNORED, QualityCode.NOT_DICOM)}


def test_names_that_are_no_utf8_are_survived(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff\xfe.dcm"
    with open(raw, "wb") as stream:  # noqa: PTH123 - a name that pathlib can hold, but only as surrogates
        stream.write(b"junk")
    assert survey(tmp_path).files[0].code is QualityCode.NOT_DICOM
