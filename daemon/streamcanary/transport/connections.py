"""HTTP transports of canaries: a connection for each request, or connections that are reused."""

import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal

import httpx2

from streamcanary.transport.proxy import Proxy
from streamcanary.transport.response_head import guard_unless_guarded

ConnectionMode = Literal["new", "reuse"]
"""Whether a request opens a connection of its own, or may use one that an earlier request left open."""

_IDLE_TIMEOUT: Final = 55.0  # seconds; load balancers and servers commonly close idle connections after 60
_MAX_IDLE: Final = 100
_CLOSED_AFTER_RESPONSE = "streamcanary.closed_after_response"  # an extension of a response
CLOSES_AT_ONCE: Final = "streamcanary.closes_at_once"
"""An extension of a response that waits for nothing when it is closed."""


def is_reusable(response: httpx2.Response) -> bool:
    """Return whether the connection of ``response`` can carry another request, once its body has been read."""
    connection = response.headers.get("connection", "").lower()
    return not response.extensions.get(_CLOSED_AFTER_RESPONSE) and "close" not in connection


def closes_at_once(response: httpx2.Response) -> bool:
    """Return whether closing ``response`` waits for nothing, so that it cannot be cancelled."""
    return bool(response.extensions.get(CLOSES_AT_ONCE))


def open_transport(
    tls_context: ssl.SSLContext, proxy: Proxy | None, connection: ConnectionMode
) -> httpx2.AsyncBaseTransport:
    """Return a transport with ``tls_context``, through ``proxy`` or directly. The environment is not read.

    The number of connections is not limited: the scheduler limits the number of runs.
    """
    if connection == "new":
        return NewConnectionTransport(tls_context, proxy)
    if proxy is None:
        return _open_direct_transport(tls_context, max_idle=_MAX_IDLE)
    return ProxyTransport(tls_context, proxy, max_connections=None, max_idle=_MAX_IDLE)


def _open_direct_transport(tls_context: ssl.SSLContext, *, max_idle: int) -> httpx2.AsyncBaseTransport:
    # Imported here: commands that send no request need no parser of HTTP.
    from streamcanary.transport.http1.transport import Http1Transport

    return Http1Transport(tls_context, max_idle=max_idle, idle_timeout=_IDLE_TIMEOUT)


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """A pool of connections that bounds what a server can send before its final response."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``."""
        guard_unless_guarded(request)
        return await super().handle_async_request(request)


class ProxyTransport(GuardedTransport):
    """A pool of connections through ``proxy``. The ``trace`` of a request also shows the resolution of the host name.

    ``max_connections`` and ``max_idle`` limit the open connections, and those of them that no request uses.
    """

    def __init__(
        self, tls_context: ssl.SSLContext, proxy: Proxy, *, max_connections: int | None, max_idle: int
    ) -> None:
        # Imported here: this imports httpcore, which takes a tenth of a second, also where no request is sent.
        import httpcore2

        from streamcanary.transport.resolving_backend import ResolvingBackend

        settings: dict[str, Any] = {
            "ssl_context": tls_context,
            "max_connections": max_connections,
            "max_keepalive_connections": max_idle,
            "keepalive_expiry": _IDLE_TIMEOUT,
            "network_backend": ResolvingBackend(),
        }
        # In place of the constructor of httpx2, which has no parameter for the network backend.
        self._pool = httpcore2.AsyncHTTPProxy(proxy.url, proxy_auth=proxy.auth, **settings)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``."""
        guard_unless_guarded(request)
        from streamcanary.transport.resolving_backend import current_trace

        token = current_trace.set(request.extensions.get("trace"))
        try:
            return await super().handle_async_request(request)
        finally:
            current_trace.reset(token)


class NewConnectionTransport(httpx2.AsyncBaseTransport):
    """Opens a connection for each request, and closes it with the response."""

    def __init__(self, tls_context: ssl.SSLContext, proxy: Proxy | None) -> None:
        self._transport_for_request: Callable[[], httpx2.AsyncBaseTransport]
        if proxy is None:
            direct = _open_direct_transport(tls_context, max_idle=0)
            self._transport_for_request = lambda: direct
        else:
            # One pool that keeps no connection would do the same, but examines all of them at each request.
            self._transport_for_request = partial(ProxyTransport, tls_context, proxy, max_connections=1, max_idle=0)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``; closing the response closes its connection."""
        response = await self._transport_for_request().handle_async_request(request)
        response.extensions[_CLOSED_AFTER_RESPONSE] = True
        return response
