"""Shows the progress of a series on a terminal."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from streamcanary.cli.measurements.distribution import Distribution
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.outcome import Outcome, OutcomeKind

if TYPE_CHECKING:
    from rich.progress import Progress


class SeriesProgress:
    """A progress bar on stderr with the failures and the median first token so far; nothing unless it is a terminal.

    A context manager, which restores the terminal.
    """

    def __init__(self, total: int) -> None:
        self._progress: Progress | None = None
        self._failed = 0
        self._first_tokens = Distribution()
        if not sys.stderr.isatty():
            return
        from rich import progress
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        class ConsoleWithCursor(Console):
            """A console whose cursor stays visible: a process that is stopped or killed cannot show it again."""

            def show_cursor(self, show: bool = True) -> bool:  # noqa: FBT001, FBT002 - the signature of Rich
                return show

        self._progress = progress.Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=ConsoleWithCursor(stderr=True),
            expand=True,
            refresh_per_second=5,
        )
        self._task = self._progress.add_task("0 failed", total=total)

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def on_outcome(self, outcome: Outcome) -> None:
        """Count a run."""
        if self._progress is None:
            return
        self._failed += outcome.kind not in (OutcomeKind.OK, OutcomeKind.SLOW)
        if outcome.time_to_first_token is not None:
            self._first_tokens.add(outcome.time_to_first_token)
        median = self._first_tokens.percentile(50)
        first = "" if median is None else f", first token {format_duration(median)}"
        self._progress.update(self._task, advance=1, description=f"{self._failed} failed{first}")
