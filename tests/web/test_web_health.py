"""``/livez`` and ``/readyz``, over a real socket."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping

import httpx2
import pytest

from streamcanary.web import health
from streamcanary.web.config import WebConfig
from streamcanary.web.health import HealthCheck, Healthy, health_routes
from streamcanary.web.web_server import WebServer

ANY_PORT = WebConfig(port=0)
WELL: Mapping[str, HealthCheck] = {"config": lambda: None}


async def get(served: WebServer, path: str, method: str = "GET") -> httpx2.Response:
    """Return the response to one request."""
    assert served.address is not None
    host, port = served.address
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
        return await http.request(method, f"http://{host}:{port}{path}")


async def connect(served: WebServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a TCP connection to the server."""
    assert served.address is not None
    return await asyncio.open_connection(*served.address)


async def test_livez_responds_while_the_event_loop_runs() -> None:
    """``/livez`` runs no checks, and returns 200 even if the daemon is not ready."""
    async with WebServer(ANY_PORT, health_routes({"store": lambda: "disk full"})) as served:
        answer = await get(served, "/livez")
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_readyz_names_each_check() -> None:
    """``/readyz`` returns the result of each check, from plain and coroutine functions."""

    async def store() -> None:
        await asyncio.sleep(0)

    async with WebServer(ANY_PORT, health_routes({"config": lambda: None, "store": store})) as served:
        answer = await get(served, "/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "checks": {"config": "ok", "store": "ok"}})


async def test_readyz_returns_what_a_healthy_component_says() -> None:
    """A replica that stands by is ready, and says why it runs nothing."""
    checks: dict[str, HealthCheck] = {"config": lambda: None, "leases": lambda: Healthy("standby: older configuration")}
    async with WebServer(ANY_PORT, health_routes(checks)) as served:
        answer = await get(served, "/readyz")
    expected = {"ready": True, "checks": {"config": "ok", "leases": "standby: older configuration"}}
    assert (200, expected) == (answer.status_code, answer.json())


async def test_readyz_returns_the_reason_of_a_failed_check() -> None:
    """One failed check causes a 503, and secrets in its reason are redacted."""
    checks: dict[str, HealthCheck] = {"config": lambda: None, "store": lambda: "cannot write with sk-proj-0123456789"}
    async with WebServer(ANY_PORT, health_routes(checks)) as served:
        answer = await get(served, "/readyz")
    assert (answer.status_code, answer.json()) == (
        503,
        {"ready": False, "checks": {"config": "ok", "store": "cannot write with [redacted]"}},
    )


async def test_readyz_runs_the_checks_for_each_request() -> None:
    """The result of a check is not cached, and the response forbids caching."""
    reasons: list[str | None] = ["starting", None]
    async with WebServer(ANY_PORT, health_routes({"scheduler": lambda: reasons.pop(0)})) as served:
        first, second = await get(served, "/readyz"), await get(served, "/readyz")
    assert (first.status_code, second.status_code) == (503, 200)
    assert second.headers["cache-control"] == "no-store"


async def test_a_hanging_check_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that exceeds its timeout fails, before the kubelet gives up."""
    monkeypatch.setattr(health, "_CHECK_TIMEOUT", 0.02)

    async def store() -> None:
        await asyncio.Event().wait()

    async with WebServer(ANY_PORT, health_routes({"store": store})) as served:
        answer = await get(served, "/readyz")
    assert (answer.status_code, answer.json()["checks"]) == (503, {"store": "no result within 0.02 s"})


async def test_a_check_that_raises_an_exception_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The response contains the type of the exception, and the log contains the traceback."""

    def store() -> str | None:
        raise OSError("/var/lib/secret-place")

    async with WebServer(ANY_PORT, health_routes({"store": store})) as served:
        answer = await get(served, "/readyz")
    assert (answer.status_code, answer.json()["checks"]) == (503, {"store": "the check raised OSError"})
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (record.getMessage(), record.__dict__["check"]) == ("readiness check raised an exception", "store")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/livez/", 404),
        ("GET", "/docs", 404),
        ("GET", "/livez%2f..%2freadyz", 404),
        ("POST", "/livez", 405),
        ("DELETE", "/readyz", 405),
        ("HEAD", "/livez", 200),
    ],
)
async def test_other_paths_and_methods_are_rejected(method: str, path: str, status: int) -> None:
    """Only GET and HEAD of the two paths succeed, and there are no redirects."""
    async with WebServer(ANY_PORT, health_routes(WELL)) as served:
        assert (await get(served, path, method)).status_code == status


