"""A server that floods takes a bounded part of the event loop, and spoils no other stream."""

import asyncio
import socket
import threading
import time

import pytest
from openai import AsyncOpenAI

from streamcanary import AsyncStreamClient, RetryPolicy, StreamFailed, StreamResult, Timeouts
from streamcanary.client.drivers.loop_share import BURST, MAX_FEED, MAX_SLICE, READ_COST, LoopShare
from streamcanary.model.faults import FaultKind
from support.client.drivers import driver_client, open_sdk_client
from support.servers.threaded import END, HEAD, TOKEN, ThreadedServer

CHUNKED = HEAD.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n")
SMALL = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
ONE_BYTE_CHUNKS = b"".join(b"1\r\n%c\r\n" % byte for byte in SMALL) * 200
FLOODS = {
    "one-byte chunks": (CHUNKED, ONE_BYTE_CHUNKS),
    "events of one character": (HEAD, SMALL * 1000),
    "comments": (HEAD, b":\n" * 30_000),
}
SECONDS = 1.5
SHARE = 0.05


def flood(head: bytes, piece: bytes):
    """Return an answer that sends ``piece`` as fast as it is read."""

    def answer(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(head)
        while not stop.is_set():
            connection.sendall(piece)

    return answer


def answer_steadily(connection: socket.socket, stop: threading.Event) -> None:
    """Send ten tokens at 0.1 s intervals, and the end."""
    connection.sendall(HEAD)
    for _ in range(10):
        connection.sendall(TOKEN)
        stop.wait(0.1)
    connection.sendall(END)


@pytest.mark.parametrize("kind", FLOODS)
async def test_flood_is_bounded_and_spoils_no_other_stream(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a given time only so many reads of a flood are made, and a stream beside it is complete, without a gap."""
    reads: list[float] = []
    add_read = LoopShare.add_read

    def count_read(share: LoopShare, seconds: float) -> None:
        if share._max_share == SHARE:
            reads.append(seconds)
        add_read(share, seconds)

    monkeypatch.setattr(LoopShare, "add_read", count_read)
    once = RetryPolicy(max_attempts=1)
    with ThreadedServer(flood(*FLOODS[kind])) as flooding, ThreadedServer(answer_steadily) as steady:
        async with (
            open_sdk_client("async", flooding.base_url) as flooding_sdk,
            open_sdk_client("async", steady.base_url) as steady_sdk,
        ):
            timeouts = Timeouts(first_token=SECONDS, total=SECONDS)
            bounded = driver_client("async", flooding_sdk, timeouts=timeouts, retry=once, max_loop_share=SHARE)
            other = driver_client("async", steady_sdk, retry=once)
            started = time.monotonic()
            failed, result = await asyncio.gather(
                bounded.complete("any"),
                other.complete("any"),
                return_exceptions=True,
            )
            seconds = time.monotonic() - started
    assert isinstance(failed, StreamFailed)
    assert failed.fault.kind in (FaultKind.TOTAL_TIMEOUT, FaultKind.FIRST_TOKEN_TIMEOUT)
    assert isinstance(result, StreamResult)
    assert "pong" * 10 == result.text
    assert (result.max_gap or 0.0) < 1.0
    allowed = BURST + SHARE * seconds + MAX_SLICE
    assert len(reads) <= allowed / READ_COST


async def test_large_piece_is_parsed_in_steps() -> None:
    """A network read of any size is parsed in steps, between which other tasks run, and nothing of it is lost."""
    events = 4 * MAX_FEED // len(SMALL)

    def answer(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(HEAD + SMALL * events + END)

    with ThreadedServer(answer) as server:
        async with open_sdk_client("async", server.base_url) as sdk:
            result = await driver_client("async", sdk).complete("any")
    assert "a" * events == result.text


def test_work_is_interrupted_after_each_slice() -> None:
    """After 5 ms of work other tasks run for one turn; less work is not interrupted."""
    share = LoopShare(1.0, lambda: 0.0)
    pauses = []
    for _ in range(4):
        share.add_read(MAX_SLICE / 2)
        pauses.append(share.pause())
    assert [None, 0.0, None, 0.0] == pauses


def test_share_is_limited_after_a_burst() -> None:
    """Beyond the burst a stream pauses until its work is within its share of the time; a pause is at most 0.2 s."""
    now = 100.0
    share = LoopShare(0.5, lambda: now)
    share.add_read(BURST - READ_COST)
    first = share.pause()
    share.add_read(0.02 - READ_COST)
    second = share.pause()
    now += 0.04
    share.add_read(MAX_SLICE - READ_COST)
    third = share.pause()
    share.add_read(5.0)
    assert [0.0, 0.04, 0.01, 0.2] == pytest.approx([first, second, third, share.pause()])


@pytest.mark.parametrize("share", [0, -1, 1.1, float("nan")])
def test_share_is_a_fraction(share: float) -> None:
    """A share that is no fraction is refused when the client is made."""
    with pytest.raises(ValueError, match="max_loop_share must be over 0 and at most 1"):
        AsyncStreamClient(AsyncOpenAI(api_key="none"), max_loop_share=share)
