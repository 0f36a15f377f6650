"""What people see of the replicas that share the database: who is alive, and who runs which canary."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from msgspec import structs

from streamcanary.model.canary import Canary
from streamcanary.model.replicas import Membership, shard_of
from streamcanary.model.status.replicas import ReplicasStatus


class ShownAlerts(Protocol):
    """The alerts that this replica shows."""

    @property
    def as_of(self) -> float:
        """When they were read, in seconds since the epoch; 0 before that."""
        ...

    @property
    def store_error(self) -> str:
        """Why they cannot be read now; empty if they can."""
        ...


class ReplicaOverview:
    """The ``status`` of replicas with the canaries of each, as API and status page show it.

    ``runs_problem`` returns why runs of other replicas cannot be read, ``alerts`` what is shown of alerts; ``None``
    before there is anything. :meth:`configure` is called with the canaries of the configuration, :meth:`observe` with
    each new membership.
    """

    def __init__(
        self,
        status: Callable[[], ReplicasStatus],
        runs_problem: Callable[[], str | None],
        alerts: Callable[[], ShownAlerts | None],
    ) -> None:
        self._status = status
        self._runs_problem = runs_problem
        self._alerts = alerts
        self._names: dict[int, str] = {}
        self._membership = Membership()
        self._shards: dict[str, str] = {}
        self._counts: Mapping[int | None, int] = {}

    def configure(self, canaries: Iterable[Canary]) -> None:
        """Replace the canaries."""
        self._shards = {canary.name: shard_of(canary.identity) for canary in canaries}
        self._count()

    def observe(self, membership: Membership) -> None:
        """Remember who owns what."""
        self._membership = membership
        self._names = {replica.session: replica.name for replica in membership.replicas}
        self._count()

    def status(self) -> ReplicasStatus:
        """Return what this replica knows about itself and the others."""
        status = self._status()
        rows = (structs.replace(row, canaries=self._counts.get(row.session, 0)) for row in status.replicas)
        alerts = self._alerts()
        return structs.replace(
            status,
            replicas=tuple(rows),
            runs_problem=self._runs_problem() or "",
            alerts_problem=alerts.store_error if alerts else "",
            alerts_as_of=alerts.as_of if alerts else 0.0,
        )

    def owner_of(self, canary: str) -> str:
        """Return the name of the replica that runs a canary; empty if none does, or if there is no such canary."""
        session = self._owner_of_shard(self._shards.get(canary, ""))
        return "" if session is None else self._names.get(session, "")

    def _count(self) -> None:
        self._counts = Counter(self._owner_of_shard(shard) for shard in self._shards.values())

    def _owner_of_shard(self, shard: str) -> int | None:
        owner = self._membership.owners.get(shard)
        return None if owner is None else owner.session
