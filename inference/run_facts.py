"""What ``run.json`` and the foot of the report say of a run."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from domain.records import CaseResult
from domain.settings import InferSettings
from inference.run_summary import RunSummary

LIBRARIES = ("myolung", "numpy", "torch", "monai", "pydicom")


class Results:
    """The results of a run, read from disk again each time they are iterated."""

    def __init__(self, summary: RunSummary) -> None:
        self.summary = summary

    def __iter__(self) -> Iterator[CaseResult]:
        return self.summary.results()


def run_facts(summary: RunSummary, settings: InferSettings) -> dict[str, Any]:
    """What ``run.json`` and the foot of the report say; nothing identifying."""
    first = next(summary.results(), None)
    return {
        "trained on": first.trained_on if first else "",
        "model digest": first.digests.get("model", "") if first else "",
        "graph digest": first.digests.get("graph", "") if first else "",
        "versions": {name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "workers": summary.num_workers,
        "wall seconds": round(summary.wall_seconds, 2),
        "studies": {status.value: count for status, count in sorted(summary.counts.items())},
        "seconds per stage": {stage: round(value, 2) for stage, value in summary.stage_seconds.items()},
        "settings": settings.model_dump(mode="json"),
    }
