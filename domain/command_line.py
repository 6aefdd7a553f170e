"""The frame around every command: errors to one message and an exit code, logging, no traceback for users' mistakes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from domain.errors import ExitCode, InputError

RESEARCH_NOTICE = "Research use only: not a medical device, no treatment advice."


class _OneLine(logging.Formatter):
    """The message without a traceback: those are for the log file, people get the sentence."""

    def formatException(self, ei: object) -> str:  # noqa: N802  the name is logging's
        """Nothing."""
        del ei
        return ""

    def format(self, record: logging.LogRecord) -> str:
        """One line; the text another handler may have kept for the record is left as it is."""
        kept, record.exc_text = record.exc_text, None
        try:
            return super().format(record).rstrip("\n")
        finally:
            record.exc_text = kept


def configure_logging(*, verbose: bool = False) -> None:
    """Warnings to the screen by default, everything of ours with ``--verbose``. Scripts call it, libraries never."""
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(_OneLine("%(levelname)s %(name)s: %(message)s"))
    screen.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger().addHandler(screen)
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
