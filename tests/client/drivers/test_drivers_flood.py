"""A server that floods takes a bounded part of the event loop, and spoils no other stream."""

import asyncio
import socket
import threading
import time
from typing import Any

import h11
import pytest
from openai import AsyncOpenAI

from streamcanary import AsyncStreamClient, RetryPolicy, StreamFailed, StreamResult, Timeouts
from streamcanary.client.drivers.base_stream import MAX_DRAIN_PIECES
from streamcanary.client.drivers.loop_share import (
    BURST,
    MAX_BODY_PIECES,
    MAX_FEED,
    MAX_FLOOD_SHARES,
    MAX_SLICE,
    READ_COST,
    FloodWork,
    LoopShare,
)
from streamcanary.model.faults import Blame, FaultKind
from streamcanary.transport.response_head import MAX_INFORMATIONAL
from support.client.drivers import DRIVERS, Driver, driver_client, open_sdk_client
from support.client.turns import Turns
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


async def ask(driver: Driver, server: ThreadedServer, **options: Any) -> StreamResult | StreamFailed:
    """Return the result of a call with one attempt."""
    async with open_sdk_client(driver, server.base_url) as sdk:
        client = driver_client(driver, sdk, **{"retry": RetryPolicy(max_attempts=1), **options})
        try:
            return await client.complete("any")
        except StreamFailed as failure:
            return failure


