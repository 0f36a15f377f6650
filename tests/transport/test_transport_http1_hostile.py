"""Servers that attack the transport of HTTP/1.1: what they send more, what never ends, and what takes long to parse."""

import asyncio
import ssl
from contextlib import suppress

import httpx2
import pytest

from streamcanary.transport.http1.byte_stream import MAX_READ
from support.http1_transport import OK, Talk, answering, post, read_request, transport_of
from support.servers.certificates import LOOPBACK, server_tls_context
from support.servers.simulator import wait_until
from support.servers.tcp import TcpServer

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
SMUGGLED = b"HTTP/1.1 418 Smuggled\r\ncontent-length: 3\r\n\r\nbad"


@pytest.mark.parametrize("first", [OK, CHUNKED + b"0\r\n\r\n"])
@pytest.mark.parametrize("more", [SMUGGLED, b"\x00", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_what_follows_a_response_is_not_the_next_response(first: bytes, more: bytes, is_encrypted: bool) -> None:
    """A connection on which a server sends more than its response is closed; the next request has a new one."""
    transport = transport_of()
    tls_context = server_tls_context(LOOPBACK) if is_encrypted else None
    async with TcpServer(answering(first + more), ssl=tls_context) as server:
        statuses = [(await post(transport, server.base_url)).status_code for _ in range(2)]
        await transport.aclose()
    assert [200, 200] == statuses


async def test_what_follows_a_response_in_a_record_of_its_own_is_not_the_next_response() -> None:
    """So is a connection whose next TLS record has arrived together with the end of the response."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = server_tls_context(LOOPBACK).wrap_bio(incoming, outgoing, server_side=True)
        request = b""
        while not request.endswith(b"{}"):
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                request += tls.read(1 << 16)
            writer.write(outgoing.read())
            incoming.write(await reader.read(1 << 16) if not request.endswith(b"{}") else b"")
        tls.write(OK)
        tls.write(SMUGGLED)
        writer.write(outgoing.read())
        await reader.read()

    transport = transport_of()
    async with TcpServer(talk) as server:
        url = server.base_url.replace("http:", "https:")
        statuses = [(await post(transport, url)).status_code for _ in range(2)]
        await transport.aclose()
    assert [200, 200] == statuses


async def test_switch_to_another_protocol_is_an_error() -> None:
    """A server that accepts an upgrade, for a target with such a header, sends no response that could be awaited."""
    answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc"
    async with TcpServer(answering(answer)) as server:
        request = httpx2.Request("POST", server.base_url, content=b"{}", headers={"upgrade": "x"})
        with pytest.raises(httpx2.RemoteProtocolError, match=r"the server switched to another protocol \(101\)"):
            await transport_of().handle_async_request(request)
        await wait_until(lambda: server.connections == 0)


async def test_tiny_chunks_leave_time_to_other_tasks() -> None:
    """Other tasks run after each read of a body, also if all of it has arrived: tiny chunks take long to parse."""
    turns = 0
    body = b"1\r\nx\r\n" * 40_000

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with TcpServer(answering(CHUNKED + body + b"0\r\n\r\n")) as server:
        counting = asyncio.create_task(count_turns())
        assert 40_000 == len((await post(transport_of(max_idle=0), server.base_url)).content)
        counting.cancel()
    assert turns >= len(body) // MAX_READ


@pytest.mark.parametrize(
    "endless",
    [
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 100),
        (CHUNKED + b"1;", b"a" * 100),
        (CHUNKED, b"0" * 100),
        (CHUNKED + b"0\r\n", b"x: y\r\n"),
    ],
    ids=["headers", "header", "chunk-extension", "chunk-size", "trailers"],
)
async def test_endless_part_of_a_response_is_an_error(endless: tuple[bytes, bytes]) -> None:
    """No part of a response but its body is longer than a limit."""
    async with TcpServer(flooding(*endless)) as server:
        with pytest.raises(httpx2.RemoteProtocolError):
            await post(transport_of(), server.base_url)
        await wait_until(lambda: server.connections == 0)


async def test_endless_informational_responses_are_an_error() -> None:
    """A server can send only a few responses before the final one."""
    async with TcpServer(flooding(b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")) as server:
        with pytest.raises(httpx2.RemoteProtocolError, match="more than 20 informational responses"):
            await post(transport_of(), server.base_url)


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_connection_that_the_server_has_closed_for_writing_is_not_used(is_encrypted: bool) -> None:
    """A connection that has ended in one direction carries no further request; over TLS, with or without its alert."""
    ended = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        if is_encrypted:
            writer.transport.abort()
        else:
            writer.write_eof()
        ended += 1
        await reader.read()

    transport = transport_of()
    async with TcpServer(talk, ssl=server_tls_context(LOOPBACK) if is_encrypted else None) as server:
        for count in (1, 2):
            assert 200 == (await post(transport, server.base_url)).status_code
            await wait_until(lambda count=count: ended == count)  # type: ignore[misc]
        await transport.aclose()


@pytest.mark.parametrize(
    "answer", [OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), OK.replace(b"1.1", b"1.0")]
)
async def test_connection_that_the_response_closes_is_closed(answer: bytes) -> None:
    """After ``Connection: close`` and HTTP/1.0 the connection is closed, also if the server leaves it open."""
    transport = transport_of()
    async with TcpServer(answering(answer)) as server:
        await post(transport, server.base_url)
        await wait_until(lambda: server.connections == 0)


async def test_request_over_ipv6() -> None:
    """A literal address of IPv6 is connected to, and stands in the header ``Host`` with its brackets."""
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_request(reader))
        writer.write(OK)

    async with TcpServer(talk, host="::1") as server:
        assert b"ok" == (await post(transport_of(max_idle=0), server.base_url)).content
    assert f"Host: [::1]:{server.port}".encode() in heads[0].split(b"\r\n")


def flooding(start: bytes, more: bytes) -> Talk:
    """Return a handler that responds with ``start``, and then with ``more`` again and again, up to 10 MB."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(start)
        block = more * (50_000 // len(more))
        for _ in range(200):
            writer.write(block)
            await writer.drain()

    return talk
