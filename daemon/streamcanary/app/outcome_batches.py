"""Collects the outcomes of runs for a tenth of a second, and passes them on one after the other.

Logs, statuses and alerts are much code. For a run alone the CPU finds little of it in its caches, and takes several
times as long as for one that follows another.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from streamcanary.model.outcome import Outcome

_log = logging.getLogger(__name__)

DELAY: Final = 0.1
"""Seconds for which outcomes are collected."""
_OUTCOMES_IN_A_TURN: Final = 16  # of the event loop: a millisecond or two, so that no run is late


class OutcomeBatches:
    """Calls ``handle`` with each added outcome, in order, a tenth of a second later.

    ``recorded`` is the outcome as it counts, ``None`` for one that does not.
    """

    def __init__(self, handle: Callable[[Outcome, Outcome | None], None]) -> None:
        self._handle = handle
        self._outcomes: deque[tuple[Outcome, Outcome | None]] = deque()
        self._next: asyncio.Handle | None = None

    def add(self, outcome: Outcome, recorded: Outcome | None) -> None:
        """Add an outcome; call it in the event loop."""
        self._outcomes.append((outcome, recorded))
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(DELAY, self._handle_some)

    def flush(self) -> None:
        """Handle all outcomes at once."""
        if self._next is not None:
            self._next.cancel()
        self._handle_first(len(self._outcomes))
        self._next = None

    def _handle_some(self) -> None:
        self._handle_first(_OUTCOMES_IN_A_TURN)
        self._next = asyncio.get_running_loop().call_soon(self._handle_some) if self._outcomes else None

    def _handle_first(self, count: int) -> None:
        for _ in range(min(count, len(self._outcomes))):
            outcome, recorded = self._outcomes.popleft()
            try:
                self._handle(outcome, recorded)
            except Exception:  # noqa: BLE001 - a defect, which is logged; the other outcomes are handled
                _log.exception("outcome not handled", extra={"canary": outcome.canary})
