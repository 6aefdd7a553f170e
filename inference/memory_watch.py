"""How much memory a process holds, and how much the machine has. Limits are enforced by the engine, not here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

GIB = 1024**3
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def resident_bytes(pid: int) -> int:
    """Memory a process holds now; 0 when it is gone, or on a system that does not say (there no limit is enforced)."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def usable_bytes() -> int:
    """Memory a run may plan with: free memory of the machine, or the container's limit where that is lower."""
    limits = [_limit(path) for path in CGROUP_LIMITS]
    return min([_free_bytes(), *(limit for limit in limits if limit)])


def _free_bytes() -> int:
    if sys.platform.startswith("linux"):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 8 * GIB  # a modest laptop, where the system does not say


def _limit(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0  # no such file, or the word "max"
