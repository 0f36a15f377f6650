"""An HTTP transport that reloads certificates, keys and proxies when they change."""

import asyncio
import logging
from collections.abc import Hashable

import httpx2

from streamcanary.transport.connection_settings import ConnectionSettings
from streamcanary.transport.connections import GuardedTransport
from streamcanary.transport.proxy import InvalidProxyUrl, Proxy, proxy_for
from streamcanary.transport.tls import file_fingerprint, tls_context_for

_log = logging.getLogger(__name__)

_MAX_POOLS = 8  # connection pools at a time: one for each proxy, and one for direct connections


class ReloadingTransport(httpx2.AsyncBaseTransport):
    """Sends requests with ``settings``; checks for each request whether files or proxy have changed.

    ``owner`` is the user of the connection, for messages. An invalid proxy URL in the environment is logged once and
    ignored, so that notifications are still sent. Besides the errors of ``httpx2``, a request raises ``TlsFileError``,
    ``InvalidProxyUrl`` or ``SecretUnreadable`` if the settings cannot be used.
    """

    def __init__(self, settings: ConnectionSettings, owner: str) -> None:
        self._settings = settings
        self._owner = owner
        self._pools: dict[Hashable, GuardedTransport] = {}
        self._retired_pools: list[GuardedTransport] = []
        self._fingerprint: Hashable = None
        self._pool_lock = asyncio.Lock()
        self._has_warned = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request`` with the current files and proxy."""
        pool = await self._pool(request.url)
        return await pool.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        pools, self._pools, self._retired_pools = [*self._retired_pools, *self._pools.values()], {}, []
        for pool in pools:
            await pool.aclose()

    async def _pool(self, url: httpx2.URL) -> GuardedTransport:
        proxy = self._proxy(url)
        encrypted = "https" in (url.scheme, proxy.scheme if proxy else "")
        async with self._pool_lock:
            files = file_fingerprint(self._settings.tls_files)
            if files != self._fingerprint or len(self._pools) >= _MAX_POOLS:
                await self._retire_pools()
                self._fingerprint = files
            pool = self._pools.get((proxy, encrypted))
            if pool is None:
                pool = self._pools[proxy, encrypted] = await self._open_pool(proxy, encrypted=encrypted)
            return pool

    async def _open_pool(self, proxy: Proxy | None, *, encrypted: bool) -> GuardedTransport:
        # In a thread: it reads files, which takes tens of milliseconds.
        tls_context = await asyncio.to_thread(tls_context_for, self._settings, is_encrypted=encrypted)
        return GuardedTransport(
            verify=tls_context,
            proxy=None if proxy is None else httpx2.Proxy(proxy.url, auth=proxy.auth),
            trust_env=False,
            # A connection that was idle for long may be dead; a request on it fails and is delayed by a retry.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=20.0),
        )

    async def _retire_pools(self) -> None:
        """Retire the current pools, and close those retired earlier, whose requests have ended."""
        finished, self._retired_pools, self._pools = self._retired_pools, list(self._pools.values()), {}
        for pool in finished:
            await pool.aclose()

    def _proxy(self, url: httpx2.URL) -> Proxy | None:
        try:
            return proxy_for(str(url), self._settings.proxy, self._owner)
        except InvalidProxyUrl as error:
            if self._settings.proxy is not None:
                raise
            if not self._has_warned:
                self._has_warned = True
                _log.error("invalid proxy ignored", extra={"owner": self._owner, "error": str(error)})
            return None
