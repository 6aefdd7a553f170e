"""Where the shipped YAML files are, in a checkout and in an installed package alike."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from domain.errors import SettingsError


def config_path(relative: str) -> Path:
    """Path of a shipped configuration file, ``vocabularies/antibodies.yaml`` for instance.

    Raises:
        SettingsError: No such file; lists its neighbours.
    """
    root = Path(str(files("configs")))
    path = root / relative
    if not path.is_file():
        neighbours = sorted(item.stem for item in path.parent.glob("*.yaml"))
        raise SettingsError(relative, [f"no such shipped configuration; there are: {', '.join(neighbours) or 'none'}"])
    return path


def resolve_config(name_or_path: str, folder: str) -> Path:
    """A user's own YAML file, or the name of a shipped one in ``configs/<folder>/``."""
    given = Path(name_or_path)
    return given if given.suffix in {".yaml", ".yml"} else config_path(f"{folder}/{name_or_path}.yaml")
