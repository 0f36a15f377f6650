"""Calls that fail where no good server could make them: each row of the table that is not served, set up to be asked.

A scene is given the way that it will be asked on, and lasts as long as its context.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import httpx2
from msgspec import Struct

from streamcanary import StreamFailed, StreamResult, Timeouts
from streamcanary.simulator import Simulator
from support.client.drivers import KEY
from support.client.fault_matrix import ClientVariant, run_simulator
from support.servers.tcp import ConnectProxy, TcpServer, http_response

KEY_HALVES: Final = ("sk-first-half-of-the-key", "second-half-of-the-key")
"""A key with a line break in it: a message could show either."""
NON_ASCII_KEY: Final = "sk-schlüssel-für-nichts"


class Scenario(Struct, kw_only=True):
    """Whom to ask, and how; ``simulator`` is there if it may have answered."""

    base_url: str
    model: str = "sim-ok"
    key: Any = KEY
    transport: dict[str, Any] = {}
    options: dict[str, Any] = {}
    simulator: Simulator | None = None

    async def run(self, way: ClientVariant) -> StreamResult | StreamFailed:
        """Return what a call ends with."""
        return await way.call(self.base_url, self.model, key=self.key, transport=self.transport, **self.options)


ScenarioFactory = Callable[[ClientVariant], AsyncIterator[Scenario]]
SCENARIOS: Final[dict[str, Callable[[ClientVariant], AbstractAsyncContextManager[Scenario]]]] = {}


def _scenario(name: str) -> Callable[[ScenarioFactory], None]:
    """Register a setting under the name of its row."""

    def register(setting: ScenarioFactory) -> None:
        SCENARIOS[name] = asynccontextmanager(setting)

    return register


def _misconfigured(name: str, base_url: str | None = None, **more: Any) -> None:
    """Register a mistake; where the address is not the mistake, there is a server that would answer."""

    @_scenario(name)
    async def setting(way: ClientVariant) -> AsyncIterator[Scenario]:
        async with run_simulator("plain") as simulator:
            yield Scenario(base_url=base_url or simulator.base_url, simulator=simulator, **more)


_misconfigured("key with a newline", key="\n".join(KEY_HALVES))
_misconfigured("key that is not ASCII", key=NON_ASCII_KEY)
_misconfigured("port out of range", "http://127.0.0.1:99999/v1")
_misconfigured("address without a scheme", "127.0.0.1/v1")
_misconfigured("name without an address", "http://provider.invalid/v1")
_misconfigured("name that is too long", f"http://{'a' * 64}.invalid/v1")
_misconfigured(
    "pool without a free connection",
    transport={"limits": httpx2.Limits(max_connections=0)},
    options={"timeouts": Timeouts(connect=0.1)},
)


@_scenario("key that comes back empty")
async def _empty_key(way: ClientVariant) -> AsyncIterator[Scenario]:
    """Give the SDK a function that returns an empty key: the key itself it would refuse."""

    async def later() -> str:
        return ""

    async with run_simulator("plain") as simulator:
        key = later if way.driver == "async" else lambda: ""
        yield Scenario(base_url=simulator.base_url, key=key, simulator=simulator)


@_scenario("nobody listens")
async def _connection_refused(way: ClientVariant) -> AsyncIterator[Scenario]:
    with socket.socket() as bound:  # the port is taken, so that nobody else listens on it either
        bound.bind(("127.0.0.1", 0))
        yield Scenario(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}/v1")


@_scenario("certificate that nobody trusts")
async def _untrusted_certificate(way: ClientVariant) -> AsyncIterator[Scenario]:
    async with run_simulator("tls") as simulator:
        yield Scenario(base_url=simulator.base_url, simulator=simulator)


@_scenario("no TLS where it is expected")
async def _no_tls(way: ClientVariant) -> AsyncIterator[Scenario]:
    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http_response(400, "this is HTTP", "text/plain"))
        await writer.drain()
        await reader.read()

    async with TcpServer(complain) as server:
        yield Scenario(base_url=server.base_url.replace("http:", "https:"))


@_scenario("handshake without an answer")
async def _handshake_timeout(way: ClientVariant) -> AsyncIterator[Scenario]:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass

    async with TcpServer(listen) as server:
        address = server.base_url.replace("http:", "https:")
        yield Scenario(base_url=address, options={"timeouts": Timeouts(connect=0.2)})


@_scenario("proxy that refuses")
async def _refused_by_proxy(way: ClientVariant) -> AsyncIterator[Scenario]:
    async with ConnectProxy(refusal=http_response(403)) as proxy:
        yield Scenario(base_url="https://provider.invalid/v1", transport={"proxy": proxy.url})


@_scenario("redirects without end")
async def _redirect_loop(way: ClientVariant) -> AsyncIterator[Scenario]:
    async with http_server(lambda head: http_response(302, location="/v1/again")) as server:
        yield Scenario(base_url=server.base_url)


@_scenario("answer over its limit")
async def _endless_answer(way: ClientVariant) -> AsyncIterator[Scenario]:
    event = text_event(way, "x" * 1_000_000)
    async with http_server(lambda head: http_response(200, event * 9, "text/event-stream")) as server:
        yield Scenario(base_url=server.base_url)


@_scenario("line over its limit")
async def _endless_line(way: ClientVariant) -> AsyncIterator[Scenario]:
    async with http_server(lambda head: http_response(200, "data: " + "x" * (1 << 20), "text/event-stream")) as server:
        yield Scenario(base_url=server.base_url)


def _deadline(name: str, model: str, total: float) -> None:
    """Register a call whose total clock, of ``total`` seconds, strikes."""

    @_scenario(name)
    async def setting(way: ClientVariant) -> AsyncIterator[Scenario]:
        async with run_simulator("plain") as simulator:
            clocks = {"timeouts": Timeouts(total=total)}
            yield Scenario(base_url=simulator.base_url, model=model, options=clocks, simulator=simulator)


_deadline("deadline before the headers", "sim-no-headers", 0.3)
_deadline("deadline before the first token", "sim-pings", 0.6)
_deadline("deadline in the text", "sim-keepalive-stall", 0.6)
_deadline("deadline before the next attempt", "sim-429-retry-after", 0.9)


def http_server(answer: Callable[[str], bytes]) -> TcpServer:
    """Return a server that answers each request, one a connection, with what ``answer`` makes of its head."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.write(answer(head))
        await writer.drain()
        writer.write_eof()
        while await reader.read(4096):  # until the other side has had enough
            pass

    return TcpServer(talk)


def text_event(way: ClientVariant, text: str) -> str:
    """Return an event that adds ``text`` to the answer."""
    if way.api == "chat":
        return f'data: {{"choices":[{{"delta":{{"content":"{text}"}}}}]}}\n\n'
    return f'data: {{"type":"response.output_text.delta","delta":"{text}"}}\n\n'
