"""The means to answer one request on its connection, well or badly."""

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


class ResponseWriter:
    """One answer in the making.

    ``now`` is wall time, seconds since the epoch. ``reusable`` says whether the connection may serve another request
    afterwards; whatever leaves the answer unfinished makes it false. If not ``delimited``, the answer tells no length
    and has no chunks: only the end of the connection ends it. ``sent`` remembers what went out.
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
        """Send a complete answer; without a body, it has no content type either."""
        await self.send_bytes(self._render_head(status, content_type if body else None, len(body), headers) + body)

    async def send_head(
        self, status: int, length: int, content_type: str = JSON, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send a head that promises ``length`` bytes, none of which it sends: the connection cannot be used again."""
        head = self._render_head(status, content_type, length, headers)
        self.is_reusable = False  # only now: a server that means to keep its promise does not say "close"
        await self.send_bytes(head)

    async def start_body(self, content_type: str) -> None:
        """Send the head of an answer of unknown length, status 200."""
        await self.send_bytes(self._render_head(200, content_type, None, ()))

    async def send_chunk(self, data: bytes) -> None:
        """Send one chunk."""
        await self.send_bytes(self._frame_chunk(data))

    async def send_half_chunk(self, data: bytes) -> None:
        """Send the first half of a chunk, and hang up."""
        framed = self._frame_chunk(data)
        await self.send_bytes(framed[: len(framed) // 2])
        self.close_connection()

    async def end_body(self) -> None:
        """End the answer cleanly: with the last chunk, or by ending the connection."""
        if self._is_delimited:
            await self.send_bytes(render_chunk(b""))
        else:
            self.close_connection()

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are, and wait until the operating system has them.

        Raises:
            ConnectionError: if the other side has gone.
        """
        await self._connection.send(data)

    def close_connection(self) -> None:
        """Close the connection with a FIN, in the middle of whatever was being sent."""
        self.is_reusable = False
        self._connection.close()

    def reset_connection(self) -> None:
        """Tear the connection down with a RST, as a crashed or restarted peer does."""
        self.is_reusable = False
        self._connection.reset()

    async def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        await asyncio.sleep(seconds)

    async def hang(self) -> None:
        """Send nothing more, for as long as a hang lasts, then hang up."""
        await asyncio.sleep(self.timings.hang)
        self.close_connection()

    def retry_after_seconds(self) -> str:
        """Return the wait to ask for in whole seconds, as ``Retry-After`` has them (RFC 9110, 10.2.3)."""
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
        elif self._is_delimited and status != 204:  # it has no body, and RFC 9110, 8.6 forbids to tell its length
            fields.append(("content-length", str(length)))
        fields += [("x-request-id", self.request_id), ("openai-version", "2020-10-01"), *headers]
        if not self.is_reusable:
            fields.append(("connection", "close"))
        self.recorded.status, self.recorded.headers = status, dict(fields)  # it goes out at once
        return render_head(status, fields, version="HTTP/1.1" if self._is_delimited else "HTTP/1.0")


Responder = Callable[[ResponseWriter, ApiResponse], Awaitable[None]]
"""Plays one behaviour: answers on the :class:`Reply` what the :class:`Dialect` says, or something else."""


class Behaviour(Struct, frozen=True):
    """One row of the registry: what is done, and what a person sees of it."""

    respond: Responder
    description: str
