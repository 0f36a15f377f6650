"""A transport for a client that is open for months, while certificates and proxies change under it."""

import asyncio
import logging
import ssl
from collections.abc import Hashable

import httpx2

from streamcanary.transport.connection_settings import Way
from streamcanary.transport.proxy import Proxy, ProxyUnusable, proxy_for
from streamcanary.transport.tls import open_trust

_log = logging.getLogger(__name__)

_MOST = 8  # connection pools at a time; there is one for each proxy, and one without


class Renewing(httpx2.AsyncBaseTransport):
    """Takes every request along ``way``, and looks for each whether its files or its proxy have changed.

    ``whose`` says in messages what has this way. A proxy of the environment that cannot be used is logged once, and not
    used: what is sent this way matters more. A request raises ``TrustUnusable``, ``ProxyUnusable`` or
    ``SecretUnreadable`` if the way cannot be gone as it is configured, besides what ``httpx2`` raises.
    """

    def __init__(self, way: Way, whose: str) -> None:
        self._way = way
        self._whose = whose
        self._pools: dict[Hashable, httpx2.AsyncHTTPTransport] = {}
        self._replaced: list[httpx2.AsyncHTTPTransport] = []
        self._files: Hashable = None
        self._opening = asyncio.Lock()
        self._warned = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request`` along the way as it is now."""
        pool = await self._pool(request.url)
        return await pool.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        pools, self._pools, self._replaced = [*self._replaced, *self._pools.values()], {}, []
        for pool in pools:
            await pool.aclose()

    async def _pool(self, url: httpx2.URL) -> httpx2.AsyncHTTPTransport:
        proxy = self._proxy(url)
        encrypted = "https" in (url.scheme, proxy.scheme if proxy else "")
        async with self._opening:
            files = self._stamp()
            if files != self._files or len(self._pools) >= _MOST:
                await self._replace()
                self._files = files
            pool = self._pools.get((proxy, encrypted))
            if pool is None:
                pool = self._pools[proxy, encrypted] = await self._open(proxy, encrypted=encrypted)
            return pool

    async def _open(self, proxy: Proxy | None, *, encrypted: bool) -> httpx2.AsyncHTTPTransport:
        if encrypted or self._way.files:
            trust = await asyncio.to_thread(open_trust, self._way)  # reads files, in tens of milliseconds
        else:
            trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no TLS is spoken, so nobody need be trusted
        return httpx2.AsyncHTTPTransport(
            verify=trust,
            proxy=None if proxy is None else httpx2.Proxy(proxy.url, auth=proxy.auth),
            trust_env=False,
            # a connection that was idle for long may be dead, and what fails for it is late by a retry
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=20.0),
        )

    async def _replace(self) -> None:
        """Put the pools aside; those that were before have ended what they had under way."""
        ended, self._replaced, self._pools = self._replaced, list(self._pools.values()), {}
        for pool in ended:
            await pool.aclose()

    def _proxy(self, url: httpx2.URL) -> Proxy | None:
        try:
            return proxy_for(str(url), self._way.proxy, self._whose)
        except ProxyUnusable as error:
            if self._way.proxy is not None:
                raise
            if not self._warned:
                self._warned = True
                _log.error("%s; it is not used", error)
            return None

    def _stamp(self) -> Hashable:
        """Return what changes when a file of the way does."""
        stamps: list[tuple[int, int, int] | None] = []
        for file in self._way.files:
            try:
                status = file.stat()
            except (OSError, ValueError):
                stamps.append(None)
            else:
                stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(stamps)
