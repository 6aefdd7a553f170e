from __future__ import annotations

import pytest

from domain.records import CaseResult, CaseStatus
from domain.result_json import DamagedResultError, result_from_json, result_to_json

RESULT = CaseResult(case_key="a", status=CaseStatus.FAILED, seconds={"read": 1.5}, digests={"model": "m"})


def test_a_result_comes_back_without_its_timings() -> None:
    back = result_from_json(result_to_json(RESULT))
    assert back.seconds == {}
    assert back.case_key == "a"
    assert back.digests["model"] == "m"


def test_timings_do_not_change_the_bytes() -> None:
    slower = RESULT.model_copy(update={"seconds": {"read": 99.0}})
    assert result_to_json(slower) == result_to_json(RESULT)


def test_writing_what_was_read_gives_the_same_bytes() -> None:
    text = result_to_json(RESULT)
    assert result_to_json(result_from_json(text)) == text


def test_every_cut_and_every_changed_character_is_noticed() -> None:
    text = result_to_json(RESULT)
    for position in range(len(text) - 1):
        with pytest.raises(DamagedResultError):
            result_from_json(text[:position])
        changed = text[:position] + ("8" if text[position] != "8" else "9") + text[position + 1 :]
        with pytest.raises(DamagedResultError):
            result_from_json(changed)
