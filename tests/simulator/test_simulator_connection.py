"""Connection lifetimes and connection ends, over plain TCP and TLS."""

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

ANSWER, PARTIAL_ANSWER = "Pong! The canary sings.", "Pong! The"
CUT, RST = "RemoteProtocolError", "ReadError"
LIFETIMES: tuple[ConnectionLifetime, ...] = get_args(ConnectionLifetime)
CLEAN, UNCLEAN = "close_notify", "EOF without close_notify"

# Faults that break the connection and faults that do not: text, and the end that the HTTP client observes, by lifetime
ENDS: dict[str, tuple[str, dict[ConnectionLifetime, str]]] = {
    "ok": (ANSWER, {"keep-alive": "whole", "close": "whole", "eof": "whole"}),
    "truncated": (PARTIAL_ANSWER, {"keep-alive": "whole", "close": "whole", "eof": "whole"}),
    "cut": (PARTIAL_ANSWER, {"keep-alive": CUT, "close": CUT, "eof": "whole"}),
    "stall": (PARTIAL_ANSWER, {"keep-alive": CUT, "close": CUT, "eof": "whole"}),
    "reset-stream": (PARTIAL_ANSWER, {"keep-alive": RST, "close": RST, "eof": RST}),
}


def request_bytes(model: str, api: Api, *, stream: bool = True) -> bytes:
    """Return the bytes of a request."""
    body = json.dumps({"model": model, **prompt_field(api), "stream": stream}).encode()
    head = f"POST /v1{APIS[api]} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def send_and_read_all(simulator: Simulator, request: bytes) -> bytes:
    """Send ``request`` and return all bytes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            return await reader.read(-1)
    finally:
        writer.close()
        await writer.wait_closed()


async def read_tls_end(simulator: Simulator, request: bytes) -> tuple[bytes, str]:
    """Return what a raw TLS client receives, and how its connection ends."""
    context = client_tls()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # Python sets this option, which hides the difference

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
async def test_fault_is_the_same_over_every_transport(fault: str, lifetime: ConnectionLifetime, api: Api) -> None:
    """A fault is the same over TCP and TLS; where EOF ends the body, HTTP cannot detect missing bytes."""
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
async def test_headers_announce_the_body_framing(
    lifetime: ConnectionLifetime, version: str, headers: dict[str, str], api: Api
) -> None:
    """The headers announce a chunked body, a chunked body and a close, or only a close."""
    async with Simulator(timings=FAST_TIMINGS, connection=lifetime) as simulator:
        seen = await fetch_raw(simulator, "sim-ok", api=api)
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(request_bytes("sim-ok", api))
        assert (await reader.readline()).split()[0].decode() == version
        writer.close()
    framing = {
        name: seen.headers[name]
        for name in ("transfer-encoding", "content-length", "connection")
        if name in seen.headers
    }
    assert framing == headers


@pytest.mark.parametrize("lifetime", ["close", "eof"])
@pytest.mark.parametrize("model", ["sim-ok", "sim-500", "sim-204", "sim-empty-stream", "sim-nonesuch"])
@pytest.mark.parametrize("stream", [True, False])
async def test_server_closes_after_one_response(lifetime: ConnectionLifetime, model: str, stream: bool) -> None:
    """The server closes after one response, even if the client has sent another request."""
    async with Simulator(timings=FAST_TIMINGS, connection=lifetime) as simulator:
        answer = await send_and_read_all(simulator, request_bytes(model, "chat", stream=stream) * 2)
        assert (answer.count(b"HTTP/1."), len(simulator.requests)) == (1, 1)
        assert b"\r\nconnection: close\r\n" in answer
        await wait_until(lambda: simulator.connection_count == 0)


async def test_eof_body_has_no_framing() -> None:
    """A body that ends with the connection has no chunk sizes and no length."""
    async with Simulator(timings=FAST_TIMINGS, connection="eof") as simulator:
        head, _, body = (await send_and_read_all(simulator, request_bytes("sim-ok", "chat"))).partition(b"\r\n\r\n")
        error = await send_and_read_all(simulator, request_bytes("sim-500", "chat"))
    assert b"content-length" not in head + error
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")
    assert json.loads(error.partition(b"\r\n\r\n")[2])["error"]["type"] == "server_error"


@pytest.mark.parametrize("api", APIS)
async def test_eof_cut_is_visible_only_in_the_events(api: Api) -> None:
    """A cut body without framing has a truncated last event and no terminal event."""
    async with Simulator(timings=FAST_TIMINGS, connection="eof") as simulator:
        cut, truncated, whole = [
            (await send_and_read_all(simulator, request_bytes(f"sim-{fault}", api))).partition(b"\r\n\r\n")[2]
            for fault in ("cut", "truncated", "ok")
        ]
    assert [body.endswith(b"\n\n") for body in (cut, truncated, whole)] == [False, True, True]
    terminal = b"[DONE]" if api == "chat" else b"response.completed"
    assert [terminal in body for body in (cut, truncated, whole)] == [False, False, True]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("lifetime", ["close", "eof"])
@pytest.mark.parametrize("fault", ["ok", "truncated", "cut", "500"])
async def test_tls_end_with_or_without_close_notify(fault: str, lifetime: ConnectionLifetime, api: Api) -> None:
    """Only the TLS end differs with and without close_notify; the response is complete."""
    request = request_bytes(f"sim-{fault}", api)
    async with Simulator(timings=FAST_TIMINGS, connection=lifetime, ssl=server_tls()) as simulator:
        with_notify, clean = await read_tls_end(simulator, request)
    async with Simulator(timings=FAST_TIMINGS, connection=lifetime, ssl=server_tls(), close_notify=False) as simulator:
        without_notify, unclean = await read_tls_end(simulator, request)
        await wait_until(lambda: simulator.connection_count == 0)
    assert (clean, unclean) == (CLEAN, UNCLEAN)
    assert len(without_notify) == len(with_notify) > 300


async def test_connection_without_close_notify_is_kept_alive() -> None:
    """A connection without close_notify serves several requests; only its end differs."""
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls(), close_notify=False) as simulator:
        request = request_bytes("sim-ok", "chat").replace(b"host: x", b"host: x\r\nconnection: close")
        answer, end = await read_tls_end(simulator, request_bytes("sim-ok", "responses") + request)
    assert (answer.count(b"HTTP/1.1 200 OK\r\n"), end) == (2, UNCLEAN)


async def test_closing_the_server_ends_hanging_eof_bodies() -> None:
    """Closing the server ends a hanging body without framing at once."""
    async with Simulator(timings=HANGING_TIMINGS, connection="eof", ssl=server_tls(), close_notify=False) as simulator:
        hanging = asyncio.create_task(read_tls_end(simulator, request_bytes("sim-stall", "chat")))
        await wait_until(lambda: len(simulator.requests) == 1)
    async with asyncio.timeout(10):
        assert (await hanging)[1] == UNCLEAN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"connection": "closed"}, "a connection is one of keep-alive, close, eof, not 'closed'"),
        ({"close_notify": False}, "close_notify applies to TLS only: leave it on, or pass ssl"),
    ],
)
def test_invalid_arguments_are_rejected(arguments: dict[str, Any], message: str) -> None:
    """Invalid arguments are rejected with a suggestion."""
    with pytest.raises(ValueError, match=message):
        Simulator(**arguments)
