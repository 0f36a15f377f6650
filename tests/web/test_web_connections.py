"""Silent, slow and many clients, over real sockets: a new client is always served."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.routing import BaseRoute

from streamcanary.web import bounded_protocol, uvicorn_server
from streamcanary.web.api.alerts import alert_endpoints
from streamcanary.web.api.endpoints import endpoint_routes
from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from streamcanary.web.health import health_routes
from streamcanary.web.web_server import WebServer
from support.clock import ManualClock
from web.test_web_api import NOON, Book

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
POST = (
    b"POST /api/v1/silences HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Clients:
    """Opens connections to one server, and closes them in the end."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._opened: list[Streams] = []

    async def connect(self, count: int = 1, source: str = "127.0.0.1", first: bytes = b"") -> Sequence[Streams]:
        """Open ``count`` connections from the address ``source``, and send ``first`` on each."""
        opened = [await asyncio.open_connection(*self._address, local_addr=(source, 0)) for _ in range(count)]
        self._opened += opened
        for _, writer in opened:
            writer.write(first)
        return opened

    async def livez(self, source: str = "127.0.0.1") -> bytes:
        """Return the status line of ``/livez`` on a new connection."""
        [(reader, _)] = await self.connect(1, source, LIVEZ)
        return await reader.readline()

    async def close(self) -> None:
        """Close all connections."""
        for _, writer in self._opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in self._opened), return_exceptions=True)


@asynccontextmanager
async def serving(*more: BaseRoute) -> AsyncIterator[Clients]:
    """Serve health endpoints and the API, and yield clients."""
    config = WebConfig(port=0)
    routes = [
        *health_routes({}),
        *endpoint_routes(alert_endpoints(Book(), ManualClock(wall=NOON)), Authorizer(config)),
        *more,
    ]
    async with asyncio.timeout(60), WebServer(config, routes) as server:
        assert server.address is not None
        clients = Clients(server.address)
        try:
            yield clients
        finally:
            await clients.close()


async def is_closed(streams: Streams) -> bool:
    """Return whether the server has closed the connection without a response; wait for it."""
    with suppress(ConnectionError):
        return await streams[0].read() == b""
    return True


async def test_livez_answers_beside_200_silent_connections() -> None:
    """Silent connections of the same client are replaced by its new ones."""
    async with serving() as clients:
        await clients.connect(200)
        assert [b"HTTP/1.1 200 OK\r\n"] * 20 == [await clients.livez() for _ in range(20)]


async def test_livez_answers_beside_200_silent_connections_from_many_addresses() -> None:
    """A client with one connection is served although the server is full, also if it was the first to connect."""
    async with serving() as clients:
        [(reader, writer)] = await clients.connect(1, "127.0.1.1")
        for number in range(20):
            await clients.connect(10, f"127.0.0.{number + 2}")
        writer.write(LIVEZ)
        assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()
        assert b"HTTP/1.1 200 OK\r\n" == await clients.livez("127.0.2.1")


async def test_livez_answers_beside_200_requests_with_unfinished_bodies() -> None:
    """A request whose body does not arrive does not hold its connection when another client needs it."""
    async with serving() as clients:
        for number in range(20):
            await clients.connect(10, f"127.0.0.{number + 2}", POST)
        assert b"HTTP/1.1 200 OK\r\n" == await clients.livez()


async def test_livez_answers_beside_64_clients_that_pipeline_requests() -> None:
    """Clients that always have a request in progress do not keep another one out."""
    async with serving() as clients:
        for number in range(4):
            await clients.connect(16, f"127.0.0.{number + 2}", LIVEZ * 40)
        assert [b"HTTP/1.1 200 OK\r\n"] * 5 == [await clients.livez("127.0.2.1") for _ in range(5)]


async def test_connections_of_one_client_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the connections of one address the oldest are closed; one from another address stays."""
    monkeypatch.setattr(uvicorn_server, "MAX_CONNECTIONS_PER_PEER", 3)
    async with serving() as clients:
        [(other_reader, other_writer)] = await clients.connect(1, "127.0.0.2")
        opened = await clients.connect(5)
        assert [True, True] == [await is_closed(one) for one in opened[:2]]
        for reader, writer in (*opened[2:], (other_reader, other_writer)):
            writer.write(LIVEZ)
            assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()


@pytest.mark.parametrize(
    ("limit", "first", "piece"),
    [
        ("HEAD_TIMEOUT", b"", b""),
        ("HEAD_TIMEOUT", b"", b"G"),
        ("HEAD_TIMEOUT", b"GET /livez HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n"),
        ("REQUEST_TIMEOUT", POST, b""),
        ("REQUEST_TIMEOUT", POST, b" "),
    ],
)
async def test_a_slow_request_is_closed(
    monkeypatch: pytest.MonkeyPatch, limit: str, first: bytes, piece: bytes
) -> None:
    """A silent client, and one that sends its head or body in small pieces, is closed after the time for all of it."""
    monkeypatch.setattr(bounded_protocol, limit, 0.1)
    async with serving() as clients:
        [(reader, writer)] = await clients.connect(1, first=first)

        async def drip() -> None:
            while True:
                writer.write(piece)
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        assert await is_closed((reader, writer))
        dripping.cancel()


async def test_the_next_request_of_a_connection_has_the_same_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that was served once, and then sends its next head slowly, is closed."""
    monkeypatch.setattr(bounded_protocol, "HEAD_TIMEOUT", 0.3)
    async with serving() as clients:
        [(reader, writer)] = await clients.connect(1, first=LIVEZ)
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200 OK\r\n")

        async def drip() -> None:
            for byte in LIVEZ.rstrip():
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await is_closed((reader, writer))
        dripping.cancel()


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is kept for further requests for a short time only."""
    monkeypatch.setattr(uvicorn_server, "KEEP_ALIVE_TIMEOUT", 0.1)
    async with serving() as clients:
        [(reader, _)] = await clients.connect(1, first=LIVEZ + LIVEZ)
        answer = await reader.read()
        assert (2, True) == (answer.count(b"HTTP/1.1 200 OK\r\n"), answer.endswith(b"ok\n"))
