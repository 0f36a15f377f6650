"""The HTTP server of the simulator: valid, unusual and invalid requests, over a plain socket."""

import asyncio
import json

import pytest

from streamcanary.simulator import Simulator, Timings
from streamcanary.simulator.http.http1 import MAX_BODY, MAX_HEAD, BadRequest, parse_head, render_chunk, render_head
from support.servers.simulator import FAST_TIMINGS, wait_until

ASK = json.dumps({"model": "sim-ok", "messages": []}).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"


async def send_and_read_all(simulator: Simulator, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send ``pieces`` and return all bytes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(20):
            return await reader.read(-1)
    finally:
        writer.close()
        await writer.wait_closed()


def status(answer: bytes) -> int:
    """Return the status of the first response."""
    return int(answer.split(b" ", 2)[1])


def test_request_head_is_parsed() -> None:
    """Header names are lower case, values stripped and joined, and the path is decoded without its query."""
    head = parse_head(b"GET /v1/models/sim-cut%2530?x=1 HTTP/1.1\r\nHost: a\r\nAccept:\t b \r\naccept: c")
    assert (head.method, head.path) == ("GET", "/v1/models/sim-cut%30")
    assert head.headers == {"host": "a", "accept": "b, c"}


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400, "the request line is not HTTP"),
        (b"GET / HTTP/1.1 more", 400, "the request line is not HTTP"),
        (b"G(T / HTTP/1.1", 400, "the request line is not HTTP"),
        (b"GET / HTTP/1.0", 505, "only HTTP/1.1 is supported"),
        (b"PRI * HTTP/2.0", 505, "only HTTP/1.1 is supported"),
        (b"GET / HTTP/1.1\r\nno colon", 400, "a header line is not of the form name: value"),
        (b"GET / HTTP/1.1\r\na: b\r\n folded", 400, "a header line is not of the form name: value"),
        (b"GET / HTTP/1.1\r\na : b", 400, "a header line is not of the form name: value"),
        (b"GET / HTTP/1.1\r\na: b\nc: d", 400, "a header line is not of the form name: value"),
        (b"GET /%ff HTTP/1.1", 400, "the path of the request is not valid"),
        (b"GET http://[ HTTP/1.1", 400, "the path of the request is not valid"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2", 400, "Content-Length is given twice"),
        (b"GET / HTTP/1.1" + b"\r\na: b" * 101, 431, "a request has at most 100 headers"),
    ],
)
def test_invalid_request_head_is_rejected(data: bytes, status: int, message: str) -> None:
    """An invalid request head is rejected with the matching status."""
    with pytest.raises(BadRequest) as raised:
        parse_head(data)
    assert (raised.value.status, str(raised.value)) == (status, message)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"content-length: ten", 400),
        (b"content-length: -1", 400),
        (b"content-length: %d" % (MAX_BODY + 1), 413),
        (b"content-length: 99999999999999999999", 400),
        (b"transfer-encoding: gzip", 501),
        (b"transfer-encoding: chunked\r\ncontent-length: 3", 400),
    ],
)
async def test_invalid_content_length_is_rejected(header: bytes, status: int) -> None:
    """An invalid content length is rejected before the body is read."""
    head = parse_head(b"POST / HTTP/1.1\r\n" + header)
    with pytest.raises(BadRequest) as raised:
        head.body_length()
    assert raised.value.status == status


def test_unregistered_status_has_a_reason() -> None:
    """Status 529, which is not registered, has a status line."""
    assert render_head(529, [("a", "b")]) == b"HTTP/1.1 529 Unregistered\r\na: b\r\n\r\n"


async def test_chunked_request_is_read() -> None:
    """A chunked request is read with extensions and trailers, for any split."""
    chunks = render_chunk(ASK[:7]) + b"%X;ext=1\r\n%b\r\n" % (len(ASK) - 7, ASK[7:]) + b"0\r\ntrailer: t\r\n\r\n"
    request = POST + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n" + chunks
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        answer = await send_and_read_all(
            simulator, request[:50], request[50:101], request[101:-3], request[-3:], pause=0.005
        )
        assert status(answer) == 200
        assert simulator.requests[0].body == ASK.decode()


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (b"xyz\r\n", 400),
        (b"-1\r\n", 400),
        (b"3\r\nabcd\r\n", 400),
        (b"%x\r\n" % (MAX_BODY + 1), 413),
        (b"1" * 300, 400),
        (b"0\r\n" + b"a: b\r\n" * 101, 431),
    ],
)
async def test_invalid_chunks_are_rejected(chunks: bytes, expected: int) -> None:
    """Invalid chunks are rejected with the matching status, and the connection is closed."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        assert (
            status(await send_and_read_all(simulator, POST + b"transfer-encoding: chunked\r\n\r\n" + chunks))
            == expected
        )


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Pipelined requests are answered in order, and ``close`` ends the connection."""
    first = POST + b"content-length: %d\r\n\r\n%b" % (len(ASK), ASK)
    last = b"GET /v1/models/sim-ok HTTP/1.1\r\nconnection: close\r\n\r\n"
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        answer = await send_and_read_all(simulator, first + first + last)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert answer.count(b'"object":"chat.completion"') == 0  # chunked: the object is split into chunks
    assert answer.endswith(b'{"id":"sim-ok","object":"model","created":1700000000,"owned_by":"streamcanary"}')


