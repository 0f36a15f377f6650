"""Which connection is closed when there are too many."""

from dataclasses import dataclass

import pytest

from streamcanary.web.connection_table import ConnectionTable, peer_of


@dataclass(eq=False)
class Client:
    """A connection of ``peer``."""

    peer: str
    is_waiting_for_client: bool = True


def filled(*clients: Client, total: int = 4, per_peer: int = 3) -> ConnectionTable[Client]:
    """Return a table with these connections, which are within the limits."""
    table: ConnectionTable[Client] = ConnectionTable(total, per_peer)
    assert [None] * len(clients) == [table.add(client) for client in clients]
    return table


def test_a_peer_with_too_many_connections_loses_its_oldest_one() -> None:
    """The oldest waiting connection of the same peer is replaced, not one of another peer."""
    other, oldest, second = Client("b"), Client("a"), Client("a")
    table = filled(other, oldest, second, Client("a"), total=9)
    assert [oldest, second] == [table.add(Client("a")), table.add(Client("a"))]
    assert 4 == len(table)


def test_a_full_table_replaces_a_connection_of_the_peer_with_most() -> None:
    """A new client is served at the expense of the peer that has most connections."""
    alone, first = Client("b"), Client("a")
    table = filled(alone, first, Client("a"), Client("a"))
    assert first is table.add(Client("c"))
    assert 4 == len(table)


def test_a_connection_whose_request_is_processed_is_closed_last() -> None:
    """A connection that waits for its client is replaced first; if there is none, the oldest one is."""
    busy, waiting, new = Client("a", is_waiting_for_client=False), Client("a"), Client("a")
    table = filled(busy, waiting, per_peer=2)
    assert waiting is table.add(new)
    new.is_waiting_for_client = False
    assert busy is table.add(Client("a"))
    assert 2 == len(table)


def test_busy_connections_of_many_do_not_keep_another_client_out() -> None:
    """If every connection has a request in progress, the peer that has most loses its oldest one."""
    alone, first = Client("b", is_waiting_for_client=False), Client("a", is_waiting_for_client=False)
    table = filled(alone, first, Client("a", is_waiting_for_client=False), Client("a", is_waiting_for_client=False))
    assert first is table.add(Client("c"))


def test_a_waiting_connection_of_another_client_is_not_replaced() -> None:
    """A client with one connection keeps it, also if that is the only one that waits."""
    alone = Client("b")
    busy = [Client("a", is_waiting_for_client=False) for _ in range(3)]
    table = filled(busy[0], alone, *busy[1:])
    assert busy[0] is table.add(Client("c", is_waiting_for_client=False))


def test_a_closed_connection_makes_room() -> None:
    """A removed connection is not counted; removing it twice does nothing."""
    first = Client("a")
    table = filled(first, Client("a"), per_peer=2)
    table.remove(first)
    table.remove(first)
    assert (None, 2) == (table.add(Client("a")), len(table))


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_the_addresses_of_one_client_are_counted_together(address: str, peer: str) -> None:
    """A client has a /64 network of IPv6 addresses, and one IPv4 address however it is written."""
    assert peer == peer_of(address)
