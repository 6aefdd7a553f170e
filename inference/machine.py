"""How many processes a machine is good for, and which GPU each of them gets. No torch is asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from domain.records import StudyTask
from domain.settings import InferSettings
from inference.memory_watch import GIB, usable_bytes

GPU_NODES = Path("/dev")

# Measured (docs/benchmarks/batch.md), rounded up.
LIBRARIES_GIB = 2.0  # a worker's libraries, model and network input, whatever the study
BYTES_PER_VOXEL = 12  # of the study: two volumes in hand, masks, working copies


def num_cores() -> int:
    """Cores this process may use: fewer than the machine has under SLURM or in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def planned_gib(tasks: Sequence[StudyTask], limit_gib: float) -> float:
    """Memory to plan one worker with: what its largest study will need, as far as headers tell.

    Args:
        tasks: Studies of the run.
        limit_gib: A study never gets more than this.
    """
    voxels = [t.series.table.num_slices * (t.series.table.rows or 0) * (t.series.table.columns or 0) for t in tasks]
    return min(limit_gib, LIBRARIES_GIB + BYTES_PER_VOXEL * max(voxels, default=0) / GIB)


def choose_num_workers(asked: int, worker_gib: float) -> int:
    """Worker processes: as asked, or as many as there are cores and as fit into free memory.

    Args:
        asked: 0 to choose.
        worker_gib: Memory planned for one, GiB.
    """
    if asked:
        return asked
    return max(1, min(num_cores(), int(usable_bytes() / (worker_gib * GIB))))


def visible_gpus(device: str) -> tuple[str, ...] | None:
    """Names of the GPUs a run may use; empty for none, None where that cannot be told (the library then decides).

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    if device == "cpu":
        return ()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(name.strip() for name in given.split(",") if name.strip())
    nodes = sorted(int(path.name[6:]) for path in GPU_NODES.glob("nvidia[0-9]*") if path.name[6:].isdigit())
    return tuple(str(number) for number in nodes) or None


def shares_network(settings: InferSettings) -> bool:
    """One process per GPU runs the network for all workers: where that is asked for, or where there is a GPU."""
    if settings.engine != "local":
        return False
    if settings.network_process == "auto":
        return bool(visible_gpus(settings.device))
    return settings.network_process == "shared"


def gpu_of_worker(worker_index: int, gpus: tuple[str, ...] | None) -> str | None:
    """GPUs are dealt out in turn. The value for CUDA_VISIBLE_DEVICES, or None to leave it."""
    if gpus is None:
        return None
    return gpus[worker_index % len(gpus)] if gpus else ""
