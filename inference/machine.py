"""How many processes a machine is good for, and which GPU each of them gets. No torch is asked."""

from __future__ import annotations

import os
from pathlib import Path

from domain.settings import InferSettings
from inference.memory_watch import GIB, usable_bytes

GPU_NODES = Path("/dev")


def num_cores() -> int:
    """Cores this process may use: fewer than the machine has under SLURM or in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_num_workers(asked: int, study_memory_gib: float) -> int:
    """Worker processes: as asked, or as many as there are cores and memory budgets of one study.

    Args:
        asked: 0 to choose.
        study_memory_gib: Limit of one study, GiB; the sum over workers stays within free memory.
    """
    if asked:
        return asked
    return max(1, min(num_cores(), int(usable_bytes() / (study_memory_gib * GIB))))


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
