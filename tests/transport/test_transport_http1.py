"""HTTP/1.1 over connections of asyncio: what is sent, what is received, and which connections are kept."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcanary.transport.http1.transport import Http1Transport
from support.http1_transport import OK, answering, post, read_request, transport_of
from support.servers.certificates import LOOPBACK, server_tls_context
from support.servers.simulator import wait_until
from support.servers.tcp import TcpServer


class Now:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


async def test_request_is_sent_as_it_is() -> None:
    """Request line, headers and body are those of the request."""
    seen: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)

    async with TcpServer(talk) as server:
        response = await post(transport_of(), f"{server.base_url}/a%20b?c=d#e")
    expected = (
        f"POST /v1/a%20b?c=d HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nx-key: 1\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    assert (sorted(expected.encode().split(b"\r\n")), b"ok") == (sorted(seen[0].split(b"\r\n")), response.content)


async def test_body_in_pieces_is_sent_in_chunks() -> None:
    """A body of unknown length is sent in chunks, also one that is longer than what is sent at once."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 50_000

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += await reader.read(1 << 16)
        answer = b"%d" % received.count(b"x" * 1000)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))

    async with TcpServer(talk) as server:
        response = await transport_of().handle_async_request(httpx2.Request("POST", server.base_url, content=pieces()))
        assert b"150" == await response.aread()


async def test_large_response_is_received_as_it_is_read() -> None:
    """A server that sends more than is read has to wait: what is received is bounded."""
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n")
        for _ in range(500):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with TcpServer(talk) as server:
        response = await transport_of().handle_async_request(httpx2.Request("POST", server.base_url, content=b"{}"))
        pieces = response.aiter_raw()
        size = len(await anext(pieces))
        before = -1
        while before != sent:  # until the server waits
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 40_000_000
        async for piece in pieces:
            size += len(piece)
            assert len(piece) <= 64 << 10
    assert 50_000_000 == size


async def test_connection_is_reused() -> None:
    """The next request uses the connection that was used last."""
    connections: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        number = len(connections) - 1
        while await read_request(reader):
            connections[number] += 1
            writer.write(OK)

    transport = transport_of()
    async with TcpServer(talk) as server:
        await asyncio.gather(*(post(transport, server.base_url) for _ in range(3)))
        await wait_until(lambda: server.connections == 2)  # more than two are not kept
        for _ in range(3):
            await post(transport, server.base_url)
        await transport.aclose()
        await wait_until(lambda: server.connections == 0)
    assert [1, 1, 4] == sorted(connections)


async def test_idle_connection_expires() -> None:
    """A connection that no request has used for long is not used again, and is closed with the next request."""
    now = Now()
    transport = transport_of(now=now)
    async with TcpServer(answering(OK, OK, OK)) as server:
        await asyncio.gather(post(transport, server.base_url), post(transport, server.base_url))
        now.seconds += 56.0
        await post(transport, server.base_url)
        await wait_until(lambda: server.connections == 1)
        await transport.aclose()


@pytest.mark.parametrize("late", [b"", b"HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n"])
async def test_connection_that_the_server_has_closed_is_not_used(late: bytes) -> None:
    """A server that closes an idle connection, or sends something on it, costs no request."""
    transport = transport_of()
    async with TcpServer(answering(OK + late, then_close=True)) as server:
        await post(transport, server.base_url)
        await wait_until(lambda: server.connections == 0)
        assert 200 == (await post(transport, server.base_url)).status_code
        await transport.aclose()


async def test_no_connection_is_kept_without_idle_ones() -> None:
    """With ``max_idle`` 0 each request has a connection of its own, which is closed with its response."""
    transport = transport_of(max_idle=0)
    async with TcpServer(answering(OK, OK)) as server:
        await post(transport, server.base_url)
        await wait_until(lambda: server.connections == 0)


