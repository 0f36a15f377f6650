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

MOST_CONNECTIONS = 64
"""At once; a further one is closed. A connection has one request at a time, so that this bounds those, too."""
LONGEST_REQUEST = 10.0
"""Seconds from the opening of a connection, or from the last answer on it, to the next answer."""

_LONGEST_HEAD = 8 * 1024  # bytes of request line and headers
_IDLE = 5  # seconds that a connection is kept after an answer
_DRAIN = 1  # seconds that requests may take when it stops
_START = 5.0  # seconds to look up a host


async def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to ``host`` and ``port``; port 0 takes any free one.

    Raises:
        OSError: if the host is not known or not ours, or the port is taken or not allowed.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_START):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    listener = socket.create_server(address[:2], family=family, backlog=MOST_CONNECTIONS, dualstack_ipv6=both)
    listener.setblocking(False)  # noqa: FBT003 - the standard library's
    return listener


class LoopServer:
    """Serves ``application`` on ``listener`` for as long as it is entered, and then closes it."""

    def __init__(self, application: Starlette, listener: socket.socket) -> None:
        config = Config(
            application,
            http=_Impatient,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # the rest is about what strangers send
            access_log=False,
            workers=1,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=_DRAIN,
            h11_max_incomplete_event_size=_LONGEST_HEAD,
        )
        self._listener = listener
        self._server = _Quiet(config)
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


class _Quiet(Server):
    """Leaves the signals to whoever owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Impatient(H11Protocol):
    """Ends a connection that gets nowhere: uvicorn itself would wait for ever for the first request on it.

    Connections that say nothing, or drip, would else add up to the limit, and the kubelet would be refused ``/livez``.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._rearm()

    def on_response_complete(self) -> None:
        self._rearm()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _rearm(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(LONGEST_REQUEST, self.transport.abort)
