"""Alerting as it runs: started and ended around a test, with receivers on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.service.service import Alerting
from streamcanary.alerting.service.write_buffer import Ledger
from streamcanary.model.alerts.row_change import Row, Table
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from support.alerting.builders import CHAT, a_hook, alerts, bad, good
from support.servers.receiver import Receiver

OUTAGE = [bad(number) for number in range(3)]
RECOVERY = [good(number) for number in range(3, 6)]


class Unreliable:
    """The ledger of a store, as long as ``broken`` is ``None``."""

    def __init__(self, store: Store | None) -> None:
        self.store = store
        self.broken: StoreFailing | None = None
        self.asked = 0

    @property
    def incomplete(self) -> bool:
        """Tell what the store tells."""
        return self.store is not None and self.store.incomplete

    async def commit(self, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        """Commit, or fail."""
        self.asked += 1
        if self.broken is not None:
            raise self.broken
        assert self.store is not None
        await self.store.commit(rows, outcomes)

    async def load_ledger(self) -> dict[Table, dict[str, bytes]]:
        """Load, or fail."""
        self.asked += 1
        if self.broken is not None:
            raise self.broken
        assert self.store is not None
        return await self.store.load_ledger()


def hooks(**receivers: Receiver) -> AlertsConfig:
    """Configure a webhook for each of ``receivers``, all of them told of everything."""
    return alerts(receivers={name: a_hook(receiver.url) for name, receiver in receivers.items()})


@contextlib.asynccontextmanager
async def running(ledger: Ledger, config: AlertsConfig, clock: Any = None) -> AsyncIterator[Alerting]:
    """Run alerting until the block ends; then it is killed, not drained."""
    alerting = Alerting(config=config, instance="default", canaries=[CHAT], ledger=ledger, clock=clock or SystemClock())
    task = asyncio.create_task(alerting.run())
    await asyncio.sleep(0)  # it has begun
    try:
        yield alerting
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def offer(alerting: Alerting, *runs: Sequence[Outcome]) -> None:
    """Hand over runs."""
    for outcome in (outcome for some in runs for outcome in some):
        alerting.offer(outcome)


async def until(condition: Callable[[], object], within: float = 20.0) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)


def types(receiver: Receiver) -> list[str]:
    """Return what ``receiver`` has accepted, repetitions left out."""
    return [kind for kind, _ in receiver.story()]