async def test_response_that_is_not_read_closes_its_connection() -> None:
    """A response that is closed before its end closes the connection."""
    transport = transport_of()
    async with TcpServer(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")) as server:
        response = await transport.handle_async_request(httpx2.Request("POST", server.base_url, content=b"{}"))
        await response.aclose()
        await wait_until(lambda: server.connections == 0)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"])
async def test_cancelled_request_closes_its_connection(answer: bytes) -> None:
    """A request that is cancelled in any state leaves no connection open."""
    arrived = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        arrived.set()
        await reader.read()

    async with TcpServer(talk) as server:
        sending = asyncio.create_task(post(transport_of(), server.base_url))
        await arrived.wait()
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await wait_until(lambda: server.connections == 0)


async def test_error_names_the_reason_of_the_system() -> None:
    """A refused connection is a ``ConnectError`` because of the error of the operating system."""
    async with TcpServer(answering()) as server:
        pass
    with pytest.raises(httpx2.ConnectError) as refused:
        await post(transport_of(), server.base_url)
    assert isinstance(refused.value.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (b"", httpx2.RemoteProtocolError, "Server disconnected without sending a response."),
        (b"HTTP/1.1 200", httpx2.RemoteProtocolError, "Server disconnected without sending a response."),
        (b"SSH-2.0-OpenSSH\r\n\r\n", httpx2.RemoteProtocolError, "illegal status line"),
        (OK[:-1], httpx2.RemoteProtocolError, "peer closed connection without sending complete message body"),
    ],
)
async def test_broken_response(answer: bytes, error: type[Exception], message: str) -> None:
    """A response that is no HTTP, or that is not complete, is an error of the server."""
    async with TcpServer(answering(answer, then_close=True)) as server:
        with pytest.raises(error, match=message):
            await post(transport_of(), server.base_url)


async def test_invalid_header_is_refused() -> None:
    """A header with a line end is not sent."""
    async with TcpServer(answering(OK)) as server:
        request = httpx2.Request("POST", server.base_url, headers=[(b"x-key", b"a\r\nb: c")], content=b"")
        with pytest.raises(httpx2.LocalProtocolError):
            await transport_of().handle_async_request(request)
        await wait_until(lambda: server.connections == 0)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "//127.0.0.1/"])
async def test_other_protocol_is_refused(url: str) -> None:
    """Only HTTP is supported."""
    with pytest.raises(httpx2.UnsupportedProtocol, match="protocol"):
        await transport_of().handle_async_request(httpx2.Request("POST", url))


async def test_read_timeout() -> None:
    """The timeout ``read`` of a request limits the wait for its response."""
    async with TcpServer(answering(b"")) as server:
        with pytest.raises(httpx2.ReadTimeout):
            await post(transport_of(), server.base_url, timeout={"read": 0.01})


async def test_connect_timeout() -> None:
    """The timeout ``connect`` limits the handshake, too."""
    async with TcpServer(answering(b"")) as server:
        with pytest.raises(httpx2.ConnectTimeout):
            await post(transport_of(), server.base_url.replace("http:", "https:"), timeout={"connect": 0.05})


async def test_early_response_of_a_server_that_reads_no_request() -> None:
    """A server that responds and closes without reading the request is read."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")

    async with TcpServer(talk) as server:
        assert (413, b"no") == ((response := await post(transport_of(), server.base_url)).status_code, response.content)


async def test_response_over_tls() -> None:
    """Over TLS, a connection is reused, too, and the response has the TLS object."""
    transport = transport_of()
    async with TcpServer(answering(OK, OK), ssl=server_tls_context(LOOPBACK)) as server:
        first = await post(transport, server.base_url)
        second = await post(transport, server.base_url.replace("127.0.0.1", "localhost"))
        third = await post(transport, server.base_url)
        await transport.aclose()
    connections = [each.extensions["network_stream"].get_extra_info("ssl_object") for each in (first, second, third)]
    assert (b"ok", True, False) == (third.content, connections[0] is connections[2], connections[0] is connections[1])


async def test_untrusted_certificate() -> None:
    """A certificate that is not trusted is a ``ConnectError`` because of the verification."""
    transport = Http1Transport(ssl.create_default_context(), max_idle=0, idle_timeout=1.0)
    async with TcpServer(answering(OK), ssl=server_tls_context(LOOPBACK)) as server:
        with pytest.raises(httpx2.ConnectError) as refused:
            await post(transport, server.base_url)
        await wait_until(lambda: server.connections == 0)
    assert isinstance(refused.value.__cause__, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_server_without_tls(answer: bytes) -> None:
    """A server that does not speak TLS is a ``ConnectError`` because of it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)

    async with TcpServer(talk) as server:
        with pytest.raises(httpx2.ConnectError) as refused:
            await post(transport_of(), server.base_url.replace("http:", "https:"))
    assert isinstance(refused.value.__cause__, ssl.SSLError)


