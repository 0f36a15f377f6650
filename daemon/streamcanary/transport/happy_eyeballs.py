"""Connects to a host with several addresses as RFC 8305 ("Happy Eyeballs") says."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

_NEXT_ADDRESS_DELAY: Final = 0.25  # seconds; section 8: "Connection Attempt Delay"
_MAX_ADDRESSES: Final = 20


class Closable(Protocol):
    """A connection that can be closed."""

    async def aclose(self) -> None:
        """Close it."""
        ...


Connection = TypeVar("Connection", bound=Closable)


def interleave(found: Sequence[tuple[int, str]]) -> list[str]:
    """Return the addresses of ``found``, pairs with their family, with the families in turn (section 4).

    The family of the first address stays the first, as the system prefers it. Over 20 addresses are left out.
    """
    queues = (
        deque(dict.fromkeys(address for family, address in found if family == found[0][0])),
        deque(dict.fromkeys(address for family, address in found if family != found[0][0])),
    )
    addresses: list[str] = []
    while any(queues) and len(addresses) < _MAX_ADDRESSES:
        addresses += [queue.popleft() for queue in queues if queue]
    return addresses


async def connect_first(
    addresses: Sequence[str],
    connect: Callable[[str], Coroutine[Any, Any, Connection]],
    *,
    delay: float = _NEXT_ADDRESS_DELAY,
) -> Connection:
    """Return the first connection to one of ``addresses``. Further ones are closed.

    The next address is tried when an attempt fails, or after ``delay`` seconds.

    Raises:
        ExceptionGroup: the errors of all addresses, if no attempt succeeds.
    """
    waiting, errors = deque(addresses), list[Exception]()
    pending: set[asyncio.Task[Connection]] = set()
    try:
        while waiting or pending:
            if waiting:
                pending.add(asyncio.create_task(connect(waiting.popleft())))
            done, _ = await asyncio.wait(
                pending, timeout=delay if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                pending.discard(task)
                if (error := task.exception()) is None:
                    return task.result()
                if not isinstance(error, Exception):
                    raise error
                errors.append(error)
    finally:
        await _close_all(pending)
    raise ExceptionGroup("no address accepts the connection", errors)


async def _close_all(connecting: Iterable[asyncio.Task[Connection]]) -> None:
    """End the attempts to connect, and close the connections of those that have succeeded meanwhile."""
    tasks = list(connecting)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, BaseException):
            await result.aclose()
