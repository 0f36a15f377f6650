"""Runs uvicorn in the event loop of the daemon: without signal handlers, logging setup or ``sys.exit``, and bounded."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from starlette.types import ASGIApp
from uvicorn import Config, Server

from streamcanary.web.bounded_protocol import KEEP_ALIVE_TIMEOUT, BoundedProtocol
from streamcanary.web.connection_table import ConnectionTable

MAX_CONNECTIONS = 160
"""Connections at once. This bounds requests, too, because a connection has one at a time."""
MAX_CONNECTIONS_PER_PEER = 128
"""Connections of one client address at once: all open pages may be behind one proxy, and each reads events."""

_MAX_HEAD_BYTES = 8 * 1024  # bytes of request line and headers
_SHUTDOWN_TIMEOUT = 1  # seconds for running requests at shutdown
_RESOLVE_TIMEOUT = 5.0  # seconds to resolve a host name


async def bind_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to ``host`` and ``port``; port 0 selects any free port.

    Raises:
        OSError: if the host is unknown or not an address of this machine, or the port is in use or not permitted.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_RESOLVE_TIMEOUT):
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = addresses[0]
    is_dualstack = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    listener = socket.create_server(address[:2], family=family, backlog=MAX_CONNECTIONS, dualstack_ipv6=is_dualstack)
    # Connections inherit it. asyncio does not set it for them: a response would wait 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)  # noqa: FBT003 - a signature of the standard library
    return listener


class UvicornServer:
    """Serves ``application`` on ``listener`` while the context is entered, and closes the listener on exit."""

    def __init__(self, application: ASGIApp, listener: socket.socket) -> None:
        class LimitedProtocol(BoundedProtocol):
            table = ConnectionTable(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER)

        config = Config(
            application,
            http=LimitedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # lower levels report invalid requests of clients
            access_log=False,
            workers=1,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_TIMEOUT,
            timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        )
        self._listener = listener
        self._server = _ServerWithoutSignals(config)
        self._task: asyncio.Task[None] | None = None
        host, port, *_ = listener.getsockname()
        self.address: tuple[str, int] = (host, port)

    async def __aenter__(self) -> Self:
        """Start serving; return once requests are accepted."""
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
        """Stop accepting requests, wait up to a second for running ones, and close all connections."""
        self._server.should_exit = True
        if self._task:
            await asyncio.shield(self._task)  # if cancelled here, the sockets are still closed


class _ServerWithoutSignals(Server):
    """Installs no signal handlers: the daemon owns the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
