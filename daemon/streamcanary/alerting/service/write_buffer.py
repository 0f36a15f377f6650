"""The write buffer: changes that are not in the store yet; while the store fails, new changes replace earlier ones."""

import logging
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from streamcanary.model.alerts.row_change import AlertTable, RowChange, StateTable
from streamcanary.model.outcome import Outcome
from streamcanary.model.statistics.rollup import Rollup
from streamcanary.model.status.alert_history import IncidentPage, PastIncident
from streamcanary.store.errors import StoreError, StoreFailing, StoreLost

_log = logging.getLogger(__name__)

MAX_OUTCOMES = 10_000
"""How many outcomes are kept while the store fails."""

MAX_HISTORY_ROWS = 1000
"""How many rows of the history of alerts are kept while the store fails."""

_DEFERRABLE_TABLES = frozenset({"detectors", "reachability", "baselines"})


class AlertStore(Protocol):
    """The interface of the store to alerting."""

    @property
    def may_be_incomplete(self) -> bool:
        """Whether an earlier process could not save all changes, and nothing has been committed since."""
        ...

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Save ``rows``, and ``outcomes`` as history, in one durable transaction; idempotent.

        Raises:
            StoreFailing: if they could not be saved.
            StoreLost: if in addition all data saved before is lost.
        """
        ...

    async def row_before_last(self, count: int) -> int:
        """Return the row after which there are the last ``count`` runs, for :meth:`runs_after`.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...

    async def runs_after(self, last: int, limit: int) -> tuple[list[Outcome], int | None]:
        """Return up to ``limit`` runs after the row ``last``, and the last row of these; ``None`` at the end.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...

    async def first_periods(self, canaries: Mapping[str, str]) -> dict[str, int]:
        """Return when the first rollup of each canary that has one began; ``canaries`` is as below.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...

    async def read_rollups(self, since: float, canaries: Mapping[str, str]) -> list[Rollup]:
        """Return the rollups that began at ``since`` (seconds since the epoch) or later.

        ``canaries`` maps the names under which they are stored to those by which they are returned.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...

    async def unfinished_incidents(self, ids: Collection[str]) -> list[PastIncident]:
        """Return the alerts of the history that have not resolved, and those of ``ids``.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...

    async def past_incidents(
        self, before: str | None = None, *, limit: int = 50, canary: str | None = None
    ) -> IncidentPage:
        """Return a page of the history of alerts, the newest first, before the one with the id ``before``.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...

    async def past_incident(self, id: str) -> PastIncident | None:  # noqa: A002 - the field's name
        """Return the alert of ``id`` in the history; ``None`` if there is none.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...

    async def load_rows(self) -> dict[StateTable, dict[str, bytes]]:
        """Return all rows by table and key.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...


class WriteBuffer:
    """Buffers rows and outcomes for the store, and saves all of them in one transaction.

    It holds one row for each key, so that it grows no larger than the state, the last 10,000 outcomes, and the last
    1,000 rows of the history of alerts.
    """

    def __init__(self, store: AlertStore) -> None:
        self._store = store
        self._rows: dict[tuple[AlertTable, str], RowChange] = {}
        self._history: dict[str, RowChange] = {}
        self._outcomes: deque[Outcome] = deque(maxlen=MAX_OUTCOMES)
        self._dropped_outcomes = 0

    @property
    def is_empty(self) -> bool:
        """Whether the store has all changes."""
        return not (self._rows or self._history or self._outcomes)

    @property
    def is_urgent(self) -> bool:
        """Whether it holds more than detectors, reachability and history, so that the commit must not be delayed."""
        return any(table not in _DEFERRABLE_TABLES for table, _ in self._rows)

    def add(self, rows: Iterable[RowChange], outcome: Outcome | None = None) -> None:
        """Add changed rows, and the outcome that caused them."""
        for row in rows:
            if row.table == "alert_history":
                self._add_history(row)
            else:
                self._rows[row.table, row.key] = row
        if outcome is not None:
            if len(self._outcomes) == MAX_OUTCOMES:
                self._dropped_outcomes += 1
                if self._dropped_outcomes % 1000 == 1:
                    _log.warning("history lost: write buffer is full", extra={"runs": self._dropped_outcomes})
            self._outcomes.append(outcome)

    async def save(self) -> StoreFailing | None:
        """Commit all changes; if the store fails, keep them for the next call and return the error.

        Raises:
            SessionLost, LeaseLost: if the store is shared, and another replica owns alerting.
        """
        if self.is_empty:
            return None
        try:
            await self._commit((*self._rows.values(), *self._history.values()))
        except StoreFailing as error:
            return error
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - an internal error of a write must not stop notifications
            _log.exception("store raised an unexpected error")
            return StoreFailing(f"internal error: {type(error).__name__}")
        self._rows.clear()
        self._history.clear()
        self._clear_inputs()
        return None

    async def _commit(self, rows: Sequence[RowChange]) -> None:
        """Commit ``rows``, and the inputs that caused them."""
        await self._store.commit(rows, tuple(self._outcomes))

    def _clear_inputs(self) -> None:
        """Forget the inputs that are committed."""
        self._outcomes.clear()
        self._dropped_outcomes = 0

    def _add_history(self, row: RowChange) -> None:
        self._history.pop(row.key, None)
        while len(self._history) >= MAX_HISTORY_ROWS:
            del self._history[next(iter(self._history))]
        self._history[row.key] = row


__all__ = ["AlertStore", "StoreFailing", "StoreLost", "WriteBuffer"]