async def test_the_response_does_not_identify_the_server() -> None:
    """The response has no ``Server`` header, and does not echo ``Host`` or ``X-Forwarded`` headers."""
    async with WebServer(ANY_PORT, health_routes(WELL)) as served:
        reader, writer = await connect(served)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n")
        writer.write(b"Connection: close\r\n\r\n")
        answer = (await reader.read()).lower()
        writer.close()
    assert answer.startswith(b"http/1.1 200")
    assert b"\nserver:" not in answer
    assert b"evil" not in answer


async def test_headers_are_bounded() -> None:
    """A request whose head exceeds the limit is rejected."""
    async with WebServer(ANY_PORT, health_routes(WELL)) as served:
        reader, writer = await connect(served)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000)
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 400")


async def test_a_port_in_use_disables_only_the_web_server(caplog: pytest.LogCaptureFixture) -> None:
    """One warning names the port and what to do; the context is entered without a server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with WebServer(WebConfig(port=port), health_routes(WELL)) as served:
            assert served.address is None
    [record] = caplog.records
    fields = record.__dict__
    assert record.getMessage() == "web server start failed"
    assert (fields["host"], fields["port"], fields["error"]) == ("127.0.0.1", port, "Address already in use")
    assert "set web.port to a free port, or to 0 for any" in fields["hint"]


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
async def test_an_invalid_host_disables_only_the_web_server(host: str, caplog: pytest.LogCaptureFixture) -> None:
    """An address of another machine or an invalid host name logs one warning."""
    async with WebServer(WebConfig(host=host, port=0), health_routes(WELL)) as served:
        assert served.address is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_port_can_be_reused_at_once() -> None:
    """A restart binds the port of the previous process, even if old connections are in TIME_WAIT."""
    async with WebServer(ANY_PORT, health_routes(WELL)) as served:
        await get(served, "/livez")
        assert served.address is not None
        port = served.address[1]
    async with WebServer(WebConfig(port=port), health_routes(WELL)) as served:
        assert served.address == ("127.0.0.1", port)


async def test_the_server_installs_no_signal_handlers() -> None:
    """The signal handler of the daemon runs, and the server continues until it is stopped."""
    received: list[str] = []
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, received.append, "SIGTERM")
    try:
        async with WebServer(ANY_PORT, health_routes(WELL)) as served:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.01)
            assert (await get(served, "/livez")).status_code == 200
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    assert received == ["SIGTERM"]


async def test_the_server_stops_while_a_request_hangs() -> None:
    """The shutdown is bounded: a check that never ends is cancelled."""
    asked = asyncio.Event()

    async def store() -> None:
        asked.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(4):
        async with WebServer(ANY_PORT, health_routes({"store": store})) as served:
            reader, writer = await connect(served)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            await asked.wait()
        await reader.read()
        writer.close()


async def test_single_requests_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the requests of a kubelet nor invalid requests are logged."""
    caplog.set_level(logging.INFO)
    async with WebServer(ANY_PORT, health_routes(WELL)) as served:
        await get(served, "/livez")
        _, writer = await connect(served)
        writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
        await writer.drain()
        writer.close()
        await get(served, "/readyz")
    ours = [record for record in caplog.records if record.name.startswith(("streamcanary", "uvicorn"))]
    assert [record.getMessage() for record in ours] == ["web server started"]
