"""Reads the body of a request up to a limit, and discards the rest so that the response reaches the client.

Closing a connection with unread data resets it (RFC 9112, 9.6), and the client can lose the response.
"""

import asyncio
import contextlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

MAX_BODY_BYTES = 64 * 1024
"""The size limit of a body, in bytes."""

MAX_DRAINED_BYTES = 64 * 1024 * 1024
"""Bytes beyond the limit that are discarded before the connection is closed."""

_DRAIN_TIMEOUT = 5.0  # seconds


class BodyTooLarge(Exception):
    """The body has more than :data:`MAX_BODY_BYTES` bytes; ``has_more`` is whether a part is not received yet."""

    def __init__(self, *, has_more: bool) -> None:
        super().__init__(f"the body is larger than {MAX_BODY_BYTES} bytes")
        self.has_more = has_more


class EarlyResponse(Response):
    """A response that is sent before the whole request body is received; the rest of the body is discarded."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.body, response.status_code, {**response.headers, "connection": "close"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, and end it once the body is received or a limit is reached."""

        async def keep_open(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        await super().__call__(scope, receive, keep_open)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                await _drain(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def read_body(request: Request) -> bytes:
    """Return the body of ``request``; empty if the client has disconnected.

    Raises:
        BodyTooLarge: if it is larger than :data:`MAX_BODY_BYTES`. The rest is not read.
    """
    body, has_more = b"", True
    while has_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return b""
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(has_more=has_more)
    return body


async def _drain(receive: Receive) -> None:
    remaining_bytes, has_more = MAX_DRAINED_BYTES, True
    while has_more and remaining_bytes > 0:
        message = await receive()
        remaining_bytes -= len(message.get("body", b""))
        has_more = message.get("more_body", False)