async def test_events_of_a_request() -> None:
    """The ``trace`` of a request is called with each step, those of httpcore and the resolution."""
    events: list[str] = []

    async def trace(name: str, info: dict[str, Any]) -> None:
        events.append(name)

    transport = transport_of()
    async with TcpServer(answering(OK, OK), ssl=server_tls_context(LOOPBACK)) as server:
        url = server.base_url.replace("127.0.0.1", "localhost")
        await post(transport, url, trace=trace)
        first, events = events, []
        await post(transport, url, trace=trace)
        await transport.aclose()
    sent = [
        f"http11.{step}.{when}"
        for step in ("send_request_headers", "send_request_body", "receive_response_headers")
        for when in ("started", "complete")
    ]
    opened = ["connection.connect_tcp.started", "dns.resolve_host.started", "dns.resolve_host.complete"]
    opened += ["connection.connect_tcp.complete", "connection.start_tls.started", "connection.start_tls.complete"]
    assert ([*opened, *sent], sent) == (first, events)


HEADS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 500 No\r\n",
        b"HTTP/1.1 204 Empty\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n",
        b"content-length: 3\r\n",
        b"content-length: 5\r\n",
        b"transfer-encoding: chunked\r\n",
        b"connection: close\r\n",
        b"x: \xff\x00\r\n",
        b" folded\r\n",
        b"\r\n",
        b"\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"abc",
        b"fffffffff\r\n",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(HEADS, max_size=9).map(b"".join))
def test_any_response_is_what_httpx_makes_of_it(answer: bytes) -> None:
    """Whatever a server sends, the response or the error is that of the transport of ``httpx2``."""

    async def results() -> list[Any]:
        async with TcpServer(answering(answer, then_close=True)) as server:
            return [
                await result_of(transport, server.base_url)
                for transport in (httpx2.AsyncHTTPTransport(trust_env=False), transport_of(max_idle=0))
            ]

    theirs, ours = asyncio.run(results())
    assert theirs == ours


async def result_of(transport: httpx2.AsyncBaseTransport, url: str) -> Any:
    """Return what a request results in."""
    try:
        async with transport:
            response = await post(transport, url)
    except httpx2.HTTPError as error:
        return type(error), str(error)
    return response.status_code, response.headers.raw, response.content, response.extensions["reason_phrase"]


async def test_heads_are_those_of_each_request() -> None:
    """Requests that differ in a header, the method or the target are sent as they are, also one after the other."""
    seen: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await read_request(reader):
            seen.append(request)
            writer.write(OK)

    async with TcpServer(talk) as server:
        transport = transport_of()
        for method, path, key in [("POST", "a", "1"), ("POST", "a", "1"), ("PUT", "a", "1"), ("PUT", "b", "2")]:
            headers = {"x-key": key, "Host": "h"}
            response = await transport.handle_async_request(
                httpx2.Request(method, f"http://127.0.0.1:{server.port}/{path}", headers=headers, content=b"{}")
            )
            await response.aread()
        await transport.aclose()
    expected = [b"POST /a 1", b"POST /a 1", b"PUT /a 1", b"PUT /b 2"]
    assert expected == [b" ".join([*request.split()[:2], request.partition(b"x-key: ")[2][:1]]) for request in seen]
