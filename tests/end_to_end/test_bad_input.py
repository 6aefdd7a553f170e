"""What users get wrong: one clear message, the exit code of the contract, and nothing run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Trained, command

NOTHING_RUN = 2


def infer(trained: Trained, *words: str | Path) -> tuple[int, str]:
    answer = command("infer.py", *words)
    assert "Traceback" not in answer.stderr
    return answer.returncode, answer.stderr


def test_a_missing_folder(trained: Trained, tmp_path: Path) -> None:
    code, said = infer(trained, tmp_path / "none", "--model", trained.model, "--out", tmp_path / "out")
    assert (code, "no such file or folder" in said) == (NOTHING_RUN, True)


def test_an_empty_folder(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    code, said = infer(trained, tmp_path / "scans", "--model", trained.model, "--out", tmp_path / "out")
    assert (code, "holds no CT series" in said) == (NOTHING_RUN, True)


def test_a_model_with_a_changed_byte(trained: Trained, tmp_path: Path) -> None:
    model = tmp_path / "changed.hrct"
    shutil.copytree(trained.model, model)
    weights = model / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    code, said = infer(trained, trained.test / "scans", "--model", model, "--out", tmp_path / "out")
    assert (code, "weights.safetensors" in said) == (NOTHING_RUN, True)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("case_id,ab_mda6\nc1,positive\n", "unknown antibody"),
        ("case_id,time_days,event\nc1,-4,alive\n", "negative"),
        ("case_id\nc1\nc1\n", "stands 2 times"),
    ],
)
def test_a_wrong_case_table(trained: Trained, tmp_path: Path, table: str, expected: str) -> None:
    (tmp_path / "cases.csv").write_text(table)
    code, said = infer(
        trained, trained.test / "scans", "--model", trained.model, "--cases", tmp_path / "cases.csv",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert (code, expected in said) == (NOTHING_RUN, True)
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_a_misspelt_setting(tmp_path: Path) -> None:
    answer = command("train.py", "configs/train/demo.yaml", "--check", "--set", "training.max_epoch=3")
    assert answer.returncode == NOTHING_RUN
    assert "max_epoch" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_checking_settings_touches_no_data() -> None:
    answer = command("train.py", "configs/train/demo.yaml", "--check", "--set", "data.scans=nowhere")
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("script", [["train.py"], ["infer.py"], ["evaluate.py"], ["-m", "models", "verify"]])
def test_help_is_complete_and_has_an_example(script: list[str]) -> None:
    answer = command(*script, "--help")
    assert answer.returncode == 0
    assert "example" in answer.stdout


@pytest.mark.parametrize("name", ["inspect", "export", "phantoms", "template"])
def test_help_of_the_data_commands_has_an_example(name: str) -> None:
    answer = command("-m", "data_pipeline", name, "--help")
    assert answer.returncode == 0
    assert "example" in answer.stdout


def test_an_evaluation_into_a_file_is_refused_before_it_is_computed(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("case_id,time_days,event\nc1,40,alive\n")
    (tmp_path / "predictions.csv").write_text("case_key,survival_90d\nother,0.5\n")  # would be refused later on
    (tmp_path / "out").write_text("a file")
    tables = tmp_path / "predictions.csv", "--cases", tmp_path / "cases.csv"
    answer = command("evaluate.py", *tables, "--out", tmp_path / "out")
    assert "Traceback" not in answer.stderr
    assert (answer.returncode, "is a file" in answer.stderr) == (NOTHING_RUN, True)
    assert (tmp_path / "out").read_text() == "a file"
