"""A web server whose port is taken: it is tried again, and what tells so."""

import asyncio
import logging
import socket
from collections.abc import Iterator

import pytest

from streamcanary.model import names
from streamcanary.web.config import WebConfig
from streamcanary.web.health import health_routes
from streamcanary.web.uvicorn_server import bind_socket
from streamcanary.web.web_server import WebServer
from support.http_client import loopback_client
from support.telemetry.in_memory import RecordedTelemetry


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """Yield a socket that listens on a port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def listening(recorded: RecordedTelemetry) -> float:
    """Return whether the server listens, as the metric says."""
    return recorded.value(names.WEB_LISTENING.name)


async def test_a_port_that_becomes_free_is_bound(
    taken: socket.socket, recorded: RecordedTelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """The server starts once its port is free; the metric follows, and failed attempts are logged once."""
    port = taken.getsockname()[1]
    with caplog.at_level(logging.INFO, "streamcanary"):
        async with WebServer(WebConfig(port=port), health_routes({}), retry_delays=(0.01, 0.02)) as server:
            assert (None, 0.0) == (server.address, listening(recorded))
            await asyncio.sleep(0.1)
            taken.close()
            async with asyncio.timeout(10):
                while server.address is None:
                    await asyncio.sleep(0.01)
            async with loopback_client() as http:
                assert 200 == (await http.get(f"http://127.0.0.1:{port}/livez")).status_code
            assert 1.0 == listening(recorded)
    assert ["web server start failed", "web server started"] == [record.msg for record in caplog.records]


async def test_a_server_that_shares_its_ports_does_not_wait_for_them(
    taken: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """In a pod, the port belongs to the application, which may restart: it is not taken when it is free."""
    port = taken.getsockname()[1]
    async with WebServer(WebConfig(port=port), health_routes({}), retry=False, retry_delays=(0.01, 0.02)) as server:
        taken.close()
        await asyncio.sleep(0.1)
        assert server.address is None
        socket.create_server(("127.0.0.1", port)).close()
    assert "it is not tried again" in vars(caplog.records[0])["hint"]


async def test_a_server_that_is_not_enabled_listens_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Its port stays free, and nothing is logged: it is no failure."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with caplog.at_level(logging.INFO, "streamcanary"):
        async with WebServer(WebConfig(enabled=False, port=port), health_routes({})) as server:
            assert server.address is None
            socket.create_server(("127.0.0.1", port)).close()
    assert [] == caplog.records


async def test_a_server_that_has_not_started_can_be_stopped(taken: socket.socket) -> None:
    """Stopping ends the attempts."""
    port = taken.getsockname()[1]
    async with WebServer(WebConfig(port=port), health_routes({}), retry_delays=(0.01, 0.02)):
        pass
    taken.close()
    await asyncio.sleep(0.05)
    socket.create_server(("127.0.0.1", port)).close()


async def test_a_response_does_not_wait_for_an_acknowledgement() -> None:
    """Connections have TCP_NODELAY: head and body of a response are sent at once, not 40 ms apart."""
    with await bind_socket("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert 1 == accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
