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
        replaceable: list[C] = []
        if counts[connection.peer] >= self._max_per_peer:
            replaceable = [other for other in self._connections if other.peer == connection.peer]
        elif len(self._connections) >= self._max_connections:
            replaceable = list(self._connections)
        replaced = None
        if replaceable:
            waiting = [other for other in replaceable if other.is_waiting_for_client]
            replaced = max(waiting or replaceable, key=lambda other: counts[other.peer])  # the first, so the oldest
            self.remove(replaced)
        self._connections[connection] = None
        return replaced

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
