"""A TCP connection as a stream of bytes: what asyncio receives is kept until it is read, up to a limit."""

import asyncio
import select
from collections import deque
from contextlib import suppress
from typing import Any, Final, Protocol, cast

import httpx2

MAX_READ: Final = 16 << 10
"""Bytes that one read returns at most. A response of the smallest chunks takes some 20 µs for six bytes to parse."""
_MAX_UNREAD: Final = 256 << 10  # bytes after which the connection is not read until they are
_EXTRA_INFO: Final = {"socket": "socket", "client_addr": "sockname", "server_addr": "peername"}


class Stream(Protocol):
    """A connection, with or without TLS."""

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as the extension of a request says
        """Return bytes, at most :data:`MAX_READ`; none at the end."""
        ...

    async def write(self, data: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send ``data``."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...

    async def aclose(self) -> None:
        """Close the connection at once, and wait for that."""
        ...

    def is_silent(self) -> bool:
        """Return whether the connection is open, and nothing has arrived: another request can be sent."""
        ...

    def get_extra_info(self, info: str) -> Any:
        """Return ``ssl_object``, ``socket``, ``client_addr`` or ``server_addr``; ``None`` if there is none."""
        ...


class ByteStream(asyncio.Protocol):
    """A TCP connection. One task reads at a time, and one writes. Timeouts are in seconds, ``None`` for no limit."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received: deque[bytes] = deque()
        self._unread = 0  # bytes
        self._is_paused = False
        self._has_ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._is_full = False

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - see Stream
        """Return what has arrived, or wait for it. Other tasks run first, also if something has arrived already.

        Raises:
            httpx2.ReadError: if the connection is lost.
            httpx2.ReadTimeout: if nothing arrives in time.
        """
        if self._received:
            await asyncio.sleep(0)  # what is left may take long to parse
        elif not self._has_ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await _wait(self._reader, timeout, httpx2.ReadTimeout)
            finally:
                self._reader = None
        if self._received:
            return self._take()
        if self._error is not None:
            raise httpx2.ReadError(str(self._error)) from self._error
        return b""

    async def write(self, data: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - see Stream
        """Send ``data``, or wait until most of it is sent.

        Raises:
            httpx2.WriteError: if the connection is lost or closed.
            httpx2.WriteTimeout: if it is not sent in time.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise httpx2.WriteError(str(self._error or "the connection is closed")) from self._error
        transport.write(data)
        if self._is_full:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await _wait(self._writer, timeout, httpx2.WriteTimeout)
            finally:
                self._writer = None
            if self._transport is None:
                raise httpx2.WriteError(str(self._error or "the connection is closed")) from self._error

    def abort(self) -> None:
        """Close the connection at once, without sending what is not sent yet."""
        if self._transport is not None:
            self._transport.abort()

    async def aclose(self) -> None:
        """Close the connection at once; its socket is closed afterwards."""
        if self._transport is not None:
            self._transport.abort()
            await asyncio.sleep(0)  # asyncio closes the socket in the next turn of the loop

    def is_silent(self) -> bool:
        """Return whether the connection is open and nothing has arrived, also not for a loop that is late."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._received or self._has_ended:
            return False
        poll = select.poll()
        with suppress(OSError, ValueError):
            poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
            return not poll.poll(0)
        return False

    def get_extra_info(self, info: str) -> Any:
        """Return ``socket``, ``client_addr`` or ``server_addr`` of an open connection, ``None`` for anything else."""
        name = _EXTRA_INFO.get(info)
        return None if name is None or self._transport is None else self._transport.get_extra_info(name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection; asyncio calls this, and the methods below."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep ``data`` until it is read."""
        self._received.append(data)
        self._unread += len(data)
        if self._unread > _MAX_UNREAD and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        """Handle the end of what is received; asyncio then closes the connection."""
        self._has_ended = True
        _wake(self._reader)

    def pause_writing(self) -> None:
        """Let writers wait."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Let writers continue."""
        self._is_full = False
        _wake(self._writer)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what waits for the connection, which is closed."""
        self._transport = None
        self._has_ended, self._error = True, exc
        _wake(self._reader)
        _wake(self._writer)

    def _take(self) -> bytes:
        data = self._received.popleft()
        if len(data) > MAX_READ:
            self._received.appendleft(data[MAX_READ:])
            data = data[:MAX_READ]
        self._unread -= len(data)
        if self._is_paused and self._unread <= _MAX_UNREAD // 2 and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data


async def _wait(
    future: "asyncio.Future[None]",
    timeout: float | None,  # noqa: ASYNC109 - see Stream
    error: type[httpx2.TimeoutException],
) -> None:
    if timeout is None:
        await future
        return
    try:
        async with asyncio.timeout(timeout):
            await future
    except TimeoutError as expired:
        raise error(str(expired)) from expired


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
