"""A short run of the fuzzer; the long one and its result are in ``docs/benchmarks/fuzzing.md``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz_ingestion.py"


@pytest.mark.slow
def test_spoilt_inputs_neither_crash_nor_hang() -> None:
    command = [sys.executable, str(PROGRAM), "--count", "150", "--seed", "77", "--synthetic"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-2000:]
    assert "limit: 0.**" in answer.stdout
