"""The policy file and the kernel table."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_pipeline.quality import load_kernel_table, load_policy
from domain.config_files import config_path
from domain.errors import SettingsError
from domain.findings import QualityCode, Severity


def test_every_code_has_a_severity() -> None:
    policy = load_policy()
    assert set(policy.severity) == set(QualityCode)
    assert load_kernel_table().rules


def test_the_graver_form_of_a_code_may_be_more_severe() -> None:
    policy = load_policy()
    assert policy.finding(QualityCode.TOO_FEW_SLICES, "few").severity is Severity.WARN
    assert policy.finding(QualityCode.TOO_FEW_SLICES, "two", severe=True).severity is Severity.REJECT
    assert policy.finding(QualityCode.PRONE, "no graver form", severe=True).severity is Severity.WARN


def test_a_policy_without_a_code_is_refused(tmp_path: Path) -> None:
    text = config_path("quality/policy.yaml").read_text(encoding="utf-8").replace("  prone: warn\n", "")
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match="prone"):
        load_policy(str(path))
