"""The lease store in PostgreSQL: sessions, leases, and the runs that are recorded under them.

The clock of the database decides when a session expires. Requests about leases have a connection of their own, so that
a renewal does not wait for runs or rows of alerting.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeVar

from msgspec import structs

from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import Membership, Ownership, Replica, TakenLease, Takeover
from streamcanary.model.spend import Spend
from streamcanary.store.connection import Connection
from streamcanary.store.postgres.replication.fencing import (
    check_session,
    fence_expired,
    fold_spend,
    owned_epochs,
    session_lost,
    wait_for_commits,
)
from streamcanary.store.tables import history, rollups

T = TypeVar("T")

_INTERVAL = "clock_timestamp() + make_interval(secs => ?)"
_KEPT_SESSIONS = "1 day"  # for people who look at the table

_JOINED = "extract(epoch FROM joined)::double precision"
# The number of a session is the time in microseconds, and not that of a sequence: if the database is replaced by a
# backup, an empty one, or a standby that lags behind, no number of before is given to another replica.
_NEW_SESSION = (
    "greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint,"
    " (SELECT coalesce(max(session), 0) + 1 FROM replicas))"
)
_JOIN = (
    "INSERT INTO replicas (session, name, address, generation, config, joined, expires)"  # noqa: S608 - fixed text
    f" VALUES ({_NEW_SESSION}, ?, ?, ?, ?, clock_timestamp(), {_INTERVAL}) RETURNING session, {_JOINED}"
)
_RENEW = (
    f"UPDATE replicas SET expires = {_INTERVAL}, generation = ?, config = ?, draining = ?"  # noqa: S608 - fixed text
    " WHERE session = ? AND NOT fenced AND expires >= clock_timestamp()"
    " RETURNING EXISTS (SELECT 1 FROM replicas AS other WHERE other.expires < clock_timestamp() AND NOT other.fenced)"
)
_MEMBERS = (
    f"SELECT session, name, generation, config, {_JOINED}, draining, address FROM replicas"  # noqa: S608 - fixed text
    " WHERE NOT fenced ORDER BY session"
)
_LEASE_STATE = "SELECT coalesce(sum(epoch), 0)::bigint, count(session) FROM leases"
_DELETE_OLD_SESSIONS = (
    f"DELETE FROM replicas WHERE fenced AND expires < clock_timestamp() - interval '{_KEPT_SESSIONS}'"  # noqa: S608
    " AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.session = replicas.session)"
)
_ADD_INPUT = "INSERT INTO pending_inputs (run_id, kind, value) VALUES (?, 'run', ?) ON CONFLICT (run_id) DO NOTHING"
_SET_SPEND = (
    "INSERT INTO replica_spend (session, day, input_tokens, output_tokens, input_usd, output_usd, requests)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (session, day) DO UPDATE SET input_tokens = excluded.input_tokens,"
    " output_tokens = excluded.output_tokens, input_usd = excluded.input_usd, output_usd = excluded.output_usd,"
    " requests = excluded.requests"
)


class LeaseBackend(Protocol):
    """The part of :class:`~streamcanary.store.postgres.backend.PostgresBackend` that the lease store uses."""

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a durable transaction, after the writes that were queued before."""
        ...

    async def write_apart(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a durable transaction of its own, without waiting for other writes."""
        ...


class PostgresLeaseStore:
    """Sessions, leases and runs in the database of ``backend``; the contract is that of ``replicas/lease_store.py``."""

    def __init__(self, backend: LeaseBackend) -> None:
        self._backend = backend
        self._known: tuple[tuple[int, int], list[tuple[str, int, int]]] | None = None  # the rows of leases, and a key

    async def join(self, name: str, *, generation: int, config: str, address: str, ttl: float) -> Replica:
        """Start a session, and return it. Sessions that have expired are fenced, and their resources are free."""

        def insert(connection: Connection) -> Replica:
            fence_expired(connection)
            connection.execute(_DELETE_OLD_SESSIONS)
            values = (name, address, generation, config, ttl)
            session, joined = connection.execute(_JOIN, values).fetchone()
            return Replica(
                session=session, name=name, generation=generation, config=config, joined=joined, address=address
            )

        return await self._backend.write_apart(insert)

    async def renew(self, session: int, *, ttl: float, generation: int, config: str, draining: bool) -> Membership:
        """Renew a session, fence those that have expired, and return who is alive and who owns what.

        Raises:
            SessionLost: if the session was fenced, or is unknown.
        """

        def renew(connection: Connection) -> Membership | None:
            # First the own row, if it has not expired: two replicas that fence each other would wait for each other.
            row = connection.execute(_RENEW, (ttl, generation, config, draining, session)).fetchone()
            if row is None or row[0]:
                fence_expired(connection)
            return None if row is None else self._read_membership(connection)

        membership = await self._backend.write_apart(renew)
        if membership is None:  # raised here, so that the expired sessions are fenced all the same
            raise session_lost(session)
        return membership

    async def acquire(self, session: int, resources: Collection[str]) -> Mapping[str, TakenLease]:
        """Take those of ``resources`` that are free; return the leases of those that the session now owns.

        Raises:
            SessionLost: if the session was fenced, or is unknown.
        """

        def acquire(connection: Connection) -> dict[str, TakenLease]:
            check_session(connection, session)
            fence_expired(connection)
            return _take(connection, session, sorted(resources))

        return await self._backend.write_apart(acquire)

    async def release(self, session: int, resources: Collection[str]) -> None:
        """Make ``resources`` free; those that the session does not own stay as they are."""

        def release(connection: Connection) -> None:
            if wait_for_commits(connection, session):
                query = "UPDATE leases SET session = NULL WHERE session = ? AND resource = ANY(?)"
                connection.execute(query, (session, list(resources)))

        await self._backend.write_apart(release)

    async def leave(self, session: int) -> None:
        """End a session, and make its resources free."""

        def leave(connection: Connection) -> None:
            if wait_for_commits(connection, session):
                connection.execute("UPDATE leases SET session = NULL WHERE session = ?", (session,))
                fold_spend(connection, [session])
                connection.execute("DELETE FROM replicas WHERE session = ?", (session,))

        await self._backend.write_apart(leave)

    async def commit_runs(
        self,
        session: int,
        runs: Mapping[str, Sequence[Outcome]],
        epochs: Mapping[str, int],
        spend: Mapping[str, Spend],
    ) -> Collection[str]:
        """Record ``runs``, by shard, for evaluation, history and rollups, and set the ``spend`` of the session by day.

        Returns:
            The shards of which nothing was recorded, because they have another owner or epoch.

        Raises:
            SessionLost: if the session was fenced, or is unknown; nothing is recorded.
        """

        def commit(connection: Connection) -> set[str]:
            check_session(connection, session)
            owned = owned_epochs(connection, session, runs)
            refused = {shard for shard in runs if shard not in owned or owned[shard] != epochs.get(shard)}
            _record(connection, [run for shard, some in runs.items() if shard not in refused for run in some])
            if spend:
                connection.executemany(
                    _SET_SPEND, [(session, day, *structs.astuple(total)) for day, total in sorted(spend.items())]
                )
            return refused

        return await self._backend.write(commit)

    def _read_membership(self, connection: Connection) -> Membership:
        replicas = tuple(
            Replica(
                session=session,
                name=name,
                generation=generation,
                config=config,
                joined=joined,
                draining=draining,
                address=address,
            )
            for session, name, generation, config, joined, draining, address in connection.execute(_MEMBERS)
        )
        alive = {replica.session for replica in replicas}
        owners = {
            resource: Ownership(session, epoch)
            for resource, session, epoch in self._read_leases(connection)
            if session in alive
        }
        return Membership(replicas=replicas, owners=owners)

    def _read_leases(self, connection: Connection) -> list[tuple[str, int, int]]:
        """Return the leases with an owner; they are transferred only if they have changed.

        Epochs only grow, and each new owner has a new one: with the same sum, nothing was taken since, and with the
        same count, nothing was released.
        """
        row = connection.execute(_LEASE_STATE).fetchone()
        key = (row[0], row[1])
        if self._known is None or self._known[0] != key:
            query = "SELECT resource, session, epoch FROM leases WHERE session IS NOT NULL"
            self._known = key, connection.execute(query).fetchall()
        return self._known[1]


def _take(connection: Connection, session: int, resources: list[str]) -> dict[str, TakenLease]:
    """Take those of ``resources`` that have no owner whose session has not ended."""
    query = "SELECT resource, session, epoch FROM leases WHERE resource = ANY(?) ORDER BY resource FOR UPDATE"
    leases = connection.execute(query, (resources,)).fetchall()
    owners = sorted({owner for _, owner, _ in leases if owner is not None})
    query = "SELECT session FROM replicas WHERE session = ANY(?) AND NOT fenced"
    alive = {owner for (owner,) in connection.execute(query, (owners,))}
    taken = {resource: TakenLease(epoch) for resource, owner, epoch in leases if owner == session}
    for resource, owner, epoch in leases:
        if owner is None or owner not in alive:
            taken[resource] = TakenLease(epoch + 1, _takeover(owner, epoch))
    new = [resource for resource, lease in taken.items() if lease.takeover is not None]
    connection.execute("UPDATE leases SET session = ?, epoch = epoch + 1 WHERE resource = ANY(?)", (session, new))
    return taken


def _takeover(owner: int | None, epoch: int) -> Takeover:
    if epoch == 0:
        return Takeover.FREE
    return Takeover.RELEASED if owner is None else Takeover.EXPIRED


def _record(connection: Connection, runs: Sequence[Outcome]) -> None:
    """Record the runs that are new; those that were recorded before may have been evaluated already."""
    new = [run for run in runs if history.record_run(connection, run)]
    rollups.add_runs(connection, new)
    if new:
        connection.executemany(_ADD_INPUT, [(run.run_id, history.encode_run(run)) for run in new])
