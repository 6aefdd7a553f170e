"""What becomes one stack, what is split, what is a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from data_pipeline import find_series, read_volume
from data_pipeline.discovery import survey
from domain.findings import Decision, QualityCode
from domain.records import FileStatus

MakeSeries = Callable[..., list[Path]]


def edit(paths: list[Path], change: Callable[[pydicom.Dataset, int], None]) -> None:
    """Change each file, given its place in slice order."""
    for index, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        change(dataset, index)
        dataset.save_as(path)


def set_value(keyword: str, value: Callable[[int], object]) -> Callable[[pydicom.Dataset, int], None]:
    def change(dataset: pydicom.Dataset, index: int) -> None:
        setattr(dataset, keyword, value(index))

    return change


def test_different_exposures_and_acquisition_numbers_never_split(make_series: MakeSeries) -> None:
    paths = make_series()
    edit(paths, set_value("Exposure", lambda index: 50 + index))
    edit(paths, set_value("AcquisitionNumber", lambda index: index + 1))
    series = find_series(paths[0].parent)
    assert [item.table.num_slices for item in series] == [24]


def test_two_passes_under_one_uid_are_told_apart_by_acquisition(make_series: MakeSeries) -> None:
    first = make_series("a", elements={(0x0020, 0x0012): ("IS", 1)})
    second = make_series("b", elements={(0x0020, 0x0012): ("IS", 2)}, hu=read_shifted(first))
    for path in second:
        shutil.copy(path, first[0].parent / f"second_{path.name}")
    series = find_series(first[0].parent)
    assert [item.table.num_slices for item in series] == [24, 24]
    assert all(QualityCode.REPEATED_POSITIONS in item.codes for item in series)
    assert sum(item.selected for item in series) == 1


def test_interleaved_acquisitions_are_two_stacks(make_series: MakeSeries) -> None:
    first = make_series("a", elements={(0x0020, 0x0012): ("IS", 1)})
    second = make_series("b", elements={(0x0020, 0x0012): ("IS", 2)}, first_z=3.0)
    for path in second:
        shutil.copy(path, first[0].parent / f"second_{path.name}")
    assert [item.table.num_slices for item in find_series(first[0].parent)] == [24, 24]


@pytest.mark.parametrize("keyword", ["folder", "SliceThickness", "SeriesDescription", "AcquisitionNumber"])
def test_a_lost_middle_is_missing_slices_whatever_changes_across_it(make_series: MakeSeries, keyword: str) -> None:
    paths = make_series()
    (paths[0].parent / "second").mkdir()
    for path in paths[8:14]:
        path.unlink()
    if keyword == "folder":
        for path in paths[14:]:
            path.rename(path.parent / "second" / path.name)
    else:
        edit(paths[14:], set_value(keyword, lambda _: "8"))
    series = find_series(paths[0].parent)
    assert [item.table.num_slices for item in series] == [18]
    assert QualityCode.MISSING_SLICES in series[0].codes
    assert QualityCode.REPEATED_POSITIONS not in series[0].codes
    assert series[0].decision is Decision.REJECT


def read_shifted(paths: list[Path]) -> np.ndarray:
    return np.clip(read_volume(paths[0].parent).voxels.transpose(2, 1, 0) + 30, -1000, 2000).astype(np.int16)


def test_copies_under_new_uids_do_not_double_a_scan(make_series: MakeSeries) -> None:
    paths = make_series()
    for path in paths[:7]:
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = pydicom.uid.generate_uid()
        dataset.save_as(path.with_name(f"copy_{path.name}"))
    series = find_series(paths[0].parent)
    assert [item.table.num_slices for item in series] == [24]
    finding = next(item for item in series[0].findings if item.code is QualityCode.DUPLICATE_SLICES)
    assert finding.facts["num_removed"] == 7


@pytest.mark.parametrize("name", ["IM005 (1).dcm", "a copy.dcm"])  # behind and before the whole ones
def test_a_damaged_copy_of_a_whole_image_costs_nothing(make_series: MakeSeries, name: str) -> None:
    paths = make_series()
    cut = paths[5].with_name(name)
    cut.write_bytes(paths[5].read_bytes()[:-3000])
    found = survey(paths[0].parent)
    assert [(item.table.num_slices, item.selected) for item in found.series] == [(24, True)]
    assert {item.path: item.code for item in found.files if item.status is FileStatus.UNREADABLE} == {
        str(cut): QualityCode.TRUNCATED
    }


@pytest.mark.parametrize("change", [{"SOPInstanceUID": "1.2.3"}, {"ImagePositionPatient": [0, 0, 500]}])
def test_a_damaged_image_of_its_own_still_refuses_the_series(
    make_series: MakeSeries, change: dict[str, object]
) -> None:
    paths = make_series()
    dataset = pydicom.dcmread(paths[5])
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    dataset.save_as(paths[5].with_name("other.dcm"))
    paths[5].with_name("other.dcm").write_bytes(paths[5].with_name("other.dcm").read_bytes()[:-3000])
    assert not any(item.selected for item in find_series(paths[0].parent))


@pytest.mark.parametrize("uid", ["", "1.2.3"])
def test_empty_or_equal_instance_uids_do_not_collapse_a_scan(make_series: MakeSeries, uid: str) -> None:
    paths = make_series()
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = uid
        dataset.save_as(path, enforce_file_format=False)
    assert [item.table.num_slices for item in find_series(paths[0].parent)] == [24]


def test_the_same_position_with_other_pixels_is_refused(make_series: MakeSeries) -> None:
    paths = make_series()
    dataset = pydicom.dcmread(paths[3])
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(paths[3].with_name("other.dcm"))
    series = find_series(paths[0].parent)
    assert all(item.decision is Decision.REJECT for item in series)


def test_without_uids_the_folder_makes_the_series(make_series: MakeSeries) -> None:
    blank = {(0x0020, 0x000D): ("UI", ""), (0x0020, 0x000E): ("UI", "")}
    first, second = make_series("a", elements=blank), make_series("b", elements=blank)
    series = find_series(first[0].parent.parent)
    assert [item.table.num_slices for item in series] == [24, 24]
    assert len({item.study_key for item in series}) == 2
    assert all(QualityCode.MISSING_UID in item.codes for item in series)
    assert second


def test_slice_thickness_is_never_taken_for_the_spacing(make_series: MakeSeries) -> None:
    paths = make_series(spacing_mm=(5.0, 5.0, 5.0), thickness_mm=10.0)  # overlapping slices
    assert read_volume(paths[0].parent).affine.spacing_mm[2] == pytest.approx(5.0)


def test_sequential_hrct_is_legal_and_marked(make_series: MakeSeries) -> None:
    paths = make_series(thickness_mm=1.0)
    volume = read_volume(paths[0].parent)
    assert volume.acquisition.is_sequential
    assert QualityCode.MISSING_SLICES not in {finding.code for finding in volume.findings}


def test_a_sequential_scan_with_a_slice_missing_is_refused(make_series: MakeSeries) -> None:
    paths = make_series(thickness_mm=1.0)
    paths[9].unlink()
    series = find_series(paths[0].parent)
    assert series[0].decision is Decision.REJECT
    assert QualityCode.MISSING_SLICES in series[0].codes


def test_keys_repeat_with_the_secret_and_hide_the_uid(make_series: MakeSeries) -> None:
    folder = make_series()[0].parent
    first, again = find_series(folder, secret=b"one")[0], find_series(folder, secret=b"one")[0]
    other = find_series(folder, secret=b"two")[0]
    assert first.series_key == again.series_key != other.series_key
    assert first.identity.series_uid not in first.series_key


def test_cosines_that_differ_by_rounding_are_one_orientation(make_series: MakeSeries) -> None:
    paths = make_series()
    edit(paths, set_value("ImageOrientationPatient", lambda index: [1, 0.005 + 1e-6 * (index % 2), 0, -0.005, 1, 0]))
    edit(paths, set_value("PixelSpacing", lambda index: [5.0005 - 1e-6 * (index % 2)] * 2))
    assert [item.table.num_slices for item in find_series(paths[0].parent)] == [24]


def test_slices_shifted_sideways_are_refused(make_series: MakeSeries) -> None:
    paths = make_series()
    edit(paths[10:], lambda dataset, index: shift(dataset, 8.0))
    series = find_series(paths[0].parent)[0]
    assert series.decision is Decision.REJECT
    assert QualityCode.UNEVEN_SPACING in series.codes or QualityCode.GANTRY_TILT in series.codes


def shift(dataset: pydicom.Dataset, distance_mm: float) -> None:
    x, y, z = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [float(x) + distance_mm, float(y), float(z)]


def test_axial_planes_are_usable_and_projections_are_not(make_series: MakeSeries) -> None:
    plane = make_series("plane", study="p", elements={(0x0008, 0x0008): ("CS", "DERIVED\\SECONDARY\\MPR")})
    mip = make_series("mip", study="m", elements={(0x0008, 0x0008): ("CS", "DERIVED\\SECONDARY\\AXIAL\\MIP")})
    by_folder = {Path(item.identity.path).name: item for item in find_series(plane[0].parent.parent)}
    assert by_folder["plane"].decision is Decision.WARN
    assert by_folder["mip"].decision is Decision.REJECT
    assert mip
