"""Connections to hosts with several addresses: the first that accepts is used."""

import asyncio

import pytest

from streamcanary.transport.happy_eyeballs import connect_first, interleave

V4, V6 = 2, 10


class FakeConnection:
    """A connection that records whether it was closed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_closed = False

    async def aclose(self) -> None:
        """Close it."""
        self.is_closed = True


class FakeHosts:
    """Connects to addresses by the words in their names: ``refuses``, ``hangs``, else it accepts.

    ``tried`` are the addresses in order, ``cancelled`` those whose attempt was ended, ``opened`` the connections.
    """

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.cancelled: list[str] = []
        self.opened: list[FakeConnection] = []

    async def connect(self, address: str) -> FakeConnection:
        """Connect to ``address``."""
        self.tried.append(address)
        if "hangs" in address:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(address)
                raise
        if "refuses" in address:
            raise ConnectionRefusedError(address)
        self.opened.append(FakeConnection(address))
        return self.opened[-1]


@pytest.fixture
def hosts() -> FakeHosts:
    """Return hosts with any addresses."""
    return FakeHosts()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(V6, "a"), (V6, "b"), (V4, "c"), (V4, "d")], ["a", "c", "b", "d"]),
        ([(V4, "a"), (V4, "b"), (V6, "c")], ["a", "c", "b"]),
        ([(V4, "a"), (V4, "a")], ["a"]),
        ([(V4, str(number)) for number in range(50)], [str(number) for number in range(20)]),
    ],
)
def test_order_of_addresses(found: list[tuple[int, str]], expected: list[str]) -> None:
    """The families of addresses take turns, beginning with the one that the system prefers; there is a limit."""
    assert expected == interleave(found)


async def test_first_address_is_used(hosts: FakeHosts) -> None:
    """If the first address accepts, no other one is tried."""
    connection = await connect_first(["a", "b"], hosts.connect)
    assert ("a", ["a"]) == (connection.address, hosts.tried)


async def test_refusal_leads_to_the_next_address_at_once(hosts: FakeHosts) -> None:
    """After a refusal the next address is tried without a delay."""
    connection = await connect_first(["refuses", "b"], hosts.connect, delay=3600)
    assert "b" == connection.address


async def test_slow_address_is_overtaken(hosts: FakeHosts) -> None:
    """If an address does not answer, the next one is tried as well, and the slow attempt is ended."""
    connection = await connect_first(["hangs", "b"], hosts.connect, delay=0)
    assert ("b", ["hangs"]) == (connection.address, hosts.cancelled)


async def test_all_addresses_refuse(hosts: FakeHosts) -> None:
    """If all addresses refuse, the error has the reason of each."""
    with pytest.raises(ExceptionGroup) as failure:
        await connect_first(["refuses 1", "refuses 2"], hosts.connect)
    assert ["refuses 1", "refuses 2"] == [str(error) for error in failure.value.exceptions]


async def test_cancellation_leaves_nothing_open(hosts: FakeHosts) -> None:
    """A caller that is cancelled leaves no attempt behind."""
    connecting = asyncio.create_task(connect_first(["hangs 1", "hangs 2"], hosts.connect, delay=0))
    while len(hosts.tried) < 2:
        await asyncio.sleep(0)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert ["hangs 1", "hangs 2"] == sorted(hosts.cancelled)


async def test_connection_that_comes_second_is_closed(hosts: FakeHosts) -> None:
    """Of two connections at the same time, one is closed."""
    gate = asyncio.Event()

    async def connect(address: str) -> FakeConnection:
        await gate.wait()
        return await hosts.connect(address)

    connecting = asyncio.create_task(connect_first(["a", "b"], connect, delay=0))
    for _ in range(5):
        await asyncio.sleep(0)
    gate.set()
    used = await connecting
    assert [connection for connection in hosts.opened if connection is not used] == [
        connection for connection in hosts.opened if connection.is_closed
    ]
