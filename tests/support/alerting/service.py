"""A running alerting service for tests, with receivers on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.service.service import AlertingService
from streamcanary.alerting.service.write_buffer import AlertStore
from streamcanary.model.alerts.row_change import RowChange, StateTable
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome
from streamcanary.model.statistics.rollup import Rollup
from streamcanary.model.status.alert_history import IncidentPage, PastIncident
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from support.alerting.builders import CHAT, alerts, bad, good, webhook_config
from support.servers.receiver import FakeReceiver

OUTAGE = [bad(number) for number in range(3)]
RECOVERY = [good(number) for number in range(3, 6)]


class UnreliableStore:
    """Delegates to a store; raises ``failure`` while it is set."""

    def __init__(self, store: Store | None) -> None:
        self.store = store
        self.failure: StoreFailing | None = None
        self.call_count = 0

    @property
    def may_be_incomplete(self) -> bool:
        """Return whether the store may be incomplete."""
        return self.store is not None and self.store.may_be_incomplete

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Commit, or raise ``failure``."""
        self.call_count += 1
        if self.failure is not None:
            raise self.failure
        assert self.store is not None
        await self.store.commit(rows, outcomes)

    async def row_before_last(self, count: int) -> int:
        """Return the row, or raise ``failure``."""
        if self.failure is not None:
            raise self.failure
        assert self.store is not None
        return await self.store.row_before_last(count)

    async def runs_after(self, last: int, limit: int) -> tuple[list[Outcome], int | None]:
        """Return runs, or raise ``failure``."""
        if self.failure is not None:
            raise self.failure
        assert self.store is not None
        return await self.store.runs_after(last, limit)

    async def first_periods(self, canaries: Mapping[str, str]) -> dict[str, int]:
        """Return the first periods, or raise ``failure``."""
        return await self._readable.first_periods(canaries)

    async def read_rollups(self, since: float, canaries: Mapping[str, str]) -> list[Rollup]:
        """Return rollups, or raise ``failure``."""
        if self.failure is not None:
            raise self.failure
        assert self.store is not None
        return await self.store.read_rollups(since, canaries)

    async def load_rows(self) -> dict[StateTable, dict[str, bytes]]:
        """Load the rows, or raise ``failure``."""
        self.call_count += 1
        if self.failure is not None:
            raise self.failure
        assert self.store is not None
        return await self.store.load_rows()

    async def unfinished_incidents(self, ids: Collection[str]) -> list[PastIncident]:
        """Return incidents of the history, or raise ``failure``."""
        return await self._readable.unfinished_incidents(ids)

    async def past_incidents(
        self, before: str | None = None, *, limit: int = 50, canary: str | None = None
    ) -> IncidentPage:
        """Return a page of the history, or raise ``failure``."""
        return await self._readable.past_incidents(before, limit=limit, canary=canary)

    async def past_incident(self, id: str) -> PastIncident | None:  # noqa: A002 - as in the store
        """Return an incident of the history, or raise ``failure``."""
        return await self._readable.past_incident(id)

    @property
    def _readable(self) -> Store:
        if self.failure is not None:
            raise self.failure
        assert self.store is not None
        return self.store


def webhooks_config(**receivers: FakeReceiver) -> AlertsConfig:
    """Configure a webhook for each of ``receivers``, without routes."""
    return alerts(receivers={name: webhook_config(receiver.url) for name, receiver in receivers.items()})


@contextlib.asynccontextmanager
async def running_service(store: AlertStore, config: AlertsConfig, clock: Any = None) -> AsyncIterator[AlertingService]:
    """Run alerting until the block ends, then cancel it without a drain."""
    alerting = AlertingService(
        config=config, instance="default", canaries=[CHAT], store=store, clock=clock or SystemClock()
    )
    task = asyncio.create_task(alerting.run())
    await asyncio.sleep(0)  # let the task start
    try:
        yield alerting
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def enqueue_outcomes(alerting: AlertingService, *runs: Sequence[Outcome]) -> None:
    """Enqueue outcomes."""
    for outcome in (outcome for some in runs for outcome in some):
        alerting.enqueue_outcome(outcome)


async def wait_until(condition: Callable[[], object], within: float = 20.0) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)


def accepted_types(receiver: FakeReceiver) -> list[str]:
    """Return the types of the notifications that ``receiver`` accepted, without duplicates."""
    return [kind for kind, _ in receiver.accepted_notifications()]
