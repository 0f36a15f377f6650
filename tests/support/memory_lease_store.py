"""A database of replicas in memory, with a clock of its own, and one connection to it for each replica.

The connection can fail: it can be cut off, hang, or perform a request and lose the answer.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from streamcanary.model.alerts.pending_input import AlertCommit, AlertProgress, InputKind, PendingInput
from streamcanary.model.alerts.row_change import RowChange, StateTable
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import ALERTS, Membership, Ownership, Replica, TakenLease, Takeover
from streamcanary.model.spend import Spend
from streamcanary.store.errors import LeaseLost, SessionLost, StoreFailing
from support.alerting.memory_alerts import MemoryAlerts

T = TypeVar("T")


class _Session(Struct):
    replica: Replica
    expires: float


class _Lease(Struct):
    session: int | None = None
    epoch: int = 0


class LeasedAlerts(MemoryAlerts):
    """The pending inputs and the state of alerting in ``database``, whose commits are fenced by its leases."""

    def __init__(self, database: "MemoryDatabase") -> None:
        super().__init__()
        self._database = database

    def check(self, owner: Ownership) -> None:
        """Check that ``owner`` owns alerting.

        Raises:
            SessionLost, LeaseLost: if not.
        """
        self._database.check_session(owner.session)
        if not self._database.owns(owner.session, ALERTS, owner.epoch):
            raise LeaseLost(f"session {owner.session} does not own alerts with epoch {owner.epoch} any more")


class MemoryDatabase:
    """Sessions, leases, recorded runs and alerts. ``clock`` returns seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.sessions: dict[int, _Session] = {}
        self.leases: dict[str, _Lease] = {}
        self.alerts = LeasedAlerts(self)
        self.runs: dict[str, None] = {}
        """The ids of recorded runs, in the order in which they were recorded."""
        self.spend: dict[str, Spend] = {}
        """The spend of sessions that have ended, by day."""
        self.session_spend: dict[int, dict[str, Spend]] = {}
        self.on_commit: Callable[[int, Mapping[str, Sequence[Outcome]]], None] = lambda session, runs: None
        """Called with the runs that are new."""
        self.rejections: dict[str, Exception] = {}
        """The error of a commit that has the run of this id."""
        self.fenced: list[int] = []
        """The sessions that have been fenced, in this order."""
        self.last_session = 0
        self._membership: Membership | None = None

    # ---- sessions and leases

    def join(self, name: str, *, generation: int, config: str, address: str, ttl: float) -> Replica:
        """Start a session."""
        self.fence()
        self.last_session += 1
        now = self.clock()
        replica = Replica(
            session=self.last_session, name=name, generation=generation, config=config, address=address, joined=now
        )
        self.sessions[replica.session] = _Session(replica, now + ttl)
        self._membership = None
        return replica

    def renew(self, session: int, *, ttl: float, generation: int, config: str, draining: bool) -> Membership:
        """Renew a session."""
        self.fence()
        entry = self.check_session(session)
        entry.expires = self.clock() + ttl
        before = entry.replica
        if (before.generation, before.config, before.draining) != (generation, config, draining):
            entry.replica = msgspec.structs.replace(before, generation=generation, config=config, draining=draining)
            self._membership = None
        if self._membership is None:
            owners = {
                resource: Ownership(lease.session, lease.epoch)
                for resource, lease in self.leases.items()
                if lease.session in self.sessions
            }
            self._membership = Membership(replicas=tuple(one.replica for one in self.sessions.values()), owners=owners)
        return self._membership

    def acquire(self, session: int, resources: Collection[str]) -> dict[str, TakenLease]:
        """Take what is free."""
        self.fence()
        self.check_session(session)
        taken = {}
        for resource in resources:
            lease = self.leases.setdefault(resource, _Lease())
            if lease.session == session:
                taken[resource] = TakenLease(lease.epoch)
            elif lease.session not in self.sessions:
                takeover = Takeover.FREE if lease.epoch == 0 else Takeover.EXPIRED
                if lease.session is None and lease.epoch:
                    takeover = Takeover.RELEASED
                lease.session, lease.epoch = session, lease.epoch + 1
                taken[resource] = TakenLease(lease.epoch, takeover)
        self._membership = None
        return taken

    def release(self, session: int, resources: Collection[str]) -> None:
        """Make resources free."""
        for resource in resources:
            if (lease := self.leases.get(resource)) is not None and lease.session == session:
                lease.session = None
        self._membership = None

    def leave(self, session: int) -> None:
        """End a session."""
        if session in self.sessions:
            self.release(session, list(self.leases))
            self._end(session)

    def fence(self) -> None:
        """End the sessions that have expired."""
        now = self.clock()
        for session in [session for session, entry in self.sessions.items() if entry.expires < now]:
            self.fenced.append(session)
            self._end(session)

    def check_session(self, session: int) -> _Session:
        """Return the session.

        Raises:
            SessionLost: if it has ended.
        """
        if session not in self.sessions:
            raise SessionLost(f"session {session} has ended")
        return self.sessions[session]

    def owns(self, session: int, resource: str, epoch: int | None) -> bool:
        """Return whether the session owns the resource with this epoch."""
        lease = self.leases.get(resource)
        return lease is not None and lease.session == session and lease.epoch == epoch

    def _end(self, session: int) -> None:
        del self.sessions[session]
        for day, spend in self.session_spend.pop(session, {}).items():
            self.spend[day] = self.spend.get(day, Spend()) + spend
        self._membership = None

    # ---- runs

    def commit_runs(
        self,
        session: int,
        runs: Mapping[str, Sequence[Outcome]],
        epochs: Mapping[str, int],
        spend: Mapping[str, Spend],
    ) -> set[str]:
        """Record runs, as inputs of alerting and in the history."""
        self.check_session(session)
        refused = {shard for shard in runs if not self.owns(session, shard, epochs.get(shard))}
        new = {
            shard: [outcome for outcome in outcomes if outcome.run_id not in self.runs]
            for shard, outcomes in runs.items()
            if shard not in refused
        }
        for error in [
            self.rejections[one.run_id] for some in new.values() for one in some if one.run_id in self.rejections
        ]:
            raise error
        for outcome in (outcome for outcomes in new.values() for outcome in outcomes):
            if outcome.run_id not in self.runs:
                self.runs[outcome.run_id] = None
                self.alerts.add("run", msgspec.json.encode(outcome))
        if spend:
            self.session_spend[session] = {**self.session_spend.get(session, {}), **spend}
        self.on_commit(session, new)
        return refused


