"""Decides which replica should own which resource: each replica for itself, and all alike from the same membership.

Shards are assigned by rendezvous hashing: the replica with the highest weight for a shard gets it, so that only the
shards of a replica that leaves move, and only those that a new one gets. A weight is a hash of both names. Source:
Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (IEEE/ACM Transactions on Networking, 1998).

The alerts stay with their owner as long as it is eligible, because their state has to be loaded by a successor.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct, field

from streamcanary.model.replicas import ALERTS, RESOURCES, Membership, Replica

_WEIGHTS: Final = struct.Struct(f">{len(RESOURCES)}Q")
_SHOWN_DIGITS: Final = 8  # of the digest of a configuration


class Assignment(Struct, frozen=True):
    """The sessions that should own each resource, and why others stand by, by session."""

    owners: Mapping[str, int] = field(default_factory=dict)
    standby: Mapping[int, str] = field(default_factory=dict)


def assign(membership: Membership) -> Assignment:
    """Assign all resources to the eligible replicas: not draining, of the current configuration, one of each name.

    The current configuration is that of the highest generation, and each replica that has it is eligible, whatever its
    own generation. Among several of that generation, it is the one of the owner of the alerts; without one, of the
    replica that joined first among those that own a shard; without one, of the replica that joined first. Of several
    sessions of one name, only the last one is eligible: the others are former lives of the same replica that have not
    expired.
    """
    candidates, standby = _candidates(membership.replicas)
    if not candidates:
        return Assignment(standby=standby)
    leader = _leader(candidates, membership)
    eligible = []
    for replica in candidates:
        if replica.config == leader.config:
            eligible.append(replica)
        else:
            standby[replica.session] = _why_outdated(replica, leader)
    sessions = {replica.name: replica.session for replica in eligible}
    names = _owners_by_name(tuple(sorted(sessions)))
    owners = {resource: sessions[name] for resource, name in zip(RESOURCES, names, strict=True)}
    owner_of_alerts = membership.owners.get(ALERTS)
    if owner_of_alerts is not None and owner_of_alerts.session in sessions.values():
        owners[ALERTS] = owner_of_alerts.session
    return Assignment(owners, standby)


def _candidates(replicas: Sequence[Replica]) -> tuple[list[Replica], dict[int, str]]:
    """Return the last session of each name that is not draining, the oldest first, and why others stand by."""
    last = {replica.name: replica.session for replica in sorted(replicas, key=lambda replica: replica.session)}
    standby = {
        replica.session: f"another replica has joined later with the name {replica.name!r}; set store.replica to a "
        "name that no other replica has"
        for replica in replicas
        if replica.session != last[replica.name]
    }
    candidates = [each for each in replicas if each.session not in standby and not each.draining]
    return sorted(candidates, key=lambda replica: replica.session), standby


def _leader(candidates: Sequence[Replica], membership: Membership) -> Replica:
    """Return the replica whose configuration is the current one."""
    generation = max(replica.generation for replica in candidates)
    newest = [replica for replica in candidates if replica.generation == generation]
    owners = {ownership.session for ownership in membership.owners.values()}
    owner_of_alerts = membership.owners.get(ALERTS)
    return min(
        newest,
        key=lambda replica: (
            owner_of_alerts is None or replica.session != owner_of_alerts.session,
            replica.session not in owners,
            replica.session,
        ),
    )


def _why_outdated(replica: Replica, leader: Replica) -> str:
    if replica.generation < leader.generation:
        return (
            f"its configuration has generation {replica.generation}, and that of replica {leader.name!r} has "
            f"{leader.generation}; load that one, or set a higher store.generation"
        )
    return (
        f"its configuration {replica.config[:_SHOWN_DIGITS]} differs from {leader.config[:_SHOWN_DIGITS]} of replica "
        f"{leader.name!r}, and both have generation {leader.generation}; use one configuration, or set a higher "
        "store.generation for the newer one"
    )


@lru_cache(maxsize=32)
def _owners_by_name(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the name with the highest weight for each of :data:`RESOURCES`."""
    rows = zip(*map(_weights, names), strict=True)
    return tuple([names[row.index(max(row))] for row in rows])


@lru_cache(maxsize=512)
def _weights(name: str) -> tuple[int, ...]:
    """Return the weight of a replica for each of :data:`RESOURCES`: 64 bits each of one long hash of its name."""
    digest = hashlib.shake_128(name.encode("utf-8", "surrogatepass")).digest(_WEIGHTS.size)
    return _WEIGHTS.unpack(digest)
