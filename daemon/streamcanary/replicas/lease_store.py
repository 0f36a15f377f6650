"""The interface of the database to replicas: sessions, and leases of resources with an epoch as fencing token.

How leases fence off a deposed owner: Kleppmann, "How to do distributed locking" (2016); Gray and Cheriton, "Leases: an
efficient fault-tolerant mechanism for distributed file cache consistency" (SOSP 1989).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import Membership, Replica, TakenLease
from streamcanary.model.spend import Spend


class LeaseStore(Protocol):
    """Sessions and leases. All times are those of the database; a session ends ``ttl`` seconds after its last renewal.

    Each method may raise ``StoreFailing``; what it did is then unknown, and it may be called again.
    """

    async def join(self, name: str, *, generation: int, config: str, address: str, ttl: float) -> Replica:
        """Start a session, and return it. Sessions that have expired are fenced, and their resources are free."""
        ...

    async def renew(self, session: int, *, ttl: float, generation: int, config: str, draining: bool) -> Membership:
        """Renew a session, fence those that have expired, and return who is alive and who owns what.

        Raises:
            SessionLost: if the session was fenced, or is unknown.
        """
        ...

    async def acquire(self, session: int, resources: Collection[str]) -> Mapping[str, TakenLease]:
        """Take those of ``resources`` that are free; return the leases of those that the session now owns.

        The epoch of a resource grows with each owner. One that the session owns already keeps its epoch.

        Raises:
            SessionLost: as :meth:`renew`.
        """
        ...

    async def release(self, session: int, resources: Collection[str]) -> None:
        """Make ``resources`` free; those that the session does not own stay as they are."""
        ...

    async def leave(self, session: int) -> None:
        """End a session, and make its resources free."""
        ...

    async def commit_runs(
        self,
        session: int,
        runs: Mapping[str, Sequence[Outcome]],
        epochs: Mapping[str, int],
        spend: Mapping[str, Spend],
    ) -> Collection[str]:
        """Record ``runs``, by shard, for evaluation, history and rollups, and set the ``spend`` of the session by day.

        All in one transaction, which is fenced by the session and by the ``epochs`` of the shards. A run that is
        recorded already is left as it is. Days are those of UTC (``2026-02-02``).

        Returns:
            The shards of which nothing was recorded, because they have another owner or epoch.

        Raises:
            SessionLost: as :meth:`renew`; nothing is recorded.
            StoreRejected: if the database rejects a value of a run or of ``spend``; nothing is recorded.
        """
        ...
