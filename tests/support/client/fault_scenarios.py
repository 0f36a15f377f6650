"""Calls whose faults the simulator cannot produce: each row of the table that it does not serve, set up for a call.

A scenario receives the client variant that will call it, and is an async context manager.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import httpx2
from msgspec import Struct

from streamcanary import Limits, StreamFailed, StreamResult, Timeouts
from streamcanary.simulator import Simulator
from support.client.drivers import KEY
from support.client.fault_matrix import ClientVariant, run_simulator
from support.servers.tcp import ConnectProxy, TcpServer, http_response

KEY_HALVES: Final = ("sk-first-half-of-the-key", "second-half-of-the-key")
"""A key with a line break: a message could contain either line."""
NON_ASCII_KEY: Final = "sk-schlüssel-für-nichts"


class Scenario(Struct, kw_only=True):
    """The arguments of a call; ``simulator`` is set if it may have answered."""

    base_url: str
    model: str = "sim-ok"
    key: Any = KEY
    transport: dict[str, Any] = {}
    options: dict[str, Any] = {}
    simulator: Simulator | None = None

    async def run(self, variant: ClientVariant) -> StreamResult | StreamFailed:
        """Return the result or failure of a call by ``variant``."""
        return await variant.call(self.base_url, self.model, key=self.key, transport=self.transport, **self.options)


ScenarioFactory = Callable[[ClientVariant], AsyncIterator[Scenario]]
SCENARIOS: Final[dict[str, Callable[[ClientVariant], AbstractAsyncContextManager[Scenario]]]] = {}


def _scenario(name: str) -> Callable[[ScenarioFactory], None]:
    """Register a scenario under the name of its row."""

    def register(scenario: ScenarioFactory) -> None:
        SCENARIOS[name] = asynccontextmanager(scenario)

    return register


def _misconfigured(name: str, base_url: str | None = None, **more: Any) -> None:
    """Register a configuration error; unless the address is the error, there is a server that would answer."""

    @_scenario(name)
    async def scenario(variant: ClientVariant) -> AsyncIterator[Scenario]:
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
async def _empty_key(variant: ClientVariant) -> AsyncIterator[Scenario]:
    """Give the SDK a function that returns an empty key, because it rejects an empty key itself."""

    async def later() -> str:
        return ""

    async with run_simulator("plain") as simulator:
        key = later if variant.driver == "async" else lambda: ""
        yield Scenario(base_url=simulator.base_url, key=key, simulator=simulator)


@_scenario("connection refused")
async def _connection_refused(variant: ClientVariant) -> AsyncIterator[Scenario]:
    with socket.socket() as bound:  # the port is bound, so that no other process can listen on it
        bound.bind(("127.0.0.1", 0))
        yield Scenario(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}/v1")


@_scenario("untrusted certificate")
async def _untrusted_certificate(variant: ClientVariant) -> AsyncIterator[Scenario]:
    async with run_simulator("tls") as simulator:
        yield Scenario(base_url=simulator.base_url, simulator=simulator)


@_scenario("no TLS where it is expected")
async def _no_tls(variant: ClientVariant) -> AsyncIterator[Scenario]:
    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http_response(400, "this is HTTP", "text/plain"))
        await writer.drain()
        await reader.read()

    async with TcpServer(complain) as server:
        yield Scenario(base_url=server.base_url.replace("http:", "https:"))


@_scenario("handshake without an answer")
async def _handshake_timeout(variant: ClientVariant) -> AsyncIterator[Scenario]:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass

    async with TcpServer(listen) as server:
        address = server.base_url.replace("http:", "https:")
        yield Scenario(base_url=address, options={"timeouts": Timeouts(connect=0.2)})


@_scenario("proxy that refuses")
async def _refused_by_proxy(variant: ClientVariant) -> AsyncIterator[Scenario]:
    async with ConnectProxy(refusal=http_response(403)) as proxy:
        yield Scenario(base_url="https://provider.invalid/v1", transport={"proxy": proxy.url})


@_scenario("answer over its limit")
async def _endless_answer(variant: ClientVariant) -> AsyncIterator[Scenario]:
    event, limits = text_event(variant, "x" * 1_000), Limits(max_answer_characters=8_000)
    async with http_server(lambda head: http_response(200, event * 9, "text/event-stream")) as server:
        yield Scenario(base_url=server.base_url, options={"limits": limits})


@_scenario("line over its limit")
async def _endless_line(variant: ClientVariant) -> AsyncIterator[Scenario]:
    line, limits = "data: " + "x" * 4_000, Limits(max_line_bytes=4_000)
    async with http_server(lambda head: http_response(200, line, "text/event-stream")) as server:
        yield Scenario(base_url=server.base_url, options={"limits": limits})


def _deadline(name: str, model: str, total: float) -> None:
    """Register a call whose total timeout, ``total`` seconds, expires."""

    @_scenario(name)
    async def scenario(variant: ClientVariant) -> AsyncIterator[Scenario]:
        async with run_simulator("plain") as simulator:
            clocks = {"timeouts": Timeouts(total=total)}
            yield Scenario(base_url=simulator.base_url, model=model, options=clocks, simulator=simulator)


_deadline("deadline before the headers", "sim-no-headers", 0.3)
_deadline("deadline before the first token", "sim-pings", 0.6)
_deadline("deadline in the text", "sim-keepalive-stall", 0.6)
_deadline("deadline before the next attempt", "sim-429-retry-after", 0.9)


def http_server(answer: Callable[[str], bytes]) -> TcpServer:
    """Return a server that answers each request with the result of ``answer`` for its head, one per connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.write(answer(head))
        await writer.drain()
        writer.write_eof()
        while await reader.read(4096):  # until the client closes the connection
            pass

    return TcpServer(talk)


def text_event(variant: ClientVariant, text: str) -> str:
    """Return an event that adds ``text`` to the answer."""
    if variant.api == "chat":
        return f'data: {{"choices":[{{"delta":{{"content":"{text}"}}}}]}}\n\n'
    return f'data: {{"type":"response.output_text.delta","delta":"{text}"}}\n\n'
