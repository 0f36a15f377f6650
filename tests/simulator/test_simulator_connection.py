"""How long a connection lasts, and how it ends: on plain sockets and over TLS."""

import asyncio
import json
import socket
import ssl
from typing import Any, get_args

import pytest

from streamcanary.simulator import ConnectionLifetime, Simulator
from support.servers.simulator import (
    APIS,
    FAST_TIMINGS,
    HANGING_TIMINGS,
    Api,
    RawAnswer,
    client_tls,
    fetch_raw,
    prompt_field,
    server_tls,
    wait_until,
)

WHOLE, SOME = "Pong! The canary sings.", "Pong! The"
CUT, RST = "RemoteProtocolError", "ReadError"
LIFETIMES: tuple[ConnectionLifetime, ...] = get_args(ConnectionLifetime)
CLEAN, UNCLEAN = "close_notify", "EOF without close_notify"

# What breaks a connection and what does not: the text, and the end of the stream that HTTP shows, by lifetime
ENDS: dict[str, tuple[str, dict[ConnectionLifetime, str]]] = {
    "ok": (WHOLE, {"keep-alive": "whole", "close": "whole", "eof": "whole"}),
    "truncated": (SOME, {"keep-alive": "whole", "close": "whole", "eof": "whole"}),
    "cut": (SOME, {"keep-alive": CUT, "close": CUT, "eof": "whole"}),
    "stall": (SOME, {"keep-alive": CUT, "close": CUT, "eof": "whole"}),
    "reset-stream": (SOME, {"keep-alive": RST, "close": RST, "eof": RST}),
}


