"""Enhanced multi-frame CT: the same volume as its classic slices, whatever the order, syntax or fragmentation."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, itemize_frame

from data_pipeline import find_series, read_volume
from domain.errors import StudyError
from domain.findings import Decision, QualityCode

MakeSeries = Callable[..., list[Path]]
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
JPEG_LS = "1.2.840.10008.1.2.4.80"


def item(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def enhance(paths: list[Path], order: list[int], *, shared_rescale: bool = True) -> Dataset:
    """One enhanced object from classic slices, frames in any order."""
    classic = [pydicom.dcmread(path) for path in paths]
    merged = pydicom.dcmread(paths[0])
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
                    "RescaleIntercept", "SliceLocation"):  # fmt: skip
        if keyword in merged:
            delattr(merged, keyword)
    merged.SOPClassUID = merged.file_meta.MediaStorageSOPClassUID = ENHANCED_CT
    merged.NumberOfFrames = len(order)
    rescale = item(RescaleSlope=1, RescaleIntercept=classic[0].RescaleIntercept, RescaleType="HU")
    merged.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=classic[0].ImageOrientationPatient)],
            PixelMeasuresSequence=[item(PixelSpacing=classic[0].PixelSpacing, SliceThickness=10)],
            **({"PixelValueTransformationSequence": [rescale]} if shared_rescale else {}),
        )
    ]
    merged.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=classic[place].ImagePositionPatient)],
            FrameContentSequence=[item(FrameAcquisitionNumber=1, TemporalPositionIndex=1)],
            **({} if shared_rescale else {"PixelValueTransformationSequence": [rescale]}),
        )
        for place in order
    ]
    merged.PixelData = b"".join(classic[place].PixelData for place in order)
    return merged


@pytest.fixture
def shuffled(make_series: MakeSeries) -> tuple[Path, Dataset, Path]:
    """Classic folder, its enhanced counterpart, and where to save that."""
    paths = make_series()
    order = list(range(len(paths)))
    random.Random(4).shuffle(order)
    target = paths[0].parent.parent / "enhanced"
    target.mkdir()
    return paths[0].parent, enhance(paths, order), target / "one.dcm"


def assert_equal_volumes(folder: Path, path: Path) -> None:
    classic, enhanced = read_volume(folder), read_volume(path)
    assert np.array_equal(classic.voxels, enhanced.voxels)
    assert np.allclose(classic.affine.matrix, enhanced.affine.matrix, atol=1e-6)
    assert classic.content_digest == enhanced.content_digest


@pytest.mark.parametrize("shared_rescale", [True, False])
def test_shuffled_frames_give_the_classic_volume(make_series: MakeSeries, *, shared_rescale: bool) -> None:
    paths = make_series()
    order = [*range(1, len(paths), 2), *range(0, len(paths), 2)]
    target = paths[0].parent.parent / "one.dcm"
    enhance(paths, order, shared_rescale=shared_rescale).save_as(target)
    assert find_series(target)[0].table.num_slices == len(paths)
    assert_equal_volumes(paths[0].parent, target)


@pytest.mark.parametrize("has_table", [True, False], ids=["offset table", "empty table"])
@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_in_many_fragments_are_put_together(
    shuffled: tuple[Path, Dataset, Path], *, has_table: bool, fragments: int
) -> None:
    folder, dataset, path = shuffled
    frames = [imagecodecs.jpegls_encode(frame) for frame in dataset.pixel_array]
    if fragments == 1:
        dataset.PixelData = encapsulate(frames, has_bot=has_table)
    else:
        dataset.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=has_table)
        assert len(list(itemize_frame(frames[0], fragments))) == fragments
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEG_LS
    dataset.save_as(path)
    assert_equal_volumes(folder, path)


def test_an_object_that_describes_fewer_frames_than_it_declares_is_refused(
    shuffled: tuple[Path, Dataset, Path],
) -> None:
    _, dataset, path = shuffled
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:-3]
    dataset.save_as(path)
    with pytest.raises(StudyError) as caught:
        read_volume(path)
    assert caught.value.code is QualityCode.UNREADABLE


def test_a_frame_that_is_missing_is_noticed(make_series: MakeSeries) -> None:
    paths = make_series()
    target = paths[0].parent.parent / "one.dcm"
    enhance(paths, [place for place in range(len(paths)) if place != 9]).save_as(target)
    series = find_series(target)[0]
    assert series.decision is Decision.REJECT
    assert QualityCode.MISSING_SLICES in series.codes


def test_a_copy_of_the_object_does_not_double_the_scan(shuffled: tuple[Path, Dataset, Path]) -> None:
    folder, dataset, path = shuffled
    dataset.save_as(path)
    dataset.save_as(path.with_name("copy.dcm"))
    assert_equal_volumes(folder, path.parent)


def test_a_multi_frame_object_without_positions_is_refused(shuffled: tuple[Path, Dataset, Path]) -> None:
    _, dataset, path = shuffled
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(path)
    assert find_series(path)[0].decision is Decision.REJECT
