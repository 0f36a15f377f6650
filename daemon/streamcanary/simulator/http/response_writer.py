"""The means to answer one request on its connection, well or badly."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from email.utils import formatdate

from msgspec import Struct

from streamcanary.simulator.api.base import Dialect
from streamcanary.simulator.http.connection import Connection
from streamcanary.simulator.http.http1 import render_chunk, render_head
from streamcanary.simulator.recorded_response import Sent
from streamcanary.simulator.timings import Pace

EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"


class Reply:
    """One answer in the making.

    ``now`` is wall time, seconds since the epoch. ``reusable`` says whether the connection may serve another request
    afterwards; whatever leaves the answer unfinished makes it false. If not ``delimited``, the answer tells no length
    and has no chunks: only the end of the connection ends it. ``sent`` remembers what went out.
    """

    def __init__(
        self,
        connection: Connection,
        pace: Pace,
        request_id: str,
        now: float,
        *,
        reusable: bool = False,
        delimited: bool = True,
    ) -> None:
        self._connection = connection
        self._delimited = delimited
        self.pace = pace
        self.request_id = request_id
        self.now = now
        self.reusable = reusable
        self.sent = Sent(id=request_id)

    async def whole(
        self, status: int, body: bytes = b"", content_type: str = JSON, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send a complete answer; without a body, it has no content type either."""
        await self.raw(self._head(status, content_type if body else None, len(body), headers) + body)

    async def announce(
        self, status: int, length: int, content_type: str = JSON, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send a head that promises ``length`` bytes, none of which it sends: the connection cannot be used again."""
        head = self._head(status, content_type, length, headers)
        self.reusable = False  # only now: a server that means to keep its promise does not say "close"
        await self.raw(head)

    async def start(self, content_type: str) -> None:
        """Send the head of an answer of unknown length, status 200."""
        await self.raw(self._head(200, content_type, None, ()))

    async def chunk(self, data: bytes) -> None:
        """Send one chunk."""
        await self.raw(self._framed(data))

    async def cut(self, data: bytes) -> None:
        """Send the first half of a chunk, and hang up."""
        framed = self._framed(data)
        await self.raw(framed[: len(framed) // 2])
        self.hang_up()

    async def finish(self) -> None:
        """End the answer cleanly: with the last chunk, or by ending the connection."""
        if self._delimited:
            await self.raw(render_chunk(b""))
        else:
            self.hang_up()

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are, and wait until the operating system has them.

        Raises:
            ConnectionError: if the other side has gone.
        """
        await self._connection.send(data)

    def hang_up(self) -> None:
        """Close the connection with a FIN, in the middle of whatever was being sent."""
        self.reusable = False
        self._connection.close()

    def reset(self) -> None:
        """Tear the connection down with a RST, as a crashed or restarted peer does."""
        self.reusable = False
        self._connection.reset()

    async def pause(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        await asyncio.sleep(seconds)

    async def hang(self) -> None:
        """Send nothing more, for as long as a hang lasts, then hang up."""
        await asyncio.sleep(self.pace.hang)
        self.hang_up()

    def retry_after(self) -> str:
        """Return the wait to ask for in whole seconds, as ``Retry-After`` has them (RFC 9110, 10.2.3)."""
        return str(math.ceil(self.pace.retry_after))

    def _framed(self, data: bytes) -> bytes:
        return render_chunk(data) if self._delimited else data

    def _head(
        self, status: int, content_type: str | None, length: int | None, headers: Iterable[tuple[str, str]]
    ) -> bytes:
        fields = [("date", formatdate(self.now, usegmt=True)), ("server", "streamcanary-simulator")]
        if content_type is not None:
            fields.append(("content-type", content_type))
        if self._delimited and length is None:
            fields.append(("transfer-encoding", "chunked"))
        elif self._delimited and status != 204:  # it has no body, and RFC 9110, 8.6 forbids to tell its length
            fields.append(("content-length", str(length)))
        fields += [("x-request-id", self.request_id), ("openai-version", "2020-10-01"), *headers]
        if not self.reusable:
            fields.append(("connection", "close"))
        self.sent.status, self.sent.headers = status, dict(fields)  # it goes out at once
        return render_head(status, fields, version="HTTP/1.1" if self._delimited else "HTTP/1.0")


Act = Callable[[Reply, Dialect], Awaitable[None]]
"""Plays one behaviour: answers on the :class:`Reply` what the :class:`Dialect` says, or something else."""


class Behaviour(Struct, frozen=True):
    """One row of the registry: what is done, and what a person sees of it."""

    act: Act
    says: str
