"""Writes the response to one request on its connection, complete or broken."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from email.utils import formatdate

from msgspec import Struct

from streamcanary.simulator.api.base import ApiResponse
from streamcanary.simulator.http.connection import Connection
from streamcanary.simulator.http.http1 import render_chunk, render_head
from streamcanary.simulator.recorded_response import RecordedResponse
from streamcanary.simulator.timings import Timings

EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"
RATE_LIMIT_HEADERS = (
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-limit-tokens", "200000"),
    ("x-ratelimit-remaining-tokens", "199500"),
    ("x-ratelimit-reset-tokens", "150ms"),
)
"""The rate limits of an ordinary response."""


class ResponseWriter:
    """Writes one response.

    ``now`` is wall time, seconds since the epoch. ``is_reusable`` is whether the connection may serve another request
    afterwards; an incomplete response sets it to false. With ``is_delimited=False``, the response has no length and no
    chunks: the end of the connection ends it. ``recorded`` is the record of the sent head.
    """

    def __init__(
        self,
        connection: Connection,
        timings: Timings,
        request_id: str,
        now: float,
        *,
        is_reusable: bool = False,
        is_delimited: bool = True,
    ) -> None:
        self._connection = connection
        self._is_delimited = is_delimited
        self.timings = timings
        self.request_id = request_id
        self.now = now
        self.is_reusable = is_reusable
        self.recorded = RecordedResponse(id=request_id)

    async def send_response(
        self, status: int, body: bytes = b"", content_type: str = JSON, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send a complete response; without a body, it has no content type."""
        await self.send_bytes(self._render_head(status, content_type if body else None, len(body), headers) + body)

    async def send_head(
        self, status: int, length: int, content_type: str = JSON, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send a head with a Content-Length of ``length`` but no body: the connection cannot be reused."""
        head = self._render_head(status, content_type, length, headers)
        self.is_reusable = False  # after rendering: the head must not contain "Connection: close"
        await self.send_bytes(head)

    async def start_body(self, content_type: str, headers: Iterable[tuple[str, str]] = RATE_LIMIT_HEADERS) -> None:
        """Send the head of a response of unknown length, with status 200."""
        await self.send_bytes(self._render_head(200, content_type, None, headers))

    async def send_chunk(self, data: bytes) -> None:
        """Send one chunk."""
        await self.send_bytes(self._frame_chunk(data))

    async def send_half_chunk(self, data: bytes) -> None:
        """Send the first half of a chunk, and close the connection."""
        framed = self._frame_chunk(data)
        await self.send_bytes(framed[: len(framed) // 2])
        self.close_connection()

    async def end_body(self) -> None:
        """End the response cleanly: with the last chunk, or by closing the connection."""
        if self._is_delimited:
            await self.send_bytes(render_chunk(b""))
        else:
            self.close_connection()

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are, and wait until the operating system has them.

        Raises:
            ConnectionError: if the client has disconnected.
        """
        await self._connection.send(data)

    def close_connection(self) -> None:
        """Close the connection with a FIN, even if the response is incomplete."""
        self.is_reusable = False
        self._connection.close()

    def reset_connection(self) -> None:
        """Tear the connection down with a RST, as a crashed or restarted peer does."""
        self.is_reusable = False
        self._connection.reset()

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``."""
        await asyncio.sleep(seconds)

    async def hang(self) -> None:
        """Send nothing for the duration of a hang, then close the connection."""
        await asyncio.sleep(self.timings.hang)
        self.close_connection()

    def retry_after_seconds(self) -> str:
        """Return the retry delay in whole seconds, as the value of ``Retry-After`` (RFC 9110, 10.2.3)."""
        return str(math.ceil(self.timings.retry_after))

    def _frame_chunk(self, data: bytes) -> bytes:
        return render_chunk(data) if self._is_delimited else data

    def _render_head(
        self, status: int, content_type: str | None, length: int | None, headers: Iterable[tuple[str, str]]
    ) -> bytes:
        fields = [("date", formatdate(self.now, usegmt=True)), ("server", "streamcanary-simulator")]
        if content_type is not None:
            fields.append(("content-type", content_type))
        if self._is_delimited and length is None:
            fields.append(("transfer-encoding", "chunked"))
        elif self._is_delimited and status != 204:  # no body, and RFC 9110, 8.6 forbids a Content-Length
            fields.append(("content-length", str(length)))
        fields += [("x-request-id", self.request_id), ("openai-version", "2020-10-01"), *headers]
        if not self.is_reusable:
            fields.append(("connection", "close"))
        self.recorded.status, self.recorded.headers = status, dict(fields)  # the head is sent directly after this
        return render_head(status, fields, version="HTTP/1.1" if self._is_delimited else "HTTP/1.0")


Responder = Callable[[ResponseWriter, ApiResponse], Awaitable[None]]
"""Plays one behaviour: writes the :class:`ApiResponse`, or something else, to the :class:`ResponseWriter`."""


class Behaviour(Struct, frozen=True):
    """One behaviour: the responder that plays it, and its description."""

    respond: Responder
    description: str
