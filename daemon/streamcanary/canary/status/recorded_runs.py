"""Follows the runs that other replicas record in the database that they share.

Ids of rows become visible in any order: a transaction that began earlier may end later. So the rows of the last seconds
are read again each time, and runs are distinguished by their run ids.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container
from typing import Final, Protocol, Self

from streamcanary.model.background_task import BackgroundTask
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome
from streamcanary.store.errors import StoreFailing

_log = logging.getLogger(__name__)

_INTERVAL: Final = 1.0  # seconds between two reads
_WINDOW: Final = 5.0  # seconds for which rows are read again: longer than a transaction that records runs
_KEPT: Final = 60.0  # seconds for which run ids are kept: longer than it takes to record a run
_MAX_ROWS: Final = 5_000  # of one read, and after a gap in which there were more
_MAX_KNOWN: Final = 100_000


class RecordedRuns(Protocol):
    """The part of the database that has the runs of all replicas."""

    async def row_before_last(self, count: int) -> int:
        """Return the row after which there are the last ``count`` runs.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...

    async def new_runs(
        self, after: int, known: Container[str], limit: int
    ) -> tuple[list[Outcome], list[tuple[int, str]]]:
        """Return the runs in the first ``limit`` rows after the row ``after`` that are not ``known``, and these rows.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...


class RecordedRunFollower:
    """Calls ``observe`` with each run that another process records. A context manager: while entered, it reads.

    ``skip`` is called with the runs of this process itself. ``error`` says why runs cannot be read.
    """

    def __init__(self, runs: RecordedRuns, observe: Callable[[Outcome], None], clock: Clock) -> None:
        self._runs = runs
        self._observe = observe
        self._clock = clock
        self._known: dict[str, float] = {}  # run ids, and when they were met, in monotonic seconds
        self._last: int | None = None
        self._marks: deque[tuple[float, int]] = deque()  # when a read began, and the last row before it
        self._task = BackgroundTask("runs of other replicas")
        self.error: str | None = None

    def skip(self, outcome: Outcome) -> None:
        """Do not report this run, which this process has made."""
        self._known[outcome.run_id] = self._clock.monotonic()

    async def __aenter__(self) -> Self:
        self._task.start(self._follow())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._task.stop()

    async def read(self) -> None:
        """Report the runs that were recorded since the last call; the first one reports none.

        Raises:
            StoreFailing: if they cannot be read.
        """
        now = self._clock.monotonic()
        if self._last is None:
            self._last = await self._runs.row_before_last(0)
            self._marks.append((now, self._last))
            return
        first = self._window_start(now)
        runs, rows = await self._runs.new_runs(first, frozenset(self._known), _MAX_ROWS)
        if len(rows) == _MAX_ROWS:  # too many to report all: those that are far behind are of no use
            first = max(first, await self._runs.row_before_last(_MAX_ROWS))
            more, rows = await self._runs.new_runs(first, frozenset(self._known), _MAX_ROWS)
            runs = [*runs, *more]
        for outcome in runs:
            if outcome.run_id not in self._known:  # else it has ended here meanwhile, or was read twice
                self._known[outcome.run_id] = now
                self._observe(outcome)
        for _, run_id in rows:
            self._known.setdefault(run_id, now)
        self._last = max(self._last, rows[-1][0] if rows else 0)
        self._marks.append((now, self._last))
        self._forget(now)

    def _window_start(self, now: float) -> int:
        """Return the row after which rows are read again."""
        while len(self._marks) > 1 and self._marks[1][0] <= now - _WINDOW:
            self._marks.popleft()
        return self._marks[0][1]

    def _forget(self, now: float) -> None:
        for run_id, met in list(self._known.items()):  # in the order in which they were met
            if met > now - _KEPT and len(self._known) <= _MAX_KNOWN:
                break
            del self._known[run_id]

    async def _follow(self) -> None:
        while True:
            try:
                await self.read()
            except StoreFailing as error:
                if self.error is None:
                    _log.warning("runs of other replicas not read", extra={"error": str(error)})
                self.error = str(error) or "the database takes too long"
            else:
                self.error = None
            await asyncio.sleep(_INTERVAL)
