"""``/metrics``: who may read it, and how it is sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from streamcanary.web.health import health_routes
from streamcanary.web.metrics import metrics_routes
from streamcanary.web.web_server import WebServer

TOKEN = "a-token-of-many-characters"


class Source:
    """Metrics that are given; remembers what was asked for."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.accepts: list[str] = []

    def scrape(self, accept: str) -> tuple[str, AsyncIterator[bytes]]:
        self.accepts.append(accept)
        return "text/plain; version=0.0.4; charset=utf-8", self._read()

    async def _read(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part


@asynccontextmanager
async def served(source: Source | None, **web: object) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve ``source``, and yield a client."""
    config = WebConfig(port=0, **web)
    routes = [*health_routes({}), *metrics_routes(source, Authorizer(config))]
    async with WebServer(config, routes) as server:
        assert server.address is not None
        base_url = f"http://127.0.0.1:{server.address[1]}"
        async with httpx2.AsyncClient(base_url=base_url, trust_env=False, timeout=10) as http:
            yield http


async def test_metrics_are_sent_with_their_format() -> None:
    """The header ``Accept`` reaches the renderer, and the response has its content type. Its length is not known."""
    source = Source(b"a 1\n", b"b 2\n")
    async with served(source) as http:
        answer = await http.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert (200, b"a 1\nb 2\n") == (answer.status_code, answer.content)
    expected = {
        "content-type": "text/plain; version=0.0.4; charset=utf-8",
        "transfer-encoding": "chunked",
        "vary": "Accept",
    }
    assert expected == {name: answer.headers[name] for name in expected}
    assert ["application/openmetrics-text"] == source.accepts


@pytest.mark.parametrize("sizes", [[], [0], [1, 300_000, 5], [262_144, 262_145], [1_000_000, 3, 700_000]])
async def test_a_body_of_any_size_arrives_completely(sizes: list[int]) -> None:
    """Nothing is lost between the parts."""
    parts = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    async with served(Source(*parts)) as http:
        assert b"".join(parts) == (await http.get("/metrics")).content


async def test_head_has_no_body() -> None:
    """``HEAD`` returns the headers of ``GET``."""
    async with served(Source(b"a 1\n")) as http:
        answer = await http.head("/metrics")
    expected = (200, "text/plain; version=0.0.4; charset=utf-8", b"")
    assert expected == (answer.status_code, answer.headers["content-type"], answer.content)
    assert "content-length" not in answer.headers


async def test_metrics_need_the_token_if_there_is_one() -> None:
    """Metrics name canaries, targets and spend: they are as public as the API."""
    source = Source(b"a 1\n")
    async with served(source, token=TOKEN) as http:
        assert 401 == (await http.get("/metrics")).status_code
        assert [] == source.accepts
        assert 200 == (await http.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).status_code


async def test_metrics_need_a_known_host() -> None:
    """A website whose name resolves to the daemon cannot read its metrics."""
    async with served(Source(b"a 1\n"), allowed_hosts=["canary.monitoring.svc"]) as http:
        for host, status in {"evil.example": 421, "canary.monitoring.svc:9465": 200, "127.0.0.1": 200}.items():
            assert status == (await http.get("/metrics", headers={"Host": host})).status_code


async def test_metrics_are_read_only() -> None:
    """Other methods than ``GET`` and ``HEAD`` are not allowed."""
    async with served(Source()) as http:
        assert 405 == (await http.post("/metrics")).status_code


async def test_without_a_source_there_is_no_metrics() -> None:
    """``telemetry.prometheus: false`` switches the endpoint off."""
    async with served(None) as http:
        assert 404 == (await http.get("/metrics")).status_code
