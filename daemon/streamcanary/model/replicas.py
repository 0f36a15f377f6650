"""Replicas that share a database: who they are, and which of them owns what."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct, field

SHARDS: Final = 512
"""The number of shards. Ten for each of 50 replicas; it never changes, as it decides the shard of each canary."""

ALERTS: Final = "alerts"
"""The resource whose owner evaluates all rules and sends all notifications."""

SHARD_RESOURCES: Final = tuple(f"shard-{number:03}" for number in range(SHARDS))
"""The shards as resources that are leased."""

RESOURCES: Final = (ALERTS, *SHARD_RESOURCES)
"""Everything that is leased."""


def shard_of(identity: str) -> str:
    """Return the shard of a canary by its identity, which survives a rename: one of :data:`SHARD_RESOURCES`."""
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()
    return SHARD_RESOURCES[int.from_bytes(digest[:8], "big") % SHARDS]


class Replica(Struct, frozen=True, kw_only=True):
    """One life of a replica: from when it joined until it left, or was fenced.

    ``session`` is its number, which only grows; ``name`` is that of the host or pod. ``generation`` and ``config`` (a
    digest) say which configuration it has. ``joined`` is in seconds since the epoch, by the clock of the database. A
    replica that is ``draining`` owns nothing new. ``address`` is where its web server listens, empty without one.
    """

    session: int
    name: str
    generation: int
    config: str
    joined: float
    draining: bool = False
    address: str = ""


class Ownership(Struct, frozen=True):
    """The owner of a resource: the ``session`` of a replica, and the ``epoch``, which grows with each owner."""

    session: int
    epoch: int


class Membership(Struct, frozen=True, kw_only=True):
    """The replicas that are alive, the oldest session first, and the owners of resources; what has none is free."""

    replicas: tuple[Replica, ...] = ()
    owners: Mapping[str, Ownership] = field(default_factory=dict)


class Takeover(StrEnum):
    """The reason why a resource was free when a replica took it."""

    FREE = "free"
    """It is new: nobody has owned it yet."""
    RELEASED = "released"
    """Its owner has released it, or has left."""
    EXPIRED = "expired"
    """The session of its owner has expired: a crash, a pause, or a database that was out of reach."""


class TakenLease(Struct, frozen=True):
    """A resource that a replica has taken: its new ``epoch``, and from whom; ``None`` if it owned it already."""

    epoch: int
    takeover: Takeover | None = None