async def test_expect_continue_is_answered() -> None:
    """``Expect: 100-continue``, as sent by curl before a large body, is answered with 100."""
    head = POST + b"expect: 100-continue\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(ASK)
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        answer = await send_and_read_all(simulator, head, ASK, pause=0.02)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na: " + b"b" * (MAX_HEAD + 100), 431),
        (POST + b"content-length: %d\r\n\r\n" % (MAX_BODY + 1) + b"x" * 200_000, 413),
    ],
)
async def test_rejection_is_delivered_before_the_close(request_: bytes, expected: int) -> None:
    """A rejection is delivered even if more of the request is in transit: no RST overtakes it."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        answer = await send_and_read_all(simulator, request_)
    assert status(answer) == expected
    assert b"\r\nx-request-id: req_" in answer
    assert b"\r\nconnection: close\r\n" in answer


@pytest.mark.parametrize("piece", [b"GET / HT", POST + b"content-length: 10\r\n\r\nabc"])
async def test_incomplete_request_times_out(piece: bytes) -> None:
    """An incomplete request gets a 408 after the configured time."""
    async with Simulator(timings=Timings(request_timeout=0.1)) as simulator:
        assert status(await send_and_read_all(simulator, piece)) == 408


async def test_idle_connection_is_closed() -> None:
    """An idle connection is closed without a response."""
    async with Simulator(timings=Timings(idle_timeout=0.05)) as simulator:
        assert await send_and_read_all(simulator, b"") == b""


@pytest.mark.parametrize("piece", [b"", b"GET / HT", POST + b"content-length: 10\r\n\r\nabc"])
async def test_aborted_request_leaves_nothing(piece: bytes) -> None:
    """A client that leaves within a request leaves no connection and no recorded request."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(piece)
        await writer.drain()
        await wait_until(lambda: simulator.connection_count == 1)
        writer.close()
        await writer.wait_closed()
        await wait_until(lambda: simulator.connection_count == 0)
        assert simulator.requests == ()


@pytest.mark.parametrize(
    ("method", "path", "expected", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_supported"),
        ("GET", "/v1/responses", 405, "method_not_supported"),
        ("GET", "/v1/responses/resp_1", 404, None),
        ("GET", "/v1/models/gpt-9", 404, "model_not_found"),
        ("DELETE", "/v1/models/sim-ok", 404, None),
        ("POST", "/v1/embeddings", 404, None),
        ("GET", "/", 404, None),
        ("OPTIONS", "*", 404, None),
    ],
)
async def test_unknown_path_or_method_is_rejected(method: str, path: str, expected: int, code: str | None) -> None:
    """An unknown path gets a 404 and a wrong method a 405, with an error body in OpenAI's format."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        answer = await send_and_read_all(simulator, f"{method} {path} HTTP/1.1\r\nconnection: close\r\n\r\n".encode())
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (status(answer), body["error"]["type"], body["error"]["code"]) == (expected, "invalid_request_error", code)


async def test_head_response_has_no_body() -> None:
    """A response to HEAD has no body for any path."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        answer = await send_and_read_all(simulator, b"HEAD /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert status(answer) == 405
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The request is not valid: Input data was truncated"),
        (b"{", "The request is not valid: Input data was truncated"),
        (b"[]", "The request is not valid: Expected `object`, got `array`"),
        (b"{}", "The request is not valid: Object missing required field `model`"),
        (b'{"model": "sim-ok"}', "The request is not valid: Object missing required field `messages`"),
        (b'{"model": 1, "messages": []}', "The request is not valid: Expected `str`, got `int` - at `$.model`"),
        (b'{"model": "sim-ok", "messages": [], "n": 2}', "The request is not valid: the simulator returns one choice"),
        (b'{"x": ' + b"[" * 100_000, "The request is not valid: "),
        (b'{"model": "\xff", "messages": []}', "The request is not valid: "),
        (b'{"model": "gpt-9", "messages": []}', "The model `gpt-9` does not exist: the models of the simulator are"),
    ],
)
async def test_invalid_request_body_is_rejected(body: bytes, message: str) -> None:
    """An invalid body gets a 400, and an unknown model a 404, with the reason."""
    request = POST + b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        answer = await send_and_read_all(simulator, request)
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert (status(answer), error["type"]) == (404 if b"gpt-9" in body else 400, "invalid_request_error")
    assert error["message"].startswith(message)