class MemoryConnection:
    """The connection of one replica to a :class:`MemoryDatabase`; requests can fail in each way that a network has.

    ``latency`` is in seconds, of which each request takes a quarter to three quarters, and so does the part
    ``slow_answers`` (0 to 1) of the answers. ``is_cut`` lets requests fail at once, ``hangs`` lets them wait until it
    ends. ``lost_answers`` is the number of the next requests that are performed and answered with an error,
    ``lost_commits`` that of the next commits of runs or alerts.
    """

    def __init__(self, database: MemoryDatabase, *, latency: float = 0.0, random: Random | None = None) -> None:
        self.database = database
        self.latency = latency
        self.slow_answers = 0.25
        self.is_cut = False
        self.hangs = False
        self.lost_answers = self.lost_commits = 0
        self.requests: dict[str, int] = {}
        self._random = random or Random(0)  # noqa: S311 - no secret

    async def call(self, request: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Perform a request to the database.

        Raises:
            StoreFailing: if the connection fails.
        """
        name = request.__name__
        self.requests[name] = self.requests.get(name, 0) + 1
        await self._travel()
        result = request(*arguments, **options)
        self._lose_answer(name)
        if self.hangs or self._random.random() < self.slow_answers:
            await self._travel()
        return result

    def _lose_answer(self, name: str) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
        elif self.lost_commits and name in ("commit", "commit_runs"):
            self.lost_commits -= 1
        else:
            return
        raise StoreFailing("the connection was closed before the answer")

    async def _travel(self) -> None:
        if self.latency:
            await asyncio.sleep(self.latency * self._random.uniform(0.25, 0.75))
        while self.hangs and not self.is_cut:
            await asyncio.sleep(0.25)
        if self.is_cut:
            raise StoreFailing("the database cannot be reached")


class MemoryLeaseStore:
    """The lease store of a replica over its connection."""

    def __init__(self, connection: MemoryConnection) -> None:
        self.connection = connection
        self._database = connection.database

    async def join(self, name: str, *, generation: int, config: str, address: str, ttl: float) -> Replica:
        """Start a session."""
        return await self.connection.call(
            self._database.join, name, generation=generation, config=config, address=address, ttl=ttl
        )

    async def renew(self, session: int, *, ttl: float, generation: int, config: str, draining: bool) -> Membership:
        """Renew a session."""
        return await self.connection.call(
            self._database.renew, session, ttl=ttl, generation=generation, config=config, draining=draining
        )

    async def acquire(self, session: int, resources: Collection[str]) -> Mapping[str, TakenLease]:
        """Take what is free."""
        return await self.connection.call(self._database.acquire, session, tuple(resources))

    async def release(self, session: int, resources: Collection[str]) -> None:
        """Make resources free."""
        await self.connection.call(self._database.release, session, tuple(resources))

    async def leave(self, session: int) -> None:
        """End a session."""
        await self.connection.call(self._database.leave, session)

    async def commit_runs(
        self,
        session: int,
        runs: Mapping[str, Sequence[Outcome]],
        epochs: Mapping[str, int],
        spend: Mapping[str, Spend],
    ) -> Collection[str]:
        """Record runs."""
        return await self.connection.call(self._database.commit_runs, session, dict(runs), dict(epochs), dict(spend))


class MemoryAlertConnection:
    """The inputs and the state of alerting over the connection of a replica; the contract is ``AlertInputs``."""

    def __init__(self, connection: MemoryConnection) -> None:
        self.connection = connection
        self._alerts = connection.database.alerts

    async def add(self, kind: InputKind, value: bytes) -> int:
        """Add an input."""
        return await self.connection.call(self._alerts.add, kind, value)

    async def pending(self, limit: int) -> list[PendingInput]:
        """Return the first inputs."""
        return await self.connection.call(self._pending, limit)

    async def count_pending(self) -> int:
        """Return the number of inputs."""
        return await self.connection.call(self._alerts.inputs.__len__)

    async def is_pending(self, id: int) -> bool:  # noqa: A002 - as in the database
        """Return whether the input waits."""
        return await self.connection.call(self._alerts.inputs.__contains__, id)

    async def progress(self) -> AlertProgress:
        """Return the revision."""
        return await self.connection.call(self._progress)

    async def load(self, tables: Collection[StateTable]) -> tuple[int, Mapping[StateTable, Mapping[str, bytes]]]:
        """Return rows."""
        return await self.connection.call(self._load, tables)

    async def load_detectors(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """Return rows of detectors."""
        return await self.connection.call(self._load_detectors, tuple(keys))

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
        return await self.connection.call(self._alerts.commit, owner, rows, consumed, known_revision, is_restore)

    def _pending(self, limit: int) -> list[PendingInput]:
        return list(islice(self._alerts.inputs.values(), limit))  # in memory, ids are in order

    def _progress(self) -> AlertProgress:
        return AlertProgress(self._alerts.revision, next(iter(self._alerts.inputs), None))

    def _load_detectors(self, keys: Collection[str]) -> Mapping[str, bytes]:
        rows = self._alerts.rows.get("detectors", {})
        return {key: rows[key] for key in keys if key in rows}

    def _load(self, tables: Collection[StateTable]) -> tuple[int, Mapping[StateTable, Mapping[str, bytes]]]:
        return self._alerts.revision, {name: dict(self._alerts.rows.get(name, {})) for name in tables}
