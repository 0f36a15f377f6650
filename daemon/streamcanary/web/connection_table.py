"""Decides which connection is closed when there are too many, so that a new client is served."""

from collections import Counter
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Generic, Protocol, TypeVar


class Connection(Protocol):
    """A connection as the table uses it."""

    @property
    def peer(self) -> str:
        """The address of the client, see :func:`peer_of`."""
        ...

    @property
    def is_waiting_for_client(self) -> bool:
        """Whether the client has to act: send a request or the rest of it, or read the response."""
        ...


C = TypeVar("C", bound=Connection)


class ConnectionTable(Generic[C]):
    """The open connections, at most ``max_connections``, and at most ``max_per_peer`` of one peer.

    A connection beyond a limit replaces an older one: of the same peer if the peer has too many, otherwise of the peer
    that has most. The oldest that waits for its client is replaced, or the oldest of all if none waits: clients that
    always have a request in progress must not keep others out. A peer with many connections loses these, others none.
    """

    def __init__(self, max_connections: int, max_per_peer: int) -> None:
        self._max_connections = max_connections
        self._max_per_peer = max_per_peer
        self._connections: dict[C, None] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: C) -> C | None:
        """Add ``connection``; return the older one to close, or ``None``."""
        counts = Counter(other.peer for other in self._connections)
        replaced = None
        if counts[connection.peer] >= self._max_per_peer:
            replaced = self._oldest_of(connection.peer)
        elif len(self._connections) >= self._max_connections:
            waiting = Counter(other.peer for other in self._connections if other.is_waiting_for_client)
            replaced = self._oldest_of(max(counts, key=lambda peer: (counts[peer], waiting[peer])))
        if replaced is not None:
            self.remove(replaced)
        self._connections[connection] = None
        return replaced

    def _oldest_of(self, peer: str) -> C:
        """Return the oldest connection of ``peer`` that waits for its client, or its oldest if none waits."""
        connections = [other for other in self._connections if other.peer == peer]
        return next((other for other in connections if other.is_waiting_for_client), connections[0])

    def remove(self, connection: C) -> None:
        """Remove ``connection``, if it is still there."""
        self._connections.pop(connection, None)


def peer_of(address: str) -> str:
    """Return whom connections from ``address`` are counted for: the address, or the /64 network of an IPv6 address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed.packed, 64), strict=False))
