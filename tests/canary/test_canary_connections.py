"""The HTTP connections of canaries: new for each attempt or reused, without redirects and without compression."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind
from support.servers.hostile import HostileServer
from support.servers.provider import MODEL, FakeProvider
from support.servers.simulator import wait_until
from support.servers.tcp import TcpServer

CLOCK = SystemClock()
EVENTS = b'data: {"choices": [{"delta": {"content": "pong"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
STREAM = "HTTP/1.1 200 OK\ncontent-type: text/event-stream"
RETRY = {"max_attempts": 2, "base_delay": 0.001, "max_delay": 0.001}


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


def runners_for(base_url: str, count: int = 1, headers: dict[str, str] | None = None, **spec: Any) -> CanaryRunners:
    """Return the runners of ``count`` canaries of one target."""
    target = TargetSpec.model_validate({"base_url": base_url, "api_key": "sk-x", "headers": headers or {}})
    canary = CanarySpec.model_validate({"target": "t", "model": MODEL, "every": "12s", "retry": RETRY, **spec})
    return CanaryRunners({"t": target}, {f"c{number}": canary for number in range(count)}, clock=CLOCK)


async def run_all(runners: CanaryRunners) -> list[Outcome]:
    """Run all canaries at the same time."""
    return await asyncio.gather(*(run(CLOCK.time()) for run in runners.by_name.values()))


async def run_one(base_url: str, **options: Any) -> Outcome:
    """Run one canary once."""
    async with runners_for(base_url, **options) as runners:
        [outcome] = await run_all(runners)
    return outcome


async def test_run_fails_as_soon_as_no_connection_is_accepted(provider: FakeProvider) -> None:
    """Six canaries of one target notice in their next runs that the listener is gone, whatever was open before."""
    async with runners_for(provider.base_url, count=6) as runners:
        before = await run_all(runners)
        provider.stop_listening()
        after = [await run_all(runners), await run_all(runners)]
    assert [OutcomeKind.OK] * 6 == [outcome.kind for outcome in before]
    faults = [outcome.fault.kind for outcomes in after for outcome in outcomes if outcome.fault is not None]
    assert [FaultKind.CONNECT_FAILED] * 12 == faults


async def test_connection_is_closed_with_the_run(provider: FakeProvider) -> None:
    """A new connection does not outlive its run."""
    async with runners_for(provider.base_url, count=3) as runners:
        await run_all(runners)
        await wait_until(lambda: provider.connection_count == 0)


async def test_reused_connection_survives_the_run(provider: FakeProvider) -> None:
    """With ``reuse``, the next run uses the connection that the one before it left open."""
    async with runners_for(provider.base_url, connection="reuse") as runners:
        await run_all(runners)
        provider.stop_listening()
        [outcome] = await run_all(runners)
    assert OutcomeKind.OK is outcome.kind


@pytest.mark.parametrize(("connection", "connections"), [("new", 2), ("reuse", 1)])
async def test_retry_connects_as_the_first_attempt_does(connection: str, connections: int) -> None:
    """A retry opens a connection of its own, unless connections are reused."""
    opened = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}")

    async with TcpServer(talk) as server:
        outcome = await run_one(server.base_url, connection=connection)
    assert (2, connections) == (len(outcome.attempts), len(opened))


async def test_reused_connections_have_no_limit() -> None:
    """No run waits for a connection of another one: all of them are open at the same time."""
    everyone = asyncio.Barrier(120)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await everyone.wait()
        writer.write(STREAM.replace("\n", "\r\n").encode() + b"\r\n\r\n" + EVENTS)

    async with TcpServer(talk) as server, runners_for(server.base_url, count=120, connection="reuse") as runners:
        outcomes = await run_all(runners)
    assert {OutcomeKind.OK} == {outcome.kind for outcome in outcomes}


async def test_no_compression_is_requested() -> None:
    """A canary asks for a response without compression, and refuses a compressed one."""
    packed = gzip.compress(EVENTS)
    async with HostileServer(f"{STREAM}\ncontent-encoding: gzip", lambda: [packed]) as server:
        outcome = await run_one(server.base_url)
    assert outcome.fault is not None
    assert (True, FaultKind.NOT_A_STREAM, True) == (
        "accept-encoding: identity\r\n" in server.heads[0].lower(),
        outcome.fault.kind,
        "content coding gzip, which the request did not offer" in outcome.fault.message,
    )


async def test_target_can_request_compression() -> None:
    """A header of the target asks for compression, and the response is decoded."""
    packed = gzip.compress(EVENTS)
    async with HostileServer(f"{STREAM}\ncontent-encoding: gzip", lambda: [packed]) as server:
        outcome = await run_one(server.base_url, headers={"Accept-Encoding": "gzip"})
    assert (OutcomeKind.OK, True) == (outcome.kind, "accept-encoding: gzip\r\n" in server.heads[0].lower())


async def test_redirect_sends_nothing_to_the_other_host() -> None:
    """A canary does not follow a redirect: the other server sees neither the key nor the headers of the target."""
    async with HostileServer(STREAM, lambda: [EVENTS]) as elsewhere:
        location = f"{elsewhere.base_url}/chat?ticket=s3cr3t"
        head = f"HTTP/1.1 307 Moved\nlocation: {location}\ncontent-length: 0"
        async with HostileServer(head, list) as server:
            outcome = await run_one(server.base_url, headers={"api-key": "hunter2-hunter2"})
    assert outcome.fault is not None
    assert ([], True, FaultKind.NOT_A_STREAM) == (
        elsewhere.heads,
        "api-key: hunter2-hunter2" in server.heads[0].lower(),
        outcome.fault.kind,
    )
    assert f"the server redirects to {elsewhere.base_url}/chat: a login page, or the base URL is wrong" == str(
        outcome.fault.message
    )
