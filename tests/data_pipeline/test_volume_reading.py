"""Limits and privacy of reading a volume."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from data_pipeline import find_series, read_volume
from data_pipeline.discovery import survey
from data_pipeline.quality import QualityPolicy, load_policy
from domain.errors import ScanFolderError, StudyError
from domain.findings import QualityCode, Severity

MakeSeries = Callable[..., list[Path]]


def changed_policy(**changes: object) -> QualityPolicy:
    values = load_policy().model_dump(mode="json")
    values["thresholds"] |= changes.get("thresholds", {})
    values["severity"] |= changes.get("severity", {})
    return QualityPolicy.model_validate_json(json.dumps(values))


def test_a_volume_beyond_the_memory_limit_is_refused_before_it_is_allocated(make_series: MakeSeries) -> None:
    series = find_series(make_series()[0].parent)[0]
    with pytest.raises(StudyError) as caught:
        read_volume(series, policy=changed_policy(thresholds={"max_volume_gib": 1e-5}))
    assert caught.value.code is QualityCode.TOO_LARGE


def test_the_policy_decides_what_is_refused(make_series: MakeSeries) -> None:
    folder = make_series()[0].parent
    assert read_volume(folder)
    strict = changed_policy(severity={QualityCode.THICK_SLICES.value: Severity.REJECT.value})
    with pytest.raises(StudyError) as caught:
        read_volume(folder, policy=strict)
    assert caught.value.code is QualityCode.THICK_SLICES


def test_a_file_that_changed_since_it_was_found_is_noticed(make_series: MakeSeries) -> None:
    paths = make_series()
    series = find_series(paths[0].parent)[0]
    dataset = pydicom.dcmread(paths[5])
    dataset.ImagePositionPatient = [0, 0, 9999]
    dataset.save_as(paths[5])
    with pytest.raises(StudyError) as caught:
        read_volume(series)
    assert caught.value.code is QualityCode.NO_GEOMETRY


def test_a_file_that_vanished_is_a_typed_error(make_series: MakeSeries) -> None:
    paths = make_series()
    series = find_series(paths[0].parent)[0]
    paths[5].unlink()
    with pytest.raises(StudyError) as caught:
        read_volume(series)
    assert caught.value.code is QualityCode.UNREADABLE


def test_two_studies_under_one_path_are_not_guessed_between(make_series: MakeSeries) -> None:
    make_series("a", study="a")
    folder = make_series("b", study="b")[0].parent.parent
    with pytest.raises(StudyError) as caught:
        read_volume(folder)
    assert caught.value.code is QualityCode.AMBIGUOUS_SCAN


def test_a_path_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(ScanFolderError):
        read_volume(tmp_path / "nowhere")


def test_logs_and_messages_name_no_patient_uid_or_path(
    make_series: MakeSeries, caplog: pytest.LogCaptureFixture
) -> None:
    paths = make_series(elements={(0x0010, 0x0010): ("PN", "DOE^JANE")})
    (paths[0].parent / "DOE_JANE.dcm").write_bytes(b"junk")
    paths[3].write_bytes(paths[3].read_bytes()[:3000])
    with caplog.at_level(logging.DEBUG):
        found = survey(paths[0].parent)
        with pytest.raises(StudyError) as caught:
            read_volume(found.series[0])
    texts = [caplog.text, caught.value.message, *(series.message for series in found.series)]
    texts += [finding.message for series in found.series for finding in series.findings]
    words = ("DOE", "JANE", "INVENTED", found.series[0].identity.series_uid, str(paths[0].parent))
    assert [word for word in words for text in texts if word in text] == []
