"""The means to answer one request on its socket, well or badly."""

import asyncio
import math
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from email.utils import formatdate

from msgspec import Struct

from streamcanary.simulator.completion import Completion
from streamcanary.simulator.http1 import render_chunk, render_head
from streamcanary.simulator.pace import Pace

EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s. Closing then sends RST (socket(7))


class Reply:
    """One answer in the making.

    ``now`` is wall time, seconds since the epoch. ``reusable`` says whether the connection may serve another request
    afterwards; whatever leaves the answer unfinished makes it false.
    """

    def __init__(
        self, writer: asyncio.StreamWriter, pace: Pace, request_id: str, now: float, *, reusable: bool
    ) -> None:
        self._writer = writer
        self.pace = pace
        self.request_id = request_id
        self.now = now
        self.reusable = reusable

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
        """Send the head of a chunked answer, status 200."""
        await self.raw(self._head(200, content_type, None, ()))

    async def chunk(self, data: bytes) -> None:
        """Send one chunk."""
        await self.raw(render_chunk(data))

    async def finish(self) -> None:
        """Send the last chunk, which ends the answer cleanly."""
        await self.raw(b"0\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are, and wait until the operating system has them.

        Raises:
            ConnectionError: if the other side has gone.
        """
        self._writer.write(data)
        await self._writer.drain()

    def hang_up(self) -> None:
        """Close the connection with a FIN, in the middle of whatever was being sent."""
        self.reusable = False
        self._writer.close()

    def reset(self) -> None:
        """Tear the connection down with a RST, as a crashed or restarted peer does."""
        self.reusable = False
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()

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

    def _head(
        self, status: int, content_type: str | None, length: int | None, headers: Iterable[tuple[str, str]]
    ) -> bytes:
        fields = [("date", formatdate(self.now, usegmt=True)), ("server", "streamcanary-simulator")]
        if content_type is not None:
            fields.append(("content-type", content_type))
        if length is None:
            fields.append(("transfer-encoding", "chunked"))
        elif status != 204:  # it has no body, and RFC 9110, 8.6 forbids to tell its length
            fields.append(("content-length", str(length)))
        fields += [("x-request-id", self.request_id), ("openai-version", "2020-10-01"), *headers]
        if not self.reusable:
            fields.append(("connection", "close"))
        return render_head(status, fields)


Act = Callable[[Reply, Completion], Awaitable[None]]
"""Plays one behaviour: answers on the :class:`Reply` what the :class:`Completion` says, or something else."""


class Behaviour(Struct, frozen=True):
    """One row of the registry: what is done, and what a person sees of it."""

    act: Act
    says: str
