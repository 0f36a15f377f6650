"""Observes how a body is read: in how many pieces, and whether other tasks run between them."""

import asyncio

import h11
import pytest


class Turns:
    """Counts the pieces of bodies that the transport reads, and the most of them in one turn of the event loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pieces = self.most_in_a_turn = self._in_this_turn = 0
        next_event = h11.Connection.next_event

        def count(connection: h11.Connection) -> object:
            event = next_event(connection)
            if type(event) is h11.Data:
                self._count()
            return event

        monkeypatch.setattr(h11.Connection, "next_event", count)

    def _count(self) -> None:
        self.pieces, self._in_this_turn = self.pieces + 1, self._in_this_turn + 1
        self.most_in_a_turn = max(self.most_in_a_turn, self._in_this_turn)

    async def watch(self) -> None:
        """Run in each turn of the event loop."""
        while True:
            self._in_this_turn = 0
            await asyncio.sleep(0)
