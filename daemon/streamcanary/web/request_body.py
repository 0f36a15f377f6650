"""The body of a request: read up to a bound, and what is beyond it thrown away, so that an answer can be given.

A connection that is closed on what has arrived and was not read is reset (RFC 9112, 9.6), and with it goes the answer.
"""

import asyncio
import contextlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

MAX_BODY_BYTES = 64 * 1024
"""Bytes of a body that are read."""

MAX_DRAINED_BYTES = 64 * 1024 * 1024
"""Bytes beyond these that are thrown away before the connection is closed all the same."""

_DRAIN_TIMEOUT = 5.0  # seconds


class BodyTooLarge(Exception):
    """The body has more than :data:`LONGEST_BODY` bytes; ``more`` of them may be on their way."""

    def __init__(self, *, has_more: bool) -> None:
        super().__init__(f"the body is larger than {MAX_BODY_BYTES} bytes")
        self.has_more = has_more


class EarlyResponse(Response):
    """The same as another answer, but given before the whole body has come: the rest of it is thrown away."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.body, response.status_code, {**response.headers, "connection": "close"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and end the answer once the body is through, or one of the bounds is reached."""

        async def keep_open(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        await super().__call__(scope, receive, keep_open)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                await _drain(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def read_body(request: Request) -> bytes:
    """Return the body of ``request``, or nothing if its sender has gone.

    Raises:
        TooLarge: if it is larger than :data:`LONGEST_BODY`. What comes after is not read.
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
