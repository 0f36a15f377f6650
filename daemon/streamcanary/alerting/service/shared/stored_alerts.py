"""The stored state of alerting, as a replica shows it that does not own alerting."""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from streamcanary.alerting.engine.state import TABLES, State
from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.alerting.service.shared.alert_inputs import AlertInputs
from streamcanary.alerting.service.status.history_recorder import unfinished_ids
from streamcanary.alerting.service.write_buffer import AlertStore
from streamcanary.model.alerts.row_change import RUN_TABLES, StateTable
from streamcanary.model.clock import Clock
from streamcanary.model.status.alert_history import PastIncident
from streamcanary.store.errors import StoreFailing

_log = logging.getLogger(__name__)

POLL_INTERVAL: Final = 1.0
"""Seconds between two checks for a new revision."""

DETECTORS_INTERVAL: Final = 15.0
"""Seconds for which detectors are shown as they were read last; they change with each run."""

_SHOWN_TABLES: Final = tuple(name for name in TABLES if name not in RUN_TABLES)


class StoredAlerts:
    """Reads the state when its revision has changed. ``state`` is from ``as_of``, in seconds since the epoch, or 0.

    ``error`` is why it cannot be read now; empty if it can. The tables that change with each run are read when they are
    asked for by :meth:`request_detectors`, at most every :data:`DETECTORS_INTERVAL` seconds. ``is_needed`` returns
    whether :meth:`run` has to read.
    """

    def __init__(
        self, store: AlertStore, inputs: AlertInputs, clock: Clock, is_needed: Callable[[], bool] = lambda: True
    ) -> None:
        self._store = store
        self._inputs = inputs
        self._clock = clock
        self._is_needed = is_needed
        self.state = State()
        self.unfinished: tuple[PastIncident, ...] = ()
        self.as_of = 0.0
        self.error = ""
        self._revision: int | None = None
        self._are_detectors_requested = False
        self._detectors_read_at = -math.inf
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()

    def wake(self) -> None:
        """Check for a new revision at once."""
        self._wake.set()

    def request_detectors(self) -> None:
        """Read detectors soon, if those that are known are old."""
        self._are_detectors_requested = True

    def take(self, state: State, unfinished: Sequence[PastIncident]) -> None:
        """Show ``state``, which this replica has committed itself as the owner of alerting until now."""
        self.state, self.unfinished, self._revision = state, tuple(unfinished), None
        self.as_of, self._detectors_read_at = self._clock.time(), self._clock.monotonic()

    async def run(self) -> None:
        """Check for new revisions until cancelled, while that is needed."""
        while True:
            self._wake.clear()
            try:
                if self._is_needed():
                    await self.refresh()
            except StoreFailing as error:
                if not self.error:
                    _log.warning("alerts cannot be read", extra={"error": str(error)})
                self.error = str(error)
            try:
                async with asyncio.timeout(POLL_INTERVAL):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def refresh(self) -> None:
        """Read the state if its revision has changed.

        Raises:
            StoreFailing: if it cannot be read.
        """
        async with self._lock:
            now = self._clock.time()
            if self._revision != (await self._inputs.progress()).revision:
                self._revision = await self._read(_SHOWN_TABLES)
                self.unfinished = await self._read_unfinished()
            age = self._clock.monotonic() - self._detectors_read_at
            if self._are_detectors_requested and age >= DETECTORS_INTERVAL:
                await self._read(tuple(RUN_TABLES))
                self._are_detectors_requested, self._detectors_read_at = False, self._clock.monotonic()
            self.as_of, self.error = now, ""

    async def _read(self, tables: Collection[Any]) -> int:
        """Read ``tables``, and return their revision. The rows are decoded in a thread, as they may be many."""
        revision, rows = await self._inputs.load(tables)
        found = await asyncio.to_thread(_decode, rows)
        self.state = msgspec.structs.replace(self.state, **{name: found.table(name) for name in tables})
        return revision

    async def _read_unfinished(self) -> tuple[PastIncident, ...]:
        found = await self._store.unfinished_incidents(unfinished_ids(self.state))
        return tuple(sorted(found, key=lambda one: one.id, reverse=True))


def _decode(rows: Mapping[StateTable, Mapping[str, bytes]]) -> State:
    """Return the state in ``rows``. What cannot be read is left out: the owner of alerting reports it."""
    return read_state(rows)[0]
