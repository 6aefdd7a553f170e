from __future__ import annotations

import pytest

from domain.errors import ExitCode
from domain.records import is_synthetic
from models.__main__ import REFERENCE_MODEL, main
from models.artefact_format import CARD_NAME, read_manifest

MAX_BYTES = 8 * 1024**2


def test_an_installation_is_verified_by_the_model_that_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--device", "cpu"]) == ExitCode.OK
    assert "intact, and its self-test agrees" in capsys.readouterr().out


def test_the_model_that_ships_is_small_and_says_that_it_is_not_for_patients() -> None:
    manifest = read_manifest(REFERENCE_MODEL)
    assert is_synthetic(manifest.trained_on)
    assert "not for patients" in manifest.trained_on
    assert "not for patients" in (REFERENCE_MODEL / CARD_NAME).read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in REFERENCE_MODEL.iterdir()) <= MAX_BYTES
