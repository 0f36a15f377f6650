"""Prunes the store every ten minutes: deletes old runs and alerts, and merges old rollups."""

from typing import Final

from streamcanary.model.clock import Clock
from streamcanary.store.connection import Connection
from streamcanary.store.tables import alert_history, history, rollups

_INTERVAL: Final = 600.0  # seconds


class Pruner:
    """Decides when to prune, and what. ``retention`` is how many seconds ended runs are kept."""

    def __init__(self, clock: Clock, retention: float) -> None:
        self._clock = clock
        self._retention = retention
        self._next = clock.monotonic()  # at once, so that a daemon that restarts often prunes, too

    def is_due(self) -> bool:
        """Return whether to prune now, and begin the next interval if so."""
        now = self._clock.monotonic()
        if now < self._next:
            return False
        self._next = now + _INTERVAL
        return True

    def prune(self, connection: Connection) -> None:
        """Delete a bounded number of rows within the transaction of the caller; if there are more, it is due again.

        Raises:
            sqlite3.Error, psycopg.Error: if they cannot be deleted.
        """
        removed = history.prune_runs(connection, self._clock.time(), self._retention)
        merged = rollups.prune_rollups(connection, self._clock.time())
        alert_history.prune(connection, self._clock.time())
        if removed >= history.MAX_PRUNED_PER_CALL or merged >= rollups.MAX_PRUNED_PER_CALL:
            self._next = self._clock.monotonic()
