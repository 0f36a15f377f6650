"""What the store does not have yet. While it fails, changes are kept here, the later ones over the earlier."""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from streamcanary.model.alerts.row_change import RowChange, StateTable
from streamcanary.model.outcome import Outcome
from streamcanary.store.errors import StoreFailing, StoreLost

_log = logging.getLogger(__name__)

MAX_OUTCOMES = 10_000
_DEFERRABLE_TABLES = frozenset({"detectors", "reachability"})


class AlertStore(Protocol):
    """What alerting needs of a store."""

    @property
    def may_be_incomplete(self) -> bool:
        """Whether an earlier process could not save everything, and nothing was committed since."""
        ...

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Save ``rows``, and ``outcomes`` as history, in one durable transaction; the same again does no harm.

        Raises:
            StoreFailing: if it could not be saved.
            StoreLost: if in addition what was saved before is gone.
        """
        ...

    async def load_rows(self) -> dict[StateTable, dict[str, bytes]]:
        """Return all rows by table and key.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...


class WriteBuffer:
    """Rows and outcomes on their way into a ledger, always all of them in one transaction.

    There is one row for each key, so it grows no larger than the state; of the outcomes the last 10,000 are kept.
    """

    def __init__(self, store: AlertStore) -> None:
        self._store = store
        self._rows: dict[tuple[StateTable, str], RowChange] = {}
        self._outcomes: deque[Outcome] = deque(maxlen=MAX_OUTCOMES)
        self._dropped_outcomes = 0

    @property
    def is_empty(self) -> bool:
        """Whether the ledger has everything."""
        return not self._rows and not self._outcomes

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits for it to be in the ledger: it is about more than what was seen of canaries."""
        return any(table not in _DEFERRABLE_TABLES for table, _ in self._rows)

    def add(self, rows: Iterable[RowChange], outcome: Outcome | None = None) -> None:
        """Add changes, and the outcome that they came of."""
        for row in rows:
            self._rows[row.table, row.key] = row
        if outcome is not None:
            if len(self._outcomes) == MAX_OUTCOMES:
                self._dropped_outcomes += 1
                if self._dropped_outcomes % 1000 == 1:
                    _log.warning("history: %d runs are lost, the store has failed for too long", self._dropped_outcomes)
            self._outcomes.append(outcome)

    async def save(self) -> StoreFailing | None:
        """Commit everything; return what the store says if it fails, when all of it is kept for the next time."""
        if self.is_empty:
            return None
        try:
            await self._store.commit(tuple(self._rows.values()), tuple(self._outcomes))
        except StoreFailing as error:
            return error
        except Exception as error:  # noqa: BLE001 - told as StoreFailing: no defect of a write may stop the pages
            _log.exception("the store raised what it should not")
            return StoreFailing(f"internal error: {type(error).__name__}")
        self._rows.clear()
        self._outcomes.clear()
        self._dropped_outcomes = 0
        return None


__all__ = ["AlertStore", "StoreFailing", "StoreLost", "WriteBuffer"]
