"""Feeds the owner of alerting with the pending inputs of a shared database."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from streamcanary.alerting.service.shared.alert_inputs import AlertInputs
from streamcanary.model.alerts.pending_input import PendingInput
from streamcanary.model.clock import Clock
from streamcanary.store.errors import StoreFailing

_log = logging.getLogger(__name__)

MAX_BATCH: Final = 1000
"""How many inputs are read at once."""

POLL_INTERVAL: Final = 0.25
"""Seconds between two reads while there are no more inputs."""

_RETRY_INTERVAL = 0.5  # seconds


class InputFeed:
    """Reads the pending inputs, and gives them to ``evaluate`` in batches, each input once, in the order of ids.

    ``evaluate`` returns when the batch is committed, and thereby deleted; only then the next one is read. ``at_end`` is
    called when there are no more. ``record_waiting`` is called with the number of inputs that wait.
    """

    def __init__(
        self,
        inputs: AlertInputs,
        evaluate: Callable[[Sequence[PendingInput]], Awaitable[None]],
        at_end: Callable[[], None],
        record_waiting: Callable[[int], None],
        clock: Clock,
    ) -> None:
        self._inputs = inputs
        self._evaluate = evaluate
        self._at_end = at_end
        self._record_waiting = record_waiting
        self._clock = clock
        self._wake = asyncio.Event()
        self._read_to_end_at = -math.inf
        self._is_failing = False
        self._is_stopped = False

    def is_current(self, seconds: float) -> bool:
        """Return whether all inputs of ``seconds`` ago have been evaluated."""
        return self._clock.monotonic() - self._read_to_end_at <= seconds

    def wake(self) -> None:
        """Read at once."""
        self._wake.set()

    def stop(self) -> None:
        """Let :meth:`run` return: at once, or after the batch that is being evaluated."""
        self._is_stopped = True
        self._wake.set()

    async def run(self) -> None:
        """Read until cancelled or stopped."""
        while not self._is_stopped:
            self._wake.clear()
            try:
                is_at_end = await self.read_batch()
            except StoreFailing as error:
                if not self._is_failing:
                    _log.warning("runs cannot be read for evaluation", extra={"error": str(error)})
                self._is_failing = True
                await asyncio.sleep(_RETRY_INTERVAL)
                continue
            self._is_failing = False
            if is_at_end:
                await self._wait()

    async def read_batch(self) -> bool:
        """Read and evaluate one batch; return whether there were no more inputs.

        Raises:
            StoreFailing: if they cannot be read.
        """
        started = self._clock.monotonic()
        batch = await self._inputs.pending(MAX_BATCH)
        is_at_end = len(batch) < MAX_BATCH
        self._record_waiting(len(batch) if is_at_end else await self._inputs.count_pending())
        if batch:
            await self._evaluate(batch)
        if is_at_end:
            self._record_waiting(0)
            self._read_to_end_at = started
            self._at_end()
        return is_at_end

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_INTERVAL):
                await self._wake.wait()
        except TimeoutError:
            pass
