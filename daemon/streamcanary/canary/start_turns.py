"""Lets runs that are due at the same time start one after another.

Each start takes the event loop some tenths of a millisecond. Between two of them the loop handles what has arrived for
the others, so that a response is read, and timed, when it is there and not after the last start.
"""

import asyncio
from collections import deque


class StartTurns:
    """Gives those who wait their turn in order, one in each turn of the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next: asyncio.Handle | None = None

    async def take(self) -> None:
        """Wait for a turn. One that is cancelled meanwhile delays no other."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if self._next is None:
            self._next = loop.call_soon(self._give)
        await turn

    def _give(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # cancelled otherwise
                turn.set_result(None)
                break
        self._next = asyncio.get_running_loop().call_soon(self._give) if self._waiting else None
