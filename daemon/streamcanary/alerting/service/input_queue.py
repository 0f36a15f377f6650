"""The queue of inputs of the alerting service."""

import asyncio
import logging
from collections import deque
from typing import Final, NamedTuple

from streamcanary.alerting.engine.inputs import Input, RunFinished
from streamcanary.alerting.service.setup import Setup

_log = logging.getLogger(__name__)

MAX_QUEUED_OUTCOMES: Final = 10_000
"""How many outcomes may wait in the queue; further ones are dropped and counted."""


class QueuedInput(NamedTuple):
    """An input of the engine. ``done`` is set after the step; ``setup`` replaces the current one before it.

    ``id`` is that of a pending input in a shared database, which is deleted with the commit of the step. Without an
    ``input``, nothing else is done with it.
    """

    input: Input | None
    done: asyncio.Future[None] | None = None
    setup: Setup | None = None
    id: int | None = None


class InputQueue:
    """Inputs in the order of their evaluation. ``wake`` is set when there is another one."""

    def __init__(self) -> None:
        self._entries: deque[QueuedInput] = deque()
        self._outcomes = 0
        self.dropped_outcomes = 0
        self.wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: QueuedInput) -> None:
        """Add ``entry``."""
        self._entries.append(entry)
        self.wake.set()

    def put_outcome(self, run: RunFinished) -> bool:
        """Add ``run``; over :data:`MAX_QUEUED_OUTCOMES` it is dropped and logged. Return whether it was added."""
        if self._outcomes >= MAX_QUEUED_OUTCOMES:
            self.dropped_outcomes += 1
            if self.dropped_outcomes % 1000 == 1:
                _log.error("outcomes dropped: alerting queue is full", extra={"count": self.dropped_outcomes})
            return False
        self._outcomes += 1
        self.put(QueuedInput(run))
        return True

    def take(self, limit: int) -> list[QueuedInput]:
        """Remove and return the first ``limit`` entries."""
        entries = [self._entries.popleft() for _ in range(min(len(self._entries), limit))]
        self._outcomes -= sum(isinstance(entry.input, RunFinished) and entry.id is None for entry in entries)
        return entries
