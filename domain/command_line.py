"""The frame around every command: errors to one message and an exit code, logging, no traceback for users' mistakes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from domain.errors import ExitCode, InputError

RESEARCH_NOTICE = "Research use only: not a medical device, no treatment advice."


def configure_logging(*, verbose: bool = False) -> None:
    """Warnings to the screen by default, everything of ours with ``--verbose``. Scripts call it, libraries never."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    if verbose:
        for room in ("data_pipeline", "models", "inference", "evaluation", "reports", "train", "infer", "evaluate"):
            logging.getLogger(room).setLevel(logging.INFO)


def run_command(command: Callable[[], ExitCode]) -> int:
    """Run a command and turn what it raises into the contract's exit codes.

    Args:
        command: Does the work; raises ``InputError`` for what the user can mend.

    Returns:
        0, 1, 2 or 130. Anything that is not ours to expect is raised on, with its traceback: it is a bug.
    """
    try:
        return int(command())
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return int(ExitCode.NOTHING_RUN)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; run the same command again to go on\n")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away (``| head``): not our error, and nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.OK)
