"""What is easy to forget when a file is added: the package list, and the import that registers a component."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("configs", "domain", "data_pipeline", "models", "inference", "evaluation", "reports")


def test_every_package_is_listed_by_hand() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for room in ROOMS for path in (ROOT / room).rglob("__init__.py")
    }
    assert listed == found


@pytest.mark.parametrize(
    "folder", ["data_pipeline/transforms", "data_pipeline/augmentations", "models/backbones", "models/losses"]
)
def test_every_file_of_a_registry_folder_is_imported_with_it(folder: str) -> None:
    package = folder.replace("/", ".")
    modules = {f"{package}.{path.stem}" for path in (ROOT / folder).glob("*.py") if path.stem != "__init__"}
    program = f"import sys, {package}; print(*[name for name in {sorted(modules)!r} if name not in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.split() == []
