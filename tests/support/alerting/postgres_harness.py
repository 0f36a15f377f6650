"""The database of the shared harness in PostgreSQL."""

from collections.abc import Collection, Sequence
from typing import Any

from streamcanary.model.alerts.pending_input import AlertCommit
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import ALERTS, Ownership
from streamcanary.store.errors import StoreFailing
from streamcanary.store.postgres.replication.alert_inputs import PostgresAlertInputs
from streamcanary.store.postgres.replication.lease_store import PostgresLeaseStore
from support.store.lease_databases import InPostgres, join

_SHARD = "shard-000"


class UnreliableAlertInputs(PostgresAlertInputs):
    """Loses the answers of the next ``lost_answers`` commits."""

    lost_answers = 0

    async def commit(
        self, owner: Ownership, rows: Sequence[RowChange], consumed: Collection[int], **options: Any
    ) -> AlertCommit:
        """Commit, and perhaps lose the answer."""
        result = await super().commit(owner, rows, consumed, **options)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreFailing("the connection was closed before the answer")
        return result


class PostgresDatabase:
    """An empty database at ``url``. The runs of all canaries are recorded by a replica that owns one shard."""

    def __init__(self, url: str) -> None:
        self._database = InPostgres(url)
        backend = self._database.store.backend
        self.inputs = UnreliableAlertInputs(backend)  # type: ignore[arg-type]
        self._leases = PostgresLeaseStore(backend)  # type: ignore[arg-type]
        self._recorder = self._owner = 0
        self._epoch = 0

    async def take_over(self, *, fence: bool) -> Ownership:
        """Make another replica the owner."""
        store = self._leases
        if self._owner and fence:
            await self._database.expire(self._owner)
        elif self._owner:
            await store.release(self._owner, [ALERTS])
        self._owner = (await join(store, "owner")).session
        leases = await store.acquire(self._owner, [ALERTS])
        return Ownership(self._owner, leases[ALERTS].epoch)

    async def record(self, outcome: Outcome) -> None:
        """Record a run."""
        if not self._recorder:
            self._recorder = (await join(self._leases, "recorder")).session
            self._epoch = (await self._leases.acquire(self._recorder, [_SHARD]))[_SHARD].epoch
        refused = await self._leases.commit_runs(self._recorder, {_SHARD: [outcome]}, {_SHARD: self._epoch}, {})
        assert not refused

    def lose_answers(self, count: int) -> None:
        """Lose the answers of the next commits."""
        self.inputs.lost_answers = count

    async def close(self) -> None:
        """Close all connections."""
        await self._database.close()
