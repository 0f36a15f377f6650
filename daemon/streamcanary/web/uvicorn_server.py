"""uvicorn inside a loop that is not its own: no signal handlers, no logging set up, no ``sys.exit``, and bounded."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
"""At once; a further one is closed. A connection has one request at a time, so that this bounds those, too."""
REQUEST_TIMEOUT = 10.0
"""Seconds from the opening of a connection, or from the last answer on it, to the next answer."""

_MAX_HEAD_BYTES = 8 * 1024  # bytes of request line and headers
_KEEP_ALIVE_TIMEOUT = 5  # seconds that a connection is kept after an answer
_SHUTDOWN_TIMEOUT = 1  # seconds that requests may take when it stops
_RESOLVE_TIMEOUT = 5.0  # seconds to look up a host


async def bind_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to ``host`` and ``port``; port 0 takes any free one.

    Raises:
        OSError: if the host is not known or not ours, or the port is taken or not allowed.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_RESOLVE_TIMEOUT):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    listener = socket.create_server(address[:2], family=family, backlog=MAX_CONNECTIONS, dualstack_ipv6=both)
    listener.setblocking(False)  # noqa: FBT003 - the standard library's
    return listener


class UvicornServer:
    """Serves ``application`` on ``listener`` for as long as it is entered, and then closes it."""

    def __init__(self, application: Starlette, listener: socket.socket) -> None:
        config = Config(
            application,
            http=_TimeoutProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # the rest is about what strangers send
            access_log=False,
            workers=1,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_TIMEOUT,
            timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        )
        self._listener = listener
        self._server = _ServerWithoutSignals(config)
        self._task: asyncio.Task[None] | None = None
        host, port, *_ = listener.getsockname()
        self.address: tuple[str, int] = (host, port)

    async def __aenter__(self) -> Self:
        """Serve from now on; the first request can be taken."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="web")
        try:
            while not (self._server.started or self._task.done()):  # noqa: ASYNC110 - uvicorn offers no event
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self._server.should_exit = True
            raise
        if self._task.done():
            await self._task
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take no more requests, let running ones end within a second, and close everything."""
        self._server.should_exit = True
        if self._task:
            await asyncio.shield(self._task)  # who is cancelled here does not wait; the sockets are closed all the same


class _ServerWithoutSignals(Server):
    """Leaves the signals to whoever owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _TimeoutProtocol(H11Protocol):
    """Ends a connection that gets nowhere: uvicorn itself would wait for ever for the first request on it.

    Connections that say nothing, or drip, would else add up to the limit, and the kubelet would be refused ``/livez``.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._restart_timeout()

    def on_response_complete(self) -> None:
        self._restart_timeout()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _restart_timeout(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT, self.transport.abort)