@pytest.mark.parametrize("driver", DRIVERS)
async def test_error_body_in_small_chunks_is_bounded(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error body in one-byte chunks is read up to a number of chunks, and other tasks run meanwhile."""
    head = CHUNKED.replace(b"200 OK", b"429 Too Many Requests").replace(b"text/event-stream", b"application/json")
    turns = Turns(monkeypatch)
    with ThreadedServer(flood(head, b"1\r\nx\r\n" * 10_000)) as server:
        watch = asyncio.create_task(turns.watch())
        failed = await ask(driver, server)
        watch.cancel()
    assert isinstance(failed, StreamFailed)
    assert (FaultKind.RATE_LIMITED, MAX_BODY_PIECES) == (failed.fault.kind, turns.pieces)
    assert driver == "sync" or turns.most_in_a_turn <= MAX_SLICE / READ_COST


@pytest.mark.parametrize("driver", DRIVERS)
async def test_flood_after_an_answer_is_bounded(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a complete answer, only a few chunks are read to find the end of the body."""
    answer = TOKEN + END
    head = CHUNKED.replace(b"connection: close\r\n", b"") + b"%x\r\n%s\r\n" % (len(answer), answer)
    turns = Turns(monkeypatch)
    with ThreadedServer(flood(head, b"1\r\n:\r\n" * 10_000)) as server:
        result = await ask(driver, server)
    assert isinstance(result, StreamResult)
    assert "pong" == result.text
    assert turns.pieces <= 1 + MAX_DRAIN_PIECES


@pytest.mark.parametrize("driver", DRIVERS)
async def test_connection_that_is_closed_is_not_drained(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read after a complete answer if its connection is not used again."""
    answer = TOKEN + END
    turns = Turns(monkeypatch)
    with ThreadedServer(flood(CHUNKED + b"%x\r\n%s\r\n" % (len(answer), answer), b"1\r\n:\r\n")) as server:
        result = await ask(driver, server)
    assert isinstance(result, StreamResult)
    assert ("pong", 1) == (result.text, turns.pieces)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"HTTP/1.1 103\r\n\r\n", "more than 20 informational responses (1xx)"),
        (b"HTTP/1.1 102 Processing\r\nx: %s\r\n\r\n" % (b"x" * 8000), "more than 64 KiB of informational responses"),
    ],
)
async def test_informational_responses_are_bounded(
    driver: Driver, head: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends 1xx responses without end is to blame, after a bounded number of them."""
    parsed: list[object] = []
    next_event = h11.Connection.next_event

    def count(connection: h11.Connection) -> object:
        event = next_event(connection)
        if type(event) is h11.InformationalResponse:
            parsed.append(event)
        return event

    monkeypatch.setattr(h11.Connection, "next_event", count)
    with ThreadedServer(flood(head, head * 4)) as server:
        failed = await ask(driver, server, timeouts=Timeouts(headers=5))
    assert isinstance(failed, StreamFailed)
    assert (FaultKind.SERVER_ERROR, Blame.PROVIDER) == (failed.fault.kind, failed.fault.blame)
    assert f"the server sent {message}" in failed.fault.message
    assert len(parsed) <= MAX_INFORMATIONAL


@pytest.mark.parametrize("driver", DRIVERS)
async def test_some_informational_responses_are_skipped(driver: Driver) -> None:
    """An answer after as many 1xx responses as are allowed is an answer, on a connection of any age."""

    def answer(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * MAX_INFORMATIONAL)
        answer_steadily(connection, stop)

    with ThreadedServer(answer) as server:
        result = await ask(driver, server)
    assert isinstance(result, StreamResult)
    assert "pong" * 10 == result.text


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


class Loop:
    """Streams that always have data, in turns; each read of 1 ms takes the event loop's time."""

    def __init__(self, count: int, max_share: float) -> None:
        self.now = 100.0
        self.flood = FloodWork()
        self.work = 0.0
        self._streams = [LoopShare(max_share, lambda: self.now, self.flood) for _ in range(count)]

    def run(self, seconds: float) -> None:
        """Run for at least that time."""
        resume_at, end = dict.fromkeys(self._streams, self.now), self.now + seconds
        while self.now < end:
            stream, due = min(resume_at.items(), key=lambda item: item[1])
            self.now = max(self.now, due)
            while (pause := stream.pause()) is None:
                self.now, self.work = self.now + 0.001, self.work + 0.001
                stream.add_read(0.001 - READ_COST)
            resume_at[stream] = self.now + max(pause, 1e-6)


@pytest.mark.parametrize("count", [1, 4, 20, 100])
def test_share_of_one_endpoint_is_limited(count: int) -> None:
    """However many streams of an endpoint flood, together they take at most four shares beyond their bursts."""
    loop = Loop(count, SHARE)
    loop.run(120.0)
    allowed = min(count, MAX_FLOOD_SHARES) * SHARE * (loop.now - 100.0)
    assert loop.work <= count * (BURST + MAX_SLICE + 0.001) + allowed


def test_flood_is_charged_with_its_work() -> None:
    """The work of streams beyond their burst is that of a flood, from its beginning; it is no lag of the process."""
    loop = Loop(20, 1.0)
    loop.run(10.0)
    assert loop.work == pytest.approx(loop.flood.since(100.0), abs=20 * MAX_SLICE)
    assert 0.0 == loop.flood.since(loop.now)


@pytest.mark.parametrize(
    ("reads", "chunks", "lag"), [(199, 0, 2.0), (200, 0, 0.0), (1000, 1000, 2.0), (1000, 51, 2.0), (1000, 50, 0.0)]
)
def test_lag_is_no_excuse_for_a_stream_without_chunks(reads: int, chunks: int, lag: float) -> None:
    """A stream of pings or single bytes is not excused by a process that is late, an answer of any size is."""
    share = LoopShare(SHARE, lambda: 100.0)
    for _ in range(reads):
        share.add_read(0.0)
    assert lag == share.lag_of_process(2.0, 99.0, chunks)


def test_lag_of_a_flood_is_no_excuse() -> None:
    """Lag counts only beyond the work of the streams that flood, for all streams of their endpoint."""
    flood = FloodWork()
    flood.add(100.0, 1.5)
    other = LoopShare(SHARE, lambda: 100.0, flood)
    assert [0.5, 0.0, 2.0] == [
        other.lag_of_process(2.0, 99.0, 10),
        other.lag_of_process(1.0, 99.0, 10),
        other.lag_of_process(2.0, 100.0, 10),
    ]


def test_usual_answer_is_no_flood() -> None:
    """Streams within their burst are charged with nothing, however many there are."""
    loop = Loop(100, SHARE)
    loop.run(100 * BURST * 0.9)
    assert (0.0, 0) == (loop.flood.since(100.0), len(loop.flood.streams))


@pytest.mark.parametrize("share", [0, -1, 1.1, float("nan")])
def test_share_is_a_fraction(share: float) -> None:
    """A share that is no fraction is refused when the client is made."""
    with pytest.raises(ValueError, match="max_loop_share must be over 0 and at most 1"):
        AsyncStreamClient(AsyncOpenAI(api_key="none"), max_loop_share=share)
