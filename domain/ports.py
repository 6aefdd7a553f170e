"""Late-bound joints: lets an artefact find the preprocessing graph without `models` importing `data_pipeline`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from domain.specs import PreprocessSpec
from domain.volume import Volume

PREPROCESS_PORT = "data_pipeline.graph"  # resolved when first used, as a packaging entry point would be


class PreprocessPort(Protocol):
    """What the module behind the port offers."""

    def build_preprocess(self, spec: PreprocessSpec, *, device: str = "cpu") -> Callable[[Any], Any]:
        """Build the deterministic graph of a spec."""

    def split_preprocess(self, spec: PreprocessSpec, *, device: str = "cpu") -> tuple[Any, Any]:
        """The same in two: what comes before the voxel-by-voxel steps at the end, and those."""

    def run_graph(self, compose: Callable[[Any], Any], volume: Volume) -> dict[str, Any]:
        """Send one volume through a built graph; keys as in ``domain.batch_keys``."""


def preprocess_port() -> PreprocessPort:
    """The preprocessing room, by name. See ``docs/why/ports.md``."""
    return import_module(PREPROCESS_PORT)
