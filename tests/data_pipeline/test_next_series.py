"""When the chosen series fails on its voxels the next best one is read, and everyone is told."""

from __future__ import annotations

import csv
import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline import find_series, read_volume, volume_reading
from data_pipeline.__main__ import main
from data_pipeline.readers import slice_reading
from data_pipeline.selection import SelectionOverrides
from data_pipeline.volume_reading import read_study
from domain.errors import StudyError
from domain.findings import Decision, QualityCode, Stage
from domain.records import SeriesRef
from domain.volume import Volume

MakeSeries = Callable[..., list[Path]]
DOUBLE_RESCALE = {(0x0028, 0x1052): ("DS", -2048)}


@pytest.fixture
def study(make_series: MakeSeries) -> Path:
    """Of two series the sharper one, which ranks first, is no HU; the header does not show it."""
    make_series("sharp", uid="1", elements={**DOUBLE_RESCALE, (0x0018, 0x1210): ("SH", "LUNG")})
    return make_series("soft", uid="22", elements={(0x0018, 0x1210): ("SH", "SOFT")})[0].parent.parent


def chosen(study: Path) -> SeriesRef:
    return next(item for item in find_series(study) if item.selected)


def test_the_next_series_is_read_and_says_why(study: Path) -> None:
    first = chosen(study)
    assert first.table.kernel == "LUNG"
    series, volume = read_study(first)
    assert (series.table.kernel, series.selected, series.decision) == ("SOFT", True, Decision.WARN)
    finding = next(item for item in volume.findings if item.code is QualityCode.SERIES_PASSED_OVER)
    assert finding in series.findings
    assert finding.facts == {"failed_code": "not_hu", "failed_stage": "quality", "rank": 2}
    assert np.array_equal(volume.voxels, read_volume(series).voxels)
    assert np.array_equal(volume.voxels, read_volume(study).voxels)


def test_a_series_asked_for_by_itself_is_not_replaced(study: Path) -> None:
    with pytest.raises(StudyError) as caught:
        read_volume(chosen(study))
    assert caught.value.code is QualityCode.NOT_HU


def test_a_series_the_user_named_is_not_replaced(study: Path) -> None:
    overrides = SelectionOverrides(include_series=("sharp",))
    first = next(item for item in find_series(study, overrides=overrides) if item.selected)
    with pytest.raises(StudyError):
        read_study(first)


def test_where_all_fail_the_first_reason_is_given(make_series: MakeSeries) -> None:
    make_series("a", uid="1", elements=DOUBLE_RESCALE)
    folder = make_series("b", uid="22", hu=np.zeros((24, 64, 64), dtype=np.int16))[0].parent.parent
    first = chosen(folder)
    with pytest.raises(StudyError) as caught:
        read_study(first)
    with pytest.raises(StudyError) as alone:
        read_volume(first)
    assert caught.value.code is alone.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ESTALE, "stale"), QualityCode.INTERNAL_ERROR),
        (OSError(errno.EIO, "input/output"), QualityCode.INTERNAL_ERROR),
        (PermissionError(errno.EACCES, "no"), QualityCode.UNREADABLE),
    ],
)
def test_a_fault_of_the_storage_is_not_laid_on_the_scan(
    study: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, code: QualityCode
) -> None:
    first = chosen(study)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(slice_reading, "_stored_values", fail)
    with pytest.raises(StudyError) as caught:
        read_study(first)
    assert caught.value.code is code


def test_a_series_that_failed_on_memory_is_not_replaced(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, read_one = chosen(study), volume_reading._read_one

    def fail_once(series: SeriesRef, *args: Any, **options: Any) -> Volume:
        if series.series_key == first.series_key:
            raise StudyError(Stage.READ, QualityCode.OUT_OF_MEMORY, "the decoder was ended for lack of memory")
        return read_one(series, *args, **options)

    monkeypatch.setattr(volume_reading, "_read_one", fail_once)
    with pytest.raises(StudyError) as caught:
        read_study(first)
    assert caught.value.code is QualityCode.OUT_OF_MEMORY


def test_export_and_inspect_take_the_next_series_too(study: Path, tmp_path: Path) -> None:
    assert main(["export", str(study), "--out", str(tmp_path / "out")]) == 0
    facts = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert "series_passed_over" in {finding["code"] for finding in facts["findings"]}
    assert facts["header"]["kernel"] == "SOFT"
    assert main(["inspect", str(study), "--voxels", "--out", str(tmp_path / "listing")]) == 0
    with (tmp_path / "listing" / "series.csv").open(newline="") as stream:
        rows = {row["kernel"]: row for row in csv.DictReader(stream)}
    assert (rows["LUNG"]["selected"], rows["SOFT"]["selected"]) == ("false", "true")
    assert rows["LUNG"]["message"].startswith("rejected on its voxels")
