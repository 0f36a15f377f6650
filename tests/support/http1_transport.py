"""A transport of HTTP/1.1 for tests, and servers that speak with it."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from streamcanary.transport.http1.transport import Http1Transport
from support.servers.certificates import LOOPBACK

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def transport_of(**options: Any) -> Http1Transport:
    """Return a transport that trusts the certificate of the tests."""
    context = ssl.create_default_context(cafile=LOOPBACK)
    return Http1Transport(context, **{"max_idle": 2, "idle_timeout": 55.0, **options})


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Return the next request, with its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


def answering(*answers: bytes, then_close: bool = False) -> Talk:
    """Return a handler that sends ``answers``, one for each request."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()
        if not then_close:
            await reader.read()

    return talk


async def post(transport: httpx2.AsyncBaseTransport, url: str, **extensions: Any) -> httpx2.Response:
    """Send a request with a body, and return the response with its body."""
    request = httpx2.Request("POST", url, content=b"{}", headers={"x-key": "1"}, extensions=extensions)
    response = await transport.handle_async_request(request)
    try:
        await response.aread()
    finally:
        await response.aclose()
    return response
