from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import SettingsError
from domain.settings import TrainingSettings
from domain.strict_yaml import apply_overrides, load_settings, load_yaml, validate


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", "no"),
        ("a: 012", "012"),
        ("a: 1:30", "1:30"),
        ("a: 1e-4", 1e-4),
        ("a: 1.5", 1.5),
        ("a: -3", -3),
        ("a: true", True),
        ("a: 2024-01-02", "2024-01-02"),
        ("a:", None),
    ],
)
def test_scalars_follow_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    assert load_yaml(write(tmp_path / "x.yaml", text)) == {"a": value}


@pytest.mark.parametrize("text", ["a: 1\na: 2", "b: {c: 1, c: 2}", "a: [1", "a: !!python/object:os.system 1"])
def test_repeated_keys_broken_text_and_tags_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError):
        load_yaml(write(tmp_path / "x.yaml", text))


def test_a_misspelt_key_is_named_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "x.yaml", "max_epoch: 3\nbatch_size: two")
    with pytest.raises(SettingsError) as caught:
        load_settings(TrainingSettings, path)
    assert "max_epoch" in str(caught.value)
    assert "batch_size" in str(caught.value)
    assert len(caught.value.problems) == 2


def test_a_missing_file_is_one_clear_problem(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load_settings(TrainingSettings, tmp_path / "none.yaml")


def test_overrides_come_before_validation(tmp_path: Path) -> None:
    path = write(tmp_path / "x.yaml", "max_epochs: 3")
    assert load_settings(TrainingSettings, path, ["max_epochs=7"]).max_epochs == 7
    with pytest.raises(SettingsError):
        load_settings(TrainingSettings, path, ["max_epochs=seven"])


@pytest.mark.parametrize("item", ["max_epochs", "=3", "a.b=1"])
def test_overrides_of_a_wrong_form_are_refused(item: str) -> None:
    with pytest.raises(SettingsError):
        apply_overrides({"a": 1}, [item])


def test_values_that_are_not_plain_data_are_refused() -> None:
    with pytest.raises(SettingsError):
        validate(TrainingSettings, {"learning_rate": float("nan")}, source="test")
