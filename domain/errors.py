"""Our exceptions and exit codes. Messages say what, where, why it matters and what to do; never a patient name."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domain.findings import QualityCode, Stage


class ExitCode(IntEnum):
    """What a command tells the shell."""

    OK = 0  # every study found has a prediction, abstentions included
    SOME_FAILED = 1  # the run finished; at least one study was rejected or failed, all of them listed
    NOTHING_RUN = 2  # settings, model, table or folder is wrong
    INTERRUPTED = 130  # stopped by the user; running the same command again goes on


class MyoLungError(Exception):
    """Base of everything this project raises on purpose. Anything else is our bug."""


class InputError(MyoLungError):
    """The user's settings, table, folder or model is wrong: nothing was run (exit 2)."""


class SettingsError(InputError):
    """A settings or vocabulary file does not hold what it must.

    Attributes:
        source: The file, or where the value came from (``--set`` for instance).
        problems: One line per problem: place, what was found, what was expected.
    """

    def __init__(self, source: str | Path, problems: Sequence[str]) -> None:
        self.source = str(source)
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{self.source}: {len(self.problems)} problem(s) in the settings\n{lines}")


class CaseTableError(InputError):
    """A case table breaks its contract.

    Attributes:
        source: The table.
        problems: One line per problem, with row (as in a spreadsheet, the header is row 1) and column.
    """

    def __init__(self, source: str | Path, problems: Sequence[str]) -> None:
        self.source = str(source)
        self.problems = tuple(problems)
        shown = [f"  - {problem}" for problem in self.problems[:20]]
        if len(self.problems) > len(shown):
            shown.append(f"  - ... and {len(self.problems) - len(shown)} more")
        super().__init__("\n".join([f"{self.source}: {len(self.problems)} problem(s) in the case table", *shown]))


class PrognosisDataError(InputError):
    """The prognostic head refuses its data: an outcome leak, an impossible value, no event at all.

    Attributes:
        problems: One line per problem, each naming the column.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"the prognostic head refuses this data: {len(self.problems)} problem(s)\n{lines}")


class ScanFolderError(InputError):
    """SCANS does not exist, cannot be listed, or holds nothing that could be a scan."""


class OutputFolderError(InputError):
    """The output folder cannot be written, or belongs to another run."""


class ArtefactError(InputError):
    """A model folder is missing, changed, of an unknown format, or fails its self-test."""


class RegistryError(InputError):
    """A component name or version is unknown, or was registered twice."""


class StudyError(MyoLungError):
    """One study cannot be used; it becomes one row of ``failures.csv`` and the run goes on.

    Attributes:
        stage: Where in the flow it stopped.
        code: The typed reason.
    """

    def __init__(self, stage: Stage, code: QualityCode, message: str) -> None:
        self.stage = stage
        self.code = code
        self.message = message
        super().__init__(message)

    def __reduce__(self) -> tuple[type[StudyError], tuple[Stage, QualityCode, str]]:
        """Cross process borders whole: the default would call ``__init__`` with the message alone."""
        return type(self), (self.stage, self.code, self.message)
