"""The parent's side of a shared stage: one process per GPU, started, heard, started again when it dies, ended."""

from __future__ import annotations

import logging
import os
import time
from multiprocessing.connection import Connection
from typing import Any

from inference.shared_stage import MakeHandler, StageAddress
from inference.stage_process import StageSetup, stage_main
from inference.worker_handle import SPAWN, STOP_GRACE_S

logger = logging.getLogger(__name__)

MAX_DEATHS_IN_A_ROW = 3  # before it was ready: then it cannot be started at all


class StageOwner:
    """One process of a shared stage. ``since``: when it began to start or to work on a batch; None while it waits."""

    def __init__(self, setup: StageSetup) -> None:
        self.setup = setup
        self.num_failed_starts = 0
        self.start_problem = ""  # why its handler could not be made, where it said so
        self._start()

    def _start(self) -> None:
        self.is_ready = False
        self.since: float | None = time.monotonic()
        self.connection: Connection[Any, Any]
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=stage_main, args=(theirs, self.setup, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()

    def restart(self) -> bool:
        """The process died: start another. False when it dies before it is ready, again and again."""
        self.num_failed_starts = 0 if self.is_ready else self.num_failed_starts + 1
        self.process.join(STOP_GRACE_S)
        logger.warning("the process that runs the network ended (%s)", self.process.exitcode)
        self.connection.close()
        if self.num_failed_starts >= MAX_DEATHS_IN_A_ROW:
            return False
        self._start()
        return True

    def is_hanging(self, start_s: float, batch_s: float) -> bool:
        """It has started, or worked on one batch, for longer than that."""
        limit_s = batch_s if self.is_ready else start_s
        return self.since is not None and time.monotonic() - self.since > limit_s

    def kill(self) -> None:
        """End it now; its closed pipe is heard as that of one that died by itself."""
        self.since = None
        self.process.kill()

    def end(self) -> None:
        """End it now; it holds nothing that is not answered."""
        self.process.kill()
        self.process.join(STOP_GRACE_S)
        self.connection.close()


class StageOwners:
    """All processes of a shared stage, one per GPU; workers are dealt out to them in turn.

    Args:
        make_handler: Called once in each process.
        gpus: Names of the GPUs; empty for one process that sees none, None for one that sees what is there.
    """

    def __init__(self, make_handler: MakeHandler, gpus: tuple[str, ...] | None) -> None:
        names: tuple[str | None, ...] = (None,) if gpus is None else gpus or ("",)
        self.owners = [StageOwner(StageSetup(make_handler, StageAddress.fresh(), name)) for name in names]

    def address_of(self, worker_index: int) -> StageAddress:
        """Where a worker sends its requests."""
        return self.owners[worker_index % len(self.owners)].setup.address

    def by_connection(self) -> dict[Connection[Any, Any], StageOwner]:
        """What to listen to."""
        return {owner.connection: owner for owner in self.owners}

    def end(self) -> None:
        """End all."""
        for owner in self.owners:
            owner.end()
