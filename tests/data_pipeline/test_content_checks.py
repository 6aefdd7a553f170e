"""What voxels alone reveal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_pipeline import read_volume
from data_pipeline.content_checks import check_content
from data_pipeline.quality import load_policy
from data_pipeline.readers.raw_volume import RawVolume
from domain.affine import Affine
from domain.errors import StudyError
from domain.findings import QualityCode
from domain.volume import Acquisition

MakeSeries = Callable[..., list[Path]]


def chest(shape: tuple[int, int, int] = (70, 70, 40)) -> np.ndarray:
    x, y, z = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    body = (x / 0.9) ** 2 + (y / 0.7) ** 2 < 1
    lungs = ((np.abs(x) - 0.42) / 0.3) ** 2 + (y / 0.45) ** 2 + (z / 0.8) ** 2 < 1
    values = np.where(lungs, -850.0, np.where(body, 40.0, -1000.0))
    return values + np.random.default_rng(0).normal(0, 15, shape)


def codes(values: np.ndarray, flips: tuple[int, int, int] = (-1, -1, 1)) -> set[QualityCode]:
    below = values < -1024
    raw = RawVolume(
        voxels=np.clip(np.rint(values), -1024, 32767).astype(np.int16),
        affine=Affine(np.diag([*(5.0 * np.array(flips)), 1.0])),
        acquisition=Acquisition(),
        lowest_hu=float(values.min()),
        num_below_air=int(below.sum()),
        content_digest="",
    )
    return {finding.code for finding in check_content(raw, load_policy())} - {QualityCode.PADDING_BELOW_AIR}


def test_a_whole_chest_has_no_finding() -> None:
    assert codes(chest()) == set()


@pytest.mark.parametrize("shift", [1024, 1000, -1024, -1000])
def test_a_missing_or_doubled_rescale_is_noticed(shift: int) -> None:
    assert codes(chest() + shift) == {QualityCode.NOT_HU}


def test_a_missing_rescale_is_noticed_behind_padding() -> None:
    values = chest() + 1024
    values[:8] = -2000
    assert codes(values) == {QualityCode.NOT_HU}


def test_grey_values_of_a_picture_are_not_hu() -> None:
    assert codes(np.interp(chest(), [-1000, 400], [0, 255])) == {QualityCode.NOT_HU}
    assert codes(np.clip(chest(), -160, 240)) == {QualityCode.NOT_HU}


def test_round_padding_does_not_make_a_scan_not_hu() -> None:
    values = chest()
    x, y = np.mgrid[-1:1:70j, -1:1:70j]
    values[x**2 + y**2 > 1] = -3024
    assert codes(values) == set()


@pytest.mark.parametrize("cut", [slice(0, 20), slice(20, 40)], ids=["lower half", "upper half"])
def test_lungs_cut_at_an_end_are_noticed(cut: slice) -> None:
    assert codes(chest()[:, :, cut]) == {QualityCode.PARTIAL_LUNG_COVERAGE}


def test_lungs_cut_at_a_side_are_noticed() -> None:
    assert codes(chest()[20:]) == {QualityCode.PARTIAL_LUNG_COVERAGE}


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (1, -1, -1)])
def test_verdicts_do_not_depend_on_the_stored_orientation(flips: tuple[int, int, int]) -> None:
    assert codes(chest(), flips) == set()
    assert codes(chest()[:, :, :20], flips) == {QualityCode.PARTIAL_LUNG_COVERAGE}


def test_a_body_without_lungs_is_no_chest() -> None:
    values = chest()
    values[np.abs(values + 850) < 120] = 45
    x, y, _ = np.mgrid[-1:1:70j, -1:1:70j, -1:1:40j]
    values[(x / 0.9) ** 2 + (y / 0.7) ** 2 >= 1] = -1000
    assert codes(values) == {QualityCode.NOT_CHEST}


def test_a_series_without_rescale_in_its_headers_is_refused(make_series: MakeSeries) -> None:
    paths = make_series(elements={(0x0028, 0x1052): ("DS", None), (0x0028, 0x1053): ("DS", None)})
    with pytest.raises(StudyError) as caught:
        read_volume(paths[0].parent)
    assert caught.value.code is QualityCode.NOT_HU


@pytest.mark.parametrize("value", [3071, 32767])
def test_bright_padding_outside_the_round_field_of_view_becomes_air(make_series: MakeSeries, value: int) -> None:
    paths = make_series()
    hu = read_volume(paths[0].parent).voxels.transpose(2, 1, 0).copy()
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    outside = x**2 + y**2 > 1
    hu[:, outside] = value
    spoilt = make_series("spoilt", hu=hu, bits_stored=16, is_signed=True, intercept=0)
    volume = read_volume(spoilt[0].parent)
    assert (volume.voxels.transpose(2, 1, 0)[:, outside] == -1024).all()
    assert QualityCode.PADDING_BELOW_AIR in {finding.code for finding in volume.findings}


def test_unsigned_values_without_rescale_are_refused_from_the_header(make_series: MakeSeries) -> None:
    from data_pipeline import find_series

    paths = make_series(intercept=0, hu=np.full((24, 64, 64), 100, dtype=np.int16))
    assert QualityCode.NOT_HU in find_series(paths[0].parent)[0].codes


def spoilt(change: Callable[[np.ndarray], None]) -> set[QualityCode]:
    values = chest()
    change(values)
    return codes(values)


def test_slices_unlike_their_neighbours_are_refused_and_blank_ends_are_not() -> None:
    def rescale_lost(values: np.ndarray) -> None:
        values[:, :, 20:22] += 1024

    def blank_inside(values: np.ndarray) -> None:
        values[:, :, 20] = -1024

    def another_patient(values: np.ndarray) -> None:
        values[:, :, 20] = values[::-1, ::-1, 3].T

    def blank_ends(values: np.ndarray) -> None:
        values[:, :, :2] = values[:, :, -1] = -1024

    assert QualityCode.INCONSISTENT_SLICES in spoilt(rescale_lost)
    assert QualityCode.INCONSISTENT_SLICES in spoilt(blank_inside)
    assert QualityCode.INCONSISTENT_SLICES in spoilt(another_patient)
    assert spoilt(blank_ends) == {QualityCode.INCONSISTENT_SLICES}


def test_only_slices_inside_a_scan_refuse_it(make_series: MakeSeries) -> None:
    hu = read_volume(make_series("clean", uid="c")[0].parent).voxels.transpose(2, 1, 0).copy()
    hu[0] = hu[-1] = -1024
    assert read_volume(make_series("ends", uid="e", hu=hu)[0].parent)
    hu[12] += 1024
    with pytest.raises(StudyError) as caught:
        read_volume(make_series("inside", uid="i", hu=hu)[0].parent)
    assert caught.value.code is QualityCode.INCONSISTENT_SLICES
