"""Real CT files, where the checkout has them beside it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    folder = Path(__file__).resolve().parents[4] / "shared/data/real"
    if not folder.is_dir():
        pytest.skip("the real CT files are not beside this checkout")
    return folder