def ask(model: str, api: Api, *, stream: bool = True) -> bytes:
    """Return the bytes of a request."""
    body = json.dumps({"model": model, **prompt_field(api), "stream": stream}).encode()
    head = f"POST /v1{APIS[api]} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def talk(simulator: Simulator, request: bytes) -> bytes:
    """Send ``request`` and return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            return await reader.read(-1)
    finally:
        writer.close()
        await writer.wait_closed()


async def end_of_tls(simulator: Simulator, request: bytes) -> tuple[bytes, str]:
    """Return what a raw TLS client receives, and how its connection ends."""
    context = client_tls()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # Python sets it, and then cannot tell one end from the other

    def receive() -> tuple[bytes, str]:
        received = bytearray()
        with (
            socket.create_connection(("127.0.0.1", simulator.port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as tls,
        ):
            tls.sendall(request)
            try:
                while data := tls.recv(65536):
                    received += data
            except ssl.SSLEOFError:
                return bytes(received), UNCLEAN
            return bytes(received), CLEAN

    return await asyncio.to_thread(receive)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("fault", ENDS)
async def test_a_fault_is_the_same_whatever_carries_it(fault: str, lifetime: ConnectionLifetime, api: Api) -> None:
    """Plain, over TLS, and without close_notify; where EOF ends the body, HTTP cannot tell what is missing."""
    text, ends = ENDS[fault]
    tls: dict[str, Any] = {"ssl": server_tls()}

    async def play(**more: Any) -> RawAnswer:
        async with Simulator(timings=FAST_TIMINGS, connection=lifetime, **more) as simulator:
            seen = await fetch_raw(simulator, f"sim-{fault}", api=api, verify=client_tls() if more else None)
            await wait_until(lambda: simulator.connection_count == 0)
            return seen

    seen = [await play(), await play(**tls), await play(**tls, close_notify=False)]
    assert [(one.status, one.text, one.ending) for one in seen] == [(200, text, ends[lifetime])] * 3


@pytest.mark.parametrize(
    ("lifetime", "version", "headers"),
    [
        ("keep-alive", "HTTP/1.1", {"transfer-encoding": "chunked"}),
        ("close", "HTTP/1.1", {"transfer-encoding": "chunked", "connection": "close"}),
        ("eof", "HTTP/1.0", {"connection": "close"}),
    ],
)
@pytest.mark.parametrize("api", APIS)
async def test_a_head_says_how_the_body_ends(
    lifetime: ConnectionLifetime, version: str, headers: dict[str, str], api: Api
) -> None:
    """By its last chunk, by that and the end of the connection, or by that end alone."""
    async with Simulator(timings=FAST_TIMINGS, connection=lifetime) as simulator:
        seen = await fetch_raw(simulator, "sim-ok", api=api)
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(ask("sim-ok", api))
        assert (await reader.readline()).split()[0].decode() == version
        writer.close()
    told = {
        name: seen.headers[name]
        for name in ("transfer-encoding", "content-length", "connection")
        if name in seen.headers
    }
    assert told == headers


@pytest.mark.parametrize("lifetime", ["close", "eof"])
@pytest.mark.parametrize("model", ["sim-ok", "sim-500", "sim-204", "sim-empty-stream", "sim-nonesuch"])
@pytest.mark.parametrize("stream", [True, False])
async def test_the_server_closes_after_one_answer(lifetime: ConnectionLifetime, model: str, stream: bool) -> None:
    """Of whatever kind, though the client would keep the connection and has sent another request."""
    async with Simulator(timings=FAST_TIMINGS, connection=lifetime) as simulator:
        answer = await talk(simulator, ask(model, "chat", stream=stream) * 2)
        assert (answer.count(b"HTTP/1."), len(simulator.requests)) == (1, 1)
        assert b"\r\nconnection: close\r\n" in answer
        await wait_until(lambda: simulator.connection_count == 0)


async def test_without_a_length_a_body_is_bare() -> None:
    """No chunk sizes, no length: events up to the end of the connection."""
    async with Simulator(timings=FAST_TIMINGS, connection="eof") as simulator:
        head, _, body = (await talk(simulator, ask("sim-ok", "chat"))).partition(b"\r\n\r\n")
        error = await talk(simulator, ask("sim-500", "chat"))
    assert b"content-length" not in head + error
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")
    assert json.loads(error.partition(b"\r\n\r\n")[2])["error"]["type"] == "server_error"


@pytest.mark.parametrize("api", APIS)
async def test_without_a_length_only_the_protocol_tells_an_end_from_a_cut(api: Api) -> None:
    """A cut stream is a whole body, whose last event is half of one, and no terminal state."""
    async with Simulator(timings=FAST_TIMINGS, connection="eof") as simulator:
        cut, truncated, whole = [
            (await talk(simulator, ask(f"sim-{fault}", api))).partition(b"\r\n\r\n")[2]
            for fault in ("cut", "truncated", "ok")
        ]
    assert [body.endswith(b"\n\n") for body in (cut, truncated, whole)] == [False, True, True]
    terminal = b"[DONE]" if api == "chat" else b"response.completed"
    assert [terminal in body for body in (cut, truncated, whole)] == [False, False, True]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("lifetime", ["close", "eof"])
@pytest.mark.parametrize("fault", ["ok", "truncated", "cut", "500"])
async def test_tls_ends_with_a_word_or_without(fault: str, lifetime: ConnectionLifetime, api: Api) -> None:
    """To a client that listens for it, that is all the difference: not a byte of the answer is lost."""
    request = ask(f"sim-{fault}", api)
    async with Simulator(timings=FAST_TIMINGS, connection=lifetime, ssl=server_tls()) as simulator:
        spoken, clean = await end_of_tls(simulator, request)
    async with Simulator(timings=FAST_TIMINGS, connection=lifetime, ssl=server_tls(), close_notify=False) as simulator:
        unspoken, unclean = await end_of_tls(simulator, request)
        await wait_until(lambda: simulator.connection_count == 0)
    assert (clean, unclean) == (CLEAN, UNCLEAN)
    assert len(unspoken) == len(spoken) > 300


async def test_a_connection_without_close_notify_is_kept_alive() -> None:
    """Only its end is another."""
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls(), close_notify=False) as simulator:
        request = ask("sim-ok", "chat").replace(b"host: x", b"host: x\r\nconnection: close")
        answer, end = await end_of_tls(simulator, ask("sim-ok", "responses") + request)
    assert (answer.count(b"HTTP/1.1 200 OK\r\n"), end) == (2, UNCLEAN)


async def test_closing_the_server_ends_what_hangs_without_a_length() -> None:
    """At once, as it does all else."""
    async with Simulator(timings=HANGING_TIMINGS, connection="eof", ssl=server_tls(), close_notify=False) as simulator:
        hanging = asyncio.create_task(end_of_tls(simulator, ask("sim-stall", "chat")))
        await wait_until(lambda: len(simulator.requests) == 1)
    async with asyncio.timeout(10):
        assert (await hanging)[1] == UNCLEAN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"connection": "closed"}, "a connection is one of keep-alive, close, eof, not 'closed'"),
        ({"close_notify": False}, "close_notify is a word of TLS: leave it on, or give ssl"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    """With what would."""
    with pytest.raises(ValueError, match=message):
        Simulator(**arguments)
