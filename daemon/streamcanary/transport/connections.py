"""HTTP transports of canaries: a connection for each request, or a pool of connections that are reused."""

import ssl
from typing import Literal

import httpx2

from streamcanary.transport.proxy import Proxy
from streamcanary.transport.response_head import guard_unless_guarded

ConnectionMode = Literal["new", "reuse"]
"""Whether a request opens a connection of its own, or may use one that an earlier request left open."""

_IDLE_TIMEOUT = 55.0  # seconds; load balancers and servers commonly close idle connections after 60
_MAX_IDLE = 100
_CLOSED_AFTER_RESPONSE = "streamcanary.closed_after_response"  # an extension of a response


def is_reusable(response: httpx2.Response) -> bool:
    """Return whether the connection of ``response`` can carry another request, once its body has been read."""
    connection = response.headers.get("connection", "").lower()
    return not response.extensions.get(_CLOSED_AFTER_RESPONSE) and "close" not in connection


def open_transport(
    tls_context: ssl.SSLContext, proxy: Proxy | None, connection: ConnectionMode
) -> httpx2.AsyncBaseTransport:
    """Return a transport with ``tls_context``, through ``proxy`` or directly. The environment is not read.

    The number of connections is not limited: the scheduler limits the number of runs.
    """
    http_proxy = None if proxy is None else httpx2.Proxy(proxy.url, auth=proxy.auth)
    if connection == "new":
        return NewConnectionTransport(tls_context, http_proxy)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=_MAX_IDLE, keepalive_expiry=_IDLE_TIMEOUT)
    return GuardedTransport(verify=tls_context, proxy=http_proxy, trust_env=False, limits=limits)


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """A pool of connections that bounds what a server can send before its final response."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``."""
        guard_unless_guarded(request)
        return await super().handle_async_request(request)


class NewConnectionTransport(httpx2.AsyncBaseTransport):
    """Opens a connection for each request, and closes it with the response.

    One pool that keeps no connection would do the same, but examines all open connections at each request and response.
    """

    def __init__(self, tls_context: ssl.SSLContext, proxy: httpx2.Proxy | None) -> None:
        self._tls_context = tls_context
        self._proxy = proxy

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``; closing the response closes its connection."""
        pool = GuardedTransport(
            verify=self._tls_context,
            proxy=self._proxy,
            trust_env=False,
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=0),
        )
        response = await pool.handle_async_request(request)
        response.extensions[_CLOSED_AFTER_RESPONSE] = True
        return response
