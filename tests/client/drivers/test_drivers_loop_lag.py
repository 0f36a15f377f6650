"""A process that is late itself does not blame the provider, and a provider that stalls is blamed all the same."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable

import pytest

from streamcanary import RetryPolicy, StreamFailed, StreamResult, Timeouts
from streamcanary.client.drivers.loop_lag import LoopLag
from streamcanary.client.drivers.socket_timer import SocketTimer
from streamcanary.events import ContentDelta
from streamcanary.model.faults import Blame, FaultKind
from support.client.drivers import CHAT_REQUEST, driver_client, open_sdk_client
from support.servers.threaded import END, HEAD, TOKEN, ThreadedServer

pytestmark = pytest.mark.process_lag
STALL = Timeouts(stall=0.4)


def answer_on_time(connection: socket.socket, stop: threading.Event) -> None:
    """Send the first token at once, and the rest 0.1 s later."""
    connection.sendall(HEAD + TOKEN)
    stop.wait(0.1)
    connection.sendall(TOKEN + END)


def stall(connection: socket.socket, stop: threading.Event) -> None:
    """Send the first token, and nothing more."""
    connection.sendall(HEAD + TOKEN)
    stop.wait()


def block_once() -> None:
    """Block the event loop for longer than every timeout of these tests."""
    time.sleep(1.2)


def block_repeatedly() -> None:
    """Block the event loop for 0.3 s, again and again."""
    time.sleep(0.3)
    asyncio.get_running_loop().call_soon(block_repeatedly)


async def ask(
    answer: Callable[[socket.socket, threading.Event], None], timeouts: Timeouts, block: Callable[[], None] | None
) -> StreamResult | StreamFailed:
    """Return the result of a call; after its first token, ``block`` runs in the event loop."""
    with ThreadedServer(answer) as server:
        async with open_sdk_client("async", server.base_url) as sdk:
            client = driver_client("async", sdk, timeouts=timeouts, retry=RetryPolicy(max_attempts=1)).client
            try:
                async with client.stream(model="any", **CHAT_REQUEST) as stream:
                    async for event in stream:
                        if isinstance(event, ContentDelta) and block is not None:
                            asyncio.get_running_loop().call_soon(block)
                            block = None
            except StreamFailed as failure:
                return failure
            return stream.result


async def test_answer_that_came_on_time_is_complete_after_a_blocked_loop() -> None:
    """A loop that is blocked past a timeout then reads what the provider sent in time."""
    result = await ask(answer_on_time, STALL, block_once)
    assert isinstance(result, StreamResult)
    assert ("pongpong", 1) == (result.text, len(result.attempts))


@pytest.mark.parametrize("block", [None, block_once])
async def test_stalled_provider_is_blamed(block: Callable[[], None] | None) -> None:
    """A provider that stalls is to blame, on a quiet loop and after the loop was blocked once."""
    failure = await ask(stall, STALL, block)
    assert isinstance(failure, StreamFailed)
    assert (FaultKind.STALLED, Blame.PROVIDER) == (failure.fault.kind, failure.fault.blame)


async def test_loop_that_stays_late_blames_itself() -> None:
    """With a loop that is late most of the time, nothing is known about the provider."""
    failure = await ask(stall, STALL, block_repeatedly)
    assert isinstance(failure, StreamFailed)
    assert (FaultKind.CLIENT_DELAYED, Blame.LOCAL) == (failure.fault.kind, failure.fault.blame)


async def test_total_timeout_of_a_late_loop_blames_itself() -> None:
    """The total timeout is not extended: if the loop was blocked meanwhile, the process is to blame."""
    failure = await ask(answer_on_time, Timeouts(stall=30, total=0.8), block_once)
    assert isinstance(failure, StreamFailed)
    assert (FaultKind.CLIENT_DELAYED, Blame.LOCAL) == (failure.fault.kind, failure.fault.blame)
    assert "the timeout of 0.8 s passed, but this process itself was late by " in failure.fault.message


async def test_lag_is_the_time_for_which_the_loop_was_blocked() -> None:
    """A blocked loop is late by the time of the block; only what is after the given start counts."""
    lag, observer = LoopLag.of_running_loop(), asyncio.Event()
    lag.observe(observer)
    loop = asyncio.get_running_loop()
    start = loop.time()
    time.sleep(0.4)
    assert lag.since(start) >= 0.3
    assert 0.0 == lag.since(loop.time())


async def test_lost_observer_ends_the_measurement() -> None:
    """Without an observer the loop has no timer of the measurement."""
    lag, observer = LoopLag.of_running_loop(), asyncio.Event()
    lag.observe(observer)
    assert lag.is_measuring
    del observer
    async with asyncio.timeout(10):
        while lag.is_measuring:
            await asyncio.sleep(0.01)


def test_socket_timer_reports_how_late_it_fired() -> None:
    """The lateness of an expired deadline is the time from the deadline to its check."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        timer = SocketTimer(ours)
        timer.arm(time.monotonic() + 60)
        deadline = timer._deadline
        assert timer.check(deadline, deadline + 3.0) is None
        timer.close()
    assert (True, 3.0) == (timer.has_expired(), timer.lateness)
