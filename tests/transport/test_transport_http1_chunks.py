"""Bodies in chunks that arrive together."""

import asyncio

import httpx2
import pytest

from support.http1_transport import answering, read_request, transport_of
from support.servers.tcp import TcpServer


def chunked(*chunks: bytes) -> bytes:
    """Return a response in ``chunks``."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


async def test_chunks_that_arrive_together_are_passed_on_together() -> None:
    """Chunks of one read from the network are one piece, up to eight of them; those of a later read are another."""
    is_read = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        first, rest = chunked(*(b"%d" % number for number in range(12)))[:-5], b"0\r\n\r\n"
        writer.write(first)
        await is_read.wait()
        writer.write(b"1\r\nx\r\n" + rest)

    async with TcpServer(talk) as server:
        response = await transport_of().handle_async_request(httpx2.Request("POST", server.base_url, content=b"{}"))
        pieces = []
        async for piece in response.aiter_raw():
            pieces.append(piece)
            if b"11" in piece:
                is_read.set()
    assert [b"01234567", b"891011", b"x"] == pieces


@pytest.mark.parametrize("broken", [b"zz\r\n", b"3\r\nabcd"])
async def test_error_after_chunks_follows_them(broken: bytes) -> None:
    """What has arrived before an error of the same read is passed on, and then the error is raised."""
    async with TcpServer(answering(chunked(b"one", b"two")[:-5] + broken)) as server:
        response = await transport_of().handle_async_request(httpx2.Request("POST", server.base_url, content=b"{}"))
        body = response.aiter_raw()
        assert b"onetwo" == (await anext(body)).removesuffix(b"abc")
        with pytest.raises(httpx2.RemoteProtocolError):
            await anext(body)


async def test_connection_is_reused_after_a_body_in_one_read() -> None:
    """The end of a body that arrived with its last chunk is noticed, whether it is read or not."""
    async with TcpServer(answering(*[chunked(b"one", b"two")] * 3)) as server:
        transport = transport_of()
        request = httpx2.Request("POST", server.base_url, content=b"{}")
        unread = await transport.handle_async_request(request)
        assert b"onetwo" == await anext(unread.aiter_raw())
        await unread.aclose()
        for _ in range(2):
            assert b"onetwo" == await (await transport.handle_async_request(request)).aread()
        assert 1 == server.connections
        await transport.aclose()
