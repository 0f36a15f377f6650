"""What the store does not have yet. While it fails, changes are kept here, the later ones over the earlier."""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from streamcanary.model.alerts.row_change import Row, Table
from streamcanary.model.outcome import Outcome
from streamcanary.store.errors import StoreFailing, StoreLost

_log = logging.getLogger(__name__)

MOST_OUTCOMES = 10_000
_SEEN = frozenset({"detectors", "sightings"})


class Ledger(Protocol):
    """What alerting needs of a store."""

    @property
    def incomplete(self) -> bool:
        """Whether an earlier process could not save everything, and nothing was committed since."""
        ...

    async def commit(self, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        """Save ``rows``, and ``outcomes`` as history, in one durable transaction; the same again does no harm.

        Raises:
            StoreFailing: if it could not be saved.
            StoreLost: if in addition what was saved before is gone.
        """
        ...

    async def load_ledger(self) -> dict[Table, dict[str, bytes]]:
        """Return all rows by table and key.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...


class Journal:
    """Rows and outcomes on their way into a ledger, always all of them in one transaction.

    There is one row for each key, so it grows no larger than the state; of the outcomes the last 10,000 are kept.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._rows: dict[tuple[Table, str], Row] = {}
        self._outcomes: deque[Outcome] = deque(maxlen=MOST_OUTCOMES)
        self._lost = 0

    @property
    def empty(self) -> bool:
        """Whether the ledger has everything."""
        return not self._rows and not self._outcomes

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for it to be in the ledger: it is about more than what was seen of canaries."""
        return any(table not in _SEEN for table, _ in self._rows)

    def hold(self, rows: Iterable[Row], outcome: Outcome | None = None) -> None:
        """Add changes, and the outcome that they came of."""
        for row in rows:
            self._rows[row.table, row.key] = row
        if outcome is not None:
            if len(self._outcomes) == MOST_OUTCOMES:
                self._lost += 1
                if self._lost % 1000 == 1:
                    _log.warning("history: %d runs are lost, the store has failed for too long", self._lost)
            self._outcomes.append(outcome)

    async def save(self) -> StoreFailing | None:
        """Commit everything; return what the store says if it fails, when all of it is kept for the next time."""
        if self.empty:
            return None
        try:
            await self._ledger.commit(tuple(self._rows.values()), tuple(self._outcomes))
        except StoreFailing as error:
            return error
        except Exception as error:  # noqa: BLE001 - told as StoreFailing: no defect of a write may stop the pages
            _log.exception("the store raised what it should not")
            return StoreFailing(f"internal error: {type(error).__name__}")
        self._rows.clear()
        self._outcomes.clear()
        self._lost = 0
        return None


__all__ = ["Journal", "Ledger", "StoreFailing", "StoreLost"]
