"""What a survey puts on disk comes back as it was, and the result does not depend on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data_pipeline import discovery, find_series
from data_pipeline.dicom_header import read_header
from data_pipeline.dicom_images import Instance
from data_pipeline.discovery import survey
from data_pipeline.image_shelf import ImageShelf
from data_pipeline.series_building import series_key_of
from data_pipeline.spool import FileListing, Spool
from domain.file_names import FileNames
from domain.findings import QualityCode
from domain.records import FileRecord, FileStatus

MakeSeries = Callable[..., list[Path]]


@pytest.fixture
def images(make_series: MakeSeries) -> list[Instance]:
    paths = [*make_series("a", study="a"), *make_series("b", study="b")]
    paths[3].write_bytes(paths[3].read_bytes()[:-100])
    return [read_header(str(path)).instances[0] for path in paths[::2] + paths[1::2]]


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_images_come_back_whole_by_series_in_their_order(images: list[Instance], limit: int) -> None:
    shelf = ImageShelf(series_key_of, limit=limit)
    for image in images:
        shelf.add(image)
    assert shelf.is_on_disk is (limit < 1000)
    taken = dict(shelf.take_all())
    assert len(taken) == 2
    for key, group in taken.items():
        assert group == [image for image in images if series_key_of(image) == key]
        assert group[0].shared is group[1].shared or limit < 2


def test_a_survey_finds_the_same_with_and_without_the_disk(
    make_series: MakeSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_series("a", study="a")
    folder = make_series("b", study="b")[0].parent.parent
    (folder / "note.txt").write_text("junk")
    expected = survey(folder, secret=b"s")
    monkeypatch.setattr(discovery, "ImageShelf", lambda key: ImageShelf(key, limit=5))
    monkeypatch.setattr(discovery, "FileListing", lambda: FileListing(limit=3))
    found = survey(folder, secret=b"s")
    assert found.series == expected.series
    assert sorted(map(str, found.files)) == sorted(map(str, expected.files))


def test_a_full_temporary_folder_costs_memory_not_the_survey(
    images: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "write", full)
    shelf, listing = ImageShelf(series_key_of, limit=5), FileListing(limit=2)
    for image in images:
        shelf.add(image)
        listing.extend([FileRecord(image.source, FileStatus.USED)])
    assert sum(len(group) for _, group in shelf.take_all()) == len(images) == len(list(listing))


def test_a_listing_is_a_sequence_of_records_wherever_they_are() -> None:
    records = [FileRecord(f"/a/\udcff{number}", FileStatus.IGNORED, QualityCode.NOT_DICOM) for number in range(10)]
    listing = FileListing(records, limit=4)
    assert list(listing) == records == list(listing)
    assert (len(listing), listing[9], listing[1:3]) == (10, records[9], tuple(records[1:3]))


@pytest.mark.parametrize("names", [(), ("",), ("/a/b",), ("/a/1", "/a/2", "/b"), ("/a/\udcff", "/a/\u4e2d.zip!x")])
def test_packed_names_are_the_names(names: tuple[str, ...]) -> None:
    packed = FileNames.of(names)
    assert tuple(packed) == names
    assert packed == names == packed
    assert hash(packed) == hash(names)
    assert (len(packed), packed[:1]) == (len(names), names[:1])


def test_packed_names_take_little_memory() -> None:
    names = [f"/archive/PAT0001/1.2.840.113619.2.55.3.2831.{number * 7919}" for number in range(400)]
    assert len(FileNames.of(names).packed) < 6 * len(names)


def test_series_files_are_in_slice_order(make_series: MakeSeries) -> None:
    paths = make_series()
    assert list(find_series(paths[0].parent)[0].files) == [str(path) for path in paths]
