"""Lets runs that are due at the same time start one after another.

Each start takes the event loop some tenths of a millisecond. Between two of them the loop handles what has arrived for
the others, so that a response is read, and timed, when it is there and not after the last start.
"""

import asyncio
from collections import deque
from typing import Final

MAX_WAIT: Final = 0.25
"""Seconds that a start waits for those before it, at most."""


class StartTurns:
    """Gives those who wait their turn in order, one in each turn of the event loop.

    Those who have waited for ``max_wait`` seconds do not wait any more: a daemon that has more runs than it can make
    falls behind with all of its work, which is measured, and not with the starts alone.
    """

    def __init__(self, max_wait: float = MAX_WAIT) -> None:
        self._max_wait = max_wait
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()  # since when each waits, by the loop's clock
        self._next: asyncio.Handle | None = None

    async def take(self) -> None:
        """Wait for a turn. One that is cancelled meanwhile delays no other."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append((loop.time(), turn))
        if self._next is None:
            self._next = loop.call_soon(self._give)
        await turn

    def _give(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            since, turn = self._waiting.popleft()
            if not turn.done():  # cancelled otherwise
                turn.set_result(None)
                if loop.time() - since < self._max_wait:
                    break
        self._next = loop.call_soon(self._give) if self._waiting else None
