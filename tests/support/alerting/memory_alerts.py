"""The pending inputs and the state of alerting in memory, as replicas share them in a database."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from streamcanary.model.alerts.pending_input import AlertCommit, AlertProgress, InputKind, PendingInput, RejectedRow
from streamcanary.model.alerts.row_change import RUN_TABLES, AlertTable, RowChange, StateTable
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import Ownership
from streamcanary.model.statistics.rollup import Rollup
from streamcanary.model.status.alert_history import IncidentPage, PastIncident
from streamcanary.store.errors import LeaseLost, SessionLost, StoreFailing, StoreLost
from streamcanary.store.postgres.replication.alert_inputs import RESTORE_STEP


class MemoryAlerts:
    """The database. ``owner`` owns alerting; ``fenced`` are sessions that have ended.

    ``is_fencing`` can be switched off, to show that a test needs it. Rows with the keys ``rejected`` are not saved.
    """

    def __init__(self) -> None:
        self.inputs: dict[int, PendingInput] = {}
        self.run_ids: set[str] = set()
        self.rows: dict[AlertTable, dict[str, bytes]] = {}
        self.revision = 0
        self.owner: Ownership | None = None
        self.fenced: set[int] = set()
        self.is_fencing = True
        self.rejected: set[str] = set()
        self._last_input = 0

    def take_over(self, session: int, *, fence: bool = False) -> Ownership:
        """Make ``session`` the owner; with ``fence``, the session of the owner before has ended."""
        before = self.owner
        if before is not None and fence:
            self.fenced.add(before.session)
        self.owner = Ownership(session, 1 if before is None else before.epoch + 1)
        return self.owner

    def add(self, kind: InputKind, value: bytes) -> int:
        """Add an input."""
        self._last_input += 1
        self.inputs[self._last_input] = PendingInput(self._last_input, kind, value)
        return self._last_input

    def add_run(self, outcome: Outcome) -> None:
        """Add a run, unless it was recorded before."""
        if outcome.run_id not in self.run_ids:
            self.run_ids.add(outcome.run_id)
            self.add("run", msgspec.json.encode(outcome))

    def commit(
        self,
        owner: Ownership,
        rows: Sequence[RowChange],
        consumed: Collection[int],
        known_revision: int = 0,
        is_restore: bool = False,
    ) -> AlertCommit:
        """Commit as the database does, in one transaction.

        Raises:
            SessionLost, LeaseLost: if ``owner`` does not own alerting.
            StoreLost: if the revision is lower than ``known_revision``, and it is no restore.
        """
        if self.is_fencing:
            self.check(owner)
        if self.revision < known_revision and not is_restore:
            raise StoreLost("commits were lost")
        if is_restore and known_revision <= self.revision < known_revision + RESTORE_STEP:
            raise LeaseLost("nothing to restore")
        accepted = [row for row in rows if row.key not in self.rejected]
        for row in accepted:
            table = self.rows.setdefault(row.table, {})
            if row.value is None:
                table.pop(row.key, None)
            else:
                table[row.key] = row.value
        for number in consumed:
            self.inputs.pop(number, None)
        if is_restore:
            self.revision = max(self.revision, known_revision) + RESTORE_STEP
        else:
            self.revision += any(row.table not in RUN_TABLES for row in rows)
        refused = (row for row in rows if row.key in self.rejected)
        return AlertCommit(self.revision, tuple(RejectedRow(row.table, row.key, "rejected") for row in refused))

    def check(self, owner: Ownership) -> None:
        """Check that ``owner`` owns alerting.

        Raises:
            SessionLost, LeaseLost: if not.
        """
        if owner.session in self.fenced:
            raise SessionLost(f"session {owner.session} has ended")
        if owner != self.owner:
            raise LeaseLost("another replica owns alerts")


class MemoryAlertInputs:
    """The connection of one replica to :class:`MemoryAlerts`.

    ``failure`` is raised while it is set; while it ``hangs``, it does not answer. ``lost_answers`` is the number of the
    next commits that are performed and answered with an error. ``gate`` delays each commit until it is set;
    ``waiting_commits`` are those that it delays. ``reads`` counts the reads of pending inputs.
    """

    def __init__(self, alerts: MemoryAlerts) -> None:
        self.alerts = alerts
        self.failure: StoreFailing | None = None
        self.hangs = False
        self.lost_answers = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.loads: list[frozenset[StateTable]] = []
        self.commits = self.waiting_commits = self.reads = 0

    async def add(self, kind: InputKind, value: bytes) -> int:
        """Add an input."""
        await self._travel()
        return self.alerts.add(kind, value)

    async def pending(self, limit: int) -> list[PendingInput]:
        """Return the first inputs."""
        self.reads += 1
        await self._travel()
        return sorted(self.alerts.inputs.values(), key=lambda one: one.id)[:limit]

    async def count_pending(self) -> int:
        """Return the number of inputs."""
        await self._travel()
        return len(self.alerts.inputs)

    async def is_pending(self, id: int) -> bool:  # noqa: A002 - as in the database
        """Return whether the input waits."""
        await self._travel()
        return id in self.alerts.inputs

    async def progress(self) -> AlertProgress:
        """Return the revision."""
        await self._travel()
        return AlertProgress(self.alerts.revision, min(self.alerts.inputs, default=None))

    async def load(self, tables: Collection[StateTable]) -> tuple[int, Mapping[StateTable, Mapping[str, bytes]]]:
        """Return rows."""
        await self._travel()
        self.loads.append(frozenset(tables))
        return self.alerts.revision, {name: dict(self.alerts.rows.get(name, {})) for name in tables}

    async def load_detectors(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """Return rows of detectors."""
        await self._travel()
        rows = self.alerts.rows.get("detectors", {})
        return {key: rows[key] for key in keys if key in rows}

    async def commit(
        self,
        owner: Ownership,
        rows: Sequence[RowChange],
        consumed: Collection[int],
        *,
        known_revision: int = 0,
        is_restore: bool = False,
    ) -> AlertCommit:
        """Commit."""
        await self._travel()
        self.waiting_commits += 1
        await self.gate.wait()
        self.waiting_commits -= 1
        result = self.alerts.commit(owner, rows, consumed, known_revision, is_restore)
        self.commits += 1
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreFailing("the connection was closed before the answer")
        return result

    async def wait_for_reads(self, count: int) -> None:
        """Wait until pending inputs were read ``count`` times more."""
        before = self.reads
        while self.reads < before + count:
            await asyncio.sleep(0.002)

    async def _travel(self) -> None:
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure


class MemoryAlertStore:
    """Reads the history of alerts from :class:`MemoryAlerts`; there are no recorded runs to learn from."""

    may_be_incomplete = False

    def __init__(self, alerts: MemoryAlerts) -> None:
        self._alerts = alerts

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Fail: the owner commits with its lease."""
        raise AssertionError("a commit without a lease")

    async def load_rows(self) -> dict[StateTable, dict[str, bytes]]:
        """Fail, as :meth:`commit`."""
        raise AssertionError("read without a revision")

    async def row_before_last(self, count: int) -> int:
        """Return the beginning."""
        return 0

    async def runs_after(self, last: int, limit: int) -> tuple[list[Outcome], int | None]:
        """Return no runs."""
        return [], None

    async def first_periods(self, canaries: Mapping[str, str]) -> dict[str, int]:
        """Return no periods."""
        return {}

    async def read_rollups(self, since: float, canaries: Mapping[str, str]) -> list[Rollup]:
        """Return no rollups."""
        return []

    async def unfinished_incidents(self, ids: Collection[str]) -> list[PastIncident]:
        """Return what has not resolved, and ``ids``."""
        return [one for one in self._history() if one.resolved is None or one.id in ids]

    async def past_incidents(
        self, before: str | None = None, *, limit: int = 50, canary: str | None = None
    ) -> IncidentPage:
        """Return the newest incidents."""
        found = sorted(self._history(), key=lambda one: one.id, reverse=True)
        return IncidentPage(incidents=tuple(found[:limit]))

    async def past_incident(self, id: str) -> PastIncident | None:  # noqa: A002 - as in the store
        """Return an incident."""
        return next((one for one in self._history() if one.id == id), None)

    def _history(self) -> list[PastIncident]:
        rows = self._alerts.rows.get("alert_history", {})
        return [msgspec.json.decode(value, type=PastIncident) for value in rows.values()]


def always(value: bool) -> Callable[[], bool]:
    """Return a function that returns ``value``."""
    return lambda: value
