"""One tiny cohort and one model per test run, shared by every end-to-end test."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_pipeline.phantoms import generate_cohort

ROOT = Path(__file__).resolve().parents[2]
NUM_TRAINING_PATIENTS = 24
NUM_TEST_PATIENTS = 6


@dataclass(frozen=True)
class Trained:
    """Folders of the shared run."""

    root: Path

    @property
    def training(self) -> Path:
        return self.root / "training_patients"

    @property
    def test(self) -> Path:
        return self.root / "test_patients"

    @property
    def model(self) -> Path:
        return self.root / "training" / "model.hrct"


def command(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts in a fresh process, as a user does."""
    return subprocess.run([sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("end_to_end")
    run = Trained(root)
    generate_cohort(run.training, num_patients=NUM_TRAINING_PATIENTS, seed=11, size="tiny")
    generate_cohort(run.test, num_patients=NUM_TEST_PATIENTS, seed=12, size="tiny")
    answer = command(
        "train.py", "configs/train/demo.yaml",
        "--set", f"output_dir={root}", "--set", f"data.scans={run.training}/scans",
        "--set", f"data.cases={run.training}/cases.csv", "--set", "training.max_epochs=2",
        "--set", "split.num_folds=2", "--set", "prognosis.num_bootstrap=20",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return run
