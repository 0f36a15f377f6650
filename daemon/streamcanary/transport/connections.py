"""HTTP transports of canaries: a connection for each request, or a pool of connections that are reused."""

import ssl
from typing import Literal

import httpx2

from streamcanary.transport.proxy import Proxy

ConnectionMode = Literal["new", "reuse"]
"""Whether a request opens a connection of its own, or may use one that an earlier request left open."""

_IDLE_TIMEOUT = 55.0  # seconds; load balancers and servers commonly close idle connections after 60
_MAX_IDLE = 100


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
    return httpx2.AsyncHTTPTransport(verify=tls_context, proxy=http_proxy, trust_env=False, limits=limits)


class NewConnectionTransport(httpx2.AsyncBaseTransport):
    """Opens a connection for each request, and closes it with the response.

    One pool that keeps no connection would do the same, but examines all open connections at each request and response.
    """

    def __init__(self, tls_context: ssl.SSLContext, proxy: httpx2.Proxy | None) -> None:
        self._tls_context = tls_context
        self._proxy = proxy

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``; closing the response closes its connection."""
        pool = httpx2.AsyncHTTPTransport(
            verify=self._tls_context,
            proxy=self._proxy,
            trust_env=False,
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=0),
        )
        return await pool.handle_async_request(request)
