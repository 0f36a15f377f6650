"""The stored state of alerting, as a replica shows it that does not own alerting."""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

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

DETAILS_INTERVAL: Final = 15.0
"""Seconds for which detectors and timelines are shown as they were read last."""

EVIDENCE_INTERVAL: Final = 5.0
"""The same for the evidence of alerts that fire."""

BASELINES_INTERVAL: Final = 300.0
"""The same for baselines, which are learned once a day."""

KEEP_DETECTORS: Final = 60.0
"""Seconds after which detectors are forgotten that were not read again: they are most of the memory of a state."""

KEEP_NEWER: Final = 60.0
"""Seconds for which alerts are shown that the database has lost: a replica that knows them should own alerting soon."""

_MAX_EVIDENCE: Final = 200  # alerts
_SHOWN_TABLES: Final = tuple(name for name in TABLES if name not in RUN_TABLES and name != "baselines")


class KnownAlerts(Struct, frozen=True):
    """The state that a replica knows, and its revision in the database."""

    revision: int
    state: State


class StoredAlerts:
    """Reads the state when its revision has changed. ``state`` is from ``as_of``, in seconds since the epoch, or 0.

    ``error`` is why it cannot be read now; empty if it can. What is large is read when somebody has asked for it, at
    most every :data:`DETAILS_INTERVAL` seconds: detectors, and the timelines of ``unfinished`` incidents. The detectors
    of alerts that fire are read every :data:`EVIDENCE_INTERVAL` seconds; the others are forgotten when nobody asks any
    more. ``is_needed`` returns whether :meth:`run` has to read.

    If the database has an older revision than was read before, because it was replaced or has lost commits, the known
    state is shown until the owner of alerting has written it again, at most for :data:`KEEP_NEWER` seconds.
    """

    def __init__(
        self, store: AlertStore, inputs: AlertInputs, clock: Clock, is_needed: Callable[[], bool] = lambda: True
    ) -> None:
        self._store = store
        self._inputs = inputs
        self._clock = clock
        self._is_needed = is_needed
        self.state = State()
        self.as_of = 0.0
        self.error = ""
        self._unfinished: tuple[PastIncident, ...] = ()
        self._revision: int | None = None
        self._known_revision = 0  # of `state`
        self._older_since: float | None = None  # monotonic seconds
        self._requested: set[str] = set()
        self._read_at: dict[str, float] = {}  # monotonic seconds
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()

    @property
    def unfinished(self) -> tuple[PastIncident, ...]:
        """The incidents that can still change, the newest first, as of some seconds ago; they are read again soon."""
        self._requested.add("unfinished")
        return self._unfinished

    def request_detectors(self) -> None:
        """Read detectors soon, if those that are known are old."""
        self._requested.add("detectors")

    @property
    def known(self) -> KnownAlerts:
        """What this replica knows, whether the database has it or not."""
        last = max((each.sequence for each in self.state.notifications.values()), default=0)
        state = msgspec.structs.replace(self.state, last_sequence=max(last, self.state.last_sequence))
        return KnownAlerts(self._known_revision, state)

    def take(self, known: KnownAlerts, unfinished: Sequence[PastIncident]) -> None:
        """Show what this replica has committed itself as the owner of alerting until now."""
        self.state, self._unfinished, self._revision = known.state, tuple(unfinished), None
        self._known_revision = known.revision
        self.as_of = self._clock.time()
        self._read_at = dict.fromkeys(("detectors", "unfinished", "baselines", "evidence"), self._clock.monotonic())

    def wake(self) -> None:
        """Check for a new revision at once."""
        self._wake.set()

    async def run(self) -> None:
        """Check for new revisions until cancelled, while that is needed."""
        while True:
            self._wake.clear()
            self._forget_detectors()
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
            revision = (await self._inputs.progress()).revision
            self._check_age(revision)
            if self._revision != revision:
                self._revision = self._known_revision = await self._read(_SHOWN_TABLES)
            if self._is_old("baselines", BASELINES_INTERVAL):
                await self._read_part("baselines")
            if self._is_old("evidence", EVIDENCE_INTERVAL):
                await self._read_evidence()
            for name in [name for name in self._requested if self._is_old(name, DETAILS_INTERVAL)]:
                await self._read_part(name)
                self._requested.discard(name)
            self.as_of, self.error = now, ""

    def _check_age(self, revision: int) -> None:
        """Check that the database has no older ``revision`` than is known; after a time, accept it.

        Raises:
            StoreFailing: if it has an older one.
        """
        now = self._clock.monotonic()
        if revision >= self._known_revision:
            self._older_since = None
            return
        if self._older_since is None:
            self._older_since = now
        if now - self._older_since < KEEP_NEWER:
            raise StoreFailing(
                f"the database has revision {revision} of the alerts, and this replica has read revision "
                f"{self._known_revision}: it was replaced by an older one, or a failover has lost commits; the alerts "
                "that were read are shown until the replica that evaluates the rules has written them again"
            )
        extra = {"revision": revision, "known_revision": self._known_revision}
        _log.error("older alerts accepted", extra=extra)
        self._older_since = None

    def _forget_detectors(self) -> None:
        """Forget the detectors that nobody has asked for recently, but those of open incidents."""
        if "detectors" not in self._read_at or not self._is_old("detectors", KEEP_DETECTORS):
            return
        del self._read_at["detectors"]
        kept = {key: value for key, value in self.state.detectors.items() if key in self.state.incidents}
        self.state = msgspec.structs.replace(self.state, detectors=kept)

    def _is_old(self, name: str, seconds: float) -> bool:
        return self._clock.monotonic() - self._read_at.get(name, -math.inf) >= seconds

    async def _read_part(self, name: str) -> None:
        """Read baselines, detectors, or the timelines of unfinished incidents."""
        started = self._clock.monotonic()
        if name == "unfinished":
            found = await self._store.unfinished_incidents(unfinished_ids(self.state))
            self._unfinished = tuple(sorted(found, key=lambda one: one.id, reverse=True))
        else:
            await self._read(RUN_TABLES if name == "detectors" else (name,))
        self._read_at[name] = started

    async def _read_evidence(self) -> None:
        """Read the detectors of alerts that fire, which have their evidence: somebody may ask once, and act on it."""
        started = self._clock.monotonic()
        firing = sorted((each for each in self.state.incidents.values() if each.is_firing), key=lambda one: -one.opened)
        keys = [incident.key for incident in firing[:_MAX_EVIDENCE]]
        found = _decode({"detectors": await self._inputs.load_detectors(keys)}).detectors if keys else {}
        others = self.state.detectors if "detectors" in self._read_at else {}
        if found or self.state.detectors:
            self.state = msgspec.structs.replace(self.state, detectors={**others, **found})
        self._read_at["evidence"] = started

    async def _read(self, tables: Collection[Any]) -> int:
        """Read ``tables``, and return their revision. The rows are decoded in a thread, as they may be many."""
        revision, rows = await self._inputs.load(tables)
        found = await asyncio.to_thread(_decode, rows)
        self.state = msgspec.structs.replace(self.state, **{name: found.table(name) for name in tables})
        return revision


def _decode(rows: Mapping[StateTable, Mapping[str, bytes]]) -> State:
    """Return the state in ``rows``. What cannot be read is left out: the owner of alerting reports it."""
    return read_state(rows)[0]
