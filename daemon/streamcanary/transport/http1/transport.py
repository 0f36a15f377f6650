"""Sends requests without a proxy, each on a connection of its own, or on one that an earlier request left open."""

import ssl
import time
from collections.abc import Callable

import httpx2

from streamcanary.transport.http1.connecting import open_connection
from streamcanary.transport.http1.connection import Http1Connection
from streamcanary.transport.response_head import HeadGuard

_Origin = tuple[str, bytes, int | None]


class Http1Transport(httpx2.AsyncBaseTransport):
    """Keeps up to ``max_idle`` connections open, for ``idle_timeout`` seconds after a response; with 0, none.

    The number of connections in use is not limited. What a request needs does not depend on how many there are: the
    connection that was used last is the next, and only the ones that were not used for longest are examined. ``now``
    is the clock of ``idle_timeout``, in seconds.
    """

    def __init__(
        self,
        tls_context: ssl.SSLContext,
        *,
        max_idle: int,
        idle_timeout: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        tls_context.set_alpn_protocols(["http/1.1"])
        self._tls_context = tls_context
        self._max_idle = max_idle
        self._idle_timeout = idle_timeout
        self._now = now
        self._idle: dict[_Origin, list[Http1Connection]] = {}  # in the order of their last use
        self._is_closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``; see :func:`open_connection` and :meth:`Http1Connection.send` for the errors."""
        guard = HeadGuard.of(request)
        origin = (request.url.scheme, request.url.raw_host, request.url.port)
        connection = self._take_idle(origin) if self._idle else None
        if connection is None:
            stream = await open_connection(request, self._tls_context, guard.on_event)
            connection = Http1Connection(stream, lambda released: self._release(origin, released), self._now)
        return await connection.send(request, guard)

    async def aclose(self) -> None:
        """Close the connections that no request uses; the others are closed with their responses."""
        self._is_closed = True
        connections = [each for idle in self._idle.values() for each in idle]
        self._idle.clear()
        for connection in connections:
            await connection.aclose()

    def _take_idle(self, origin: _Origin) -> Http1Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_usable and not self._has_expired(connection):
                return connection
            connection.abort()
        return None

    def _release(self, origin: _Origin, connection: Http1Connection) -> None:
        if connection.idle_since is None:
            return
        if self._is_closed or self._max_idle == 0:
            connection.abort()
            return
        idle = self._idle.setdefault(origin, [])
        idle.append(connection)
        while len(idle) > self._max_idle or self._has_expired(idle[0]):
            idle.pop(0).abort()

    def _has_expired(self, connection: Http1Connection) -> bool:
        idle_since = connection.idle_since
        return idle_since is None or self._now() - idle_since > self._idle_timeout
