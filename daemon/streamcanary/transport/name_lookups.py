"""Looks up host names in threads of their own, so that a name server that does not answer delays no other host.

The event loop shares one small pool of threads for all lookups, and an abandoned lookup keeps its thread until the
resolver gives up, for 5 to 30 seconds. A few calls to a host whose name server is dead would use up all threads, and
then no other host could be connected to.
"""

import asyncio
import errno
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Self

MAX_PENDING: Final = 256
"""Lookups of different names at once; each has a thread."""

_Key = tuple[str | bytes | None, str | bytes | int | None, int, int, int, int]


class NameLookups:
    """The lookups of one event loop: one at a time for each name. ``with``: the loop uses them."""

    def __init__(self, max_pending: int = MAX_PENDING) -> None:
        self._max_pending = max_pending
        self._executor = ThreadPoolExecutor(max_pending, "streamcanary lookup")
        self._pending: dict[_Key, asyncio.Future[list[Any]]] = {}

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop.getaddrinfo = self.getaddrinfo  # type: ignore[method-assign]
        return self

    def __exit__(self, *exc: object) -> None:
        vars(self._loop).pop("getaddrinfo", None)
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the names of the method of the loop
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Return the addresses of ``host``, as ``loop.getaddrinfo`` does. A caller that is cancelled ends no lookup.

        Raises:
            socket.gaierror: if the lookup fails.
            OSError: if it needs more threads or file descriptors than this process may have; at once, without a wait.
        """
        key: _Key = (host, port, family, type, proto, flags)
        lookup = self._pending.get(key)
        if lookup is None:
            if len(self._pending) >= self._max_pending:
                raise OSError(errno.ENOBUFS, f"{len(self._pending)} name lookups have not been answered")
            lookup = self._loop.run_in_executor(self._executor, partial(_look_up, *key))
            self._pending[key] = lookup
            lookup.add_done_callback(partial(self._answered, key))
        return await asyncio.shield(lookup)

    def _answered(self, key: _Key, lookup: "asyncio.Future[list[Any]]") -> None:
        del self._pending[key]
        if not lookup.cancelled():
            lookup.exception()  # all callers may have left


def _look_up(*key: Any) -> list[Any]:
    try:
        return socket.getaddrinfo(*key)
    except socket.gaierror as error:
        # Without a free file descriptor the resolver reports some other reason.
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as shortage:
            raise OSError(shortage.errno, shortage.strerror) from error
        raise
