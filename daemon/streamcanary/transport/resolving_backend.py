"""Network connections to proxies: the host name is resolved in a step of its own, which the trace of a request shows.

The network backend of httpcore resolves and connects in one call, without events of the resolution.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeAlias

import httpcore2

from streamcanary.transport.happy_eyeballs import connect_first
from streamcanary.transport.resolution import is_address, resolve

TraceExtension: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[None]]
SocketOption: TypeAlias = Any  # of httpcore, which does not export the type

current_trace: ContextVar[TraceExtension | None] = ContextVar("streamcanary.current_trace", default=None)
"""The ``trace`` extension of the request that this task sends: httpcore does not pass the request to the backend."""


class ResolvingBackend(httpcore2.AsyncNetworkBackend):
    """The network backend of httpcore for asyncio, with the resolution of names as a traced step."""

    def __init__(self) -> None:
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to ``host``, a name or an address, within ``timeout`` seconds, which include the resolution.

        Raises:
            httpcore2.ConnectTimeout: if it takes longer.
            httpcore2.ConnectError: if the name cannot be resolved, or no address accepts the connection.
        """

        async def connect(address: str) -> httpcore2.AsyncNetworkStream:
            return await self._backend.connect_tcp(address, port, None, local_address, socket_options)

        try:
            async with asyncio.timeout(timeout):
                addresses = [host] if is_address(host) else await _resolve(host, port)
                return await connect(addresses[0]) if len(addresses) == 1 else await connect_first(addresses, connect)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except ExceptionGroup as errors:
            raise httpcore2.ConnectError("All connection attempts failed") from errors

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the Unix socket ``path``."""
        return await self._backend.connect_unix_socket(path, timeout, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


async def _resolve(host: str, port: int) -> list[str]:
    try:
        return await resolve(host, port, current_trace.get() or _no_trace)
    except OSError as error:
        raise httpcore2.ConnectError(str(error)) from error


async def _no_trace(name: str, info: dict[str, Any]) -> None:
    """Do nothing; for a request without the extension."""
