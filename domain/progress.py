"""Long work shows how far it is: a bar where people look, a line now and then where nobody does."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn


class StepProgress:
    """Callable as ``progress(step, done, total)``; one bar per step. Quiet when the output is not a terminal.

    Example:
        >>> with StepProgress() as progress:
        ...     progress("reading scans", 3, 10)
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeLeftColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> StepProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, step: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` units of a step are finished."""
        if step not in self._bars:
            self._bars[step] = self._progress.add_task(step, total=total)
        self._progress.update(self._bars[step], completed=done, total=total)

    def say(self, message: str) -> None:
        """A line that stays, above the bars."""
        self._console.print(message, highlight=False)
