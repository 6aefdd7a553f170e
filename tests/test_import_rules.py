"""Arrows between rooms point one way: every room may import `domain`, no other room; only the scripts join rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("domain", "data_pipeline", "models", "inference", "evaluation", "reports")
SCRIPTS = ("train", "infer", "evaluate")
TORCH_FREE = ("domain", "evaluation", "reports")
HEAVY = {"torch", "monai", "pytorch_lightning", "torchvision"}


def imported_packages(path: Path) -> set[str]:
    """Top-level names a file imports, wherever in the file the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_domain(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files, f"room {room} is empty"
    forbidden = {*ROOMS, *SCRIPTS} - {room, "domain"}
    wrong = {str(path.relative_to(ROOT)): sorted(imported_packages(path) & forbidden) for path in files}
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize("room", TORCH_FREE)
def test_room_needs_no_torch(room: str) -> None:
    wrong = {
        str(path.relative_to(ROOT)): sorted(imported_packages(path) & HEAVY) for path in (ROOT / room).rglob("*.py")
    }
    assert {path: names for path, names in wrong.items() if names} == {}


def test_the_models_package_is_ours() -> None:
    command = [sys.executable, "-c", "import models; print(models.__file__)"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert Path(answer.stdout.strip()) == ROOT / "models" / "__init__.py"


@pytest.mark.parametrize("module", ["evaluate", "data_pipeline", "data_pipeline.manifest", "inference"])
def test_importing_does_not_load_torch(module: str) -> None:
    program = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"
