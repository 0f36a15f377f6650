"""Builds the status of replicas from a membership and its assignment."""

from collections import Counter

from streamcanary.model.replicas import ALERTS, SHARDS, Membership
from streamcanary.model.status.replicas import ReplicaRow
from streamcanary.replicas.assignment import Assignment


def replica_rows(membership: Membership, assignment: Assignment) -> tuple[ReplicaRow, ...]:
    """Return the replicas that are alive, the oldest first."""
    owner = membership.owners.get(ALERTS)
    shards = Counter(ownership.session for resource, ownership in membership.owners.items() if resource != ALERTS)
    return tuple(
        ReplicaRow(
            name=replica.name,
            session=replica.session,
            generation=replica.generation,
            config=replica.config,
            joined=replica.joined,
            address=replica.address,
            draining=replica.draining,
            shards=shards[replica.session],
            owns_alerts=owner is not None and owner.session == replica.session,
            standby=assignment.standby.get(replica.session, ""),
        )
        for replica in membership.replicas
    )


def owner_of_alerts(membership: Membership) -> str:
    """Return the name of the replica that owns the alerts, empty if there is none."""
    owner = membership.owners.get(ALERTS)
    found = (replica.name for replica in membership.replicas if owner is not None and replica.session == owner.session)
    return next(found, "")


def shards_without_owner(membership: Membership) -> int:
    """Return how many shards no replica owns."""
    return SHARDS - sum(resource != ALERTS for resource in membership.owners)
