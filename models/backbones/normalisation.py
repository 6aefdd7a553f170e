"""Normalisation layers as MONAI names them, for the backbones that offer a choice."""

from __future__ import annotations

from typing import Any, Literal

Norm = Literal["group", "batch"]

NUM_GROUPS = 8  # every width of our backbones is a multiple of it


def monai_norm(norm: Norm) -> tuple[str, dict[str, Any]]:
    """``group`` works with any batch size and over any number of processes; ``batch`` is what published weights use."""
    return ("group", {"num_groups": NUM_GROUPS}) if norm == "group" else ("batch", {})
