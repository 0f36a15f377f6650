"""Replicas with shared alerting for tests, over a database in memory, with receivers on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.service.shared.shared_alerting import SharedAlerting
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import ALERTS, Ownership
from streamcanary.store.errors import StoreError
from support.alerting.builders import CHAT
from support.alerting.memory_alerts import MemoryAlertInputs, MemoryAlerts, MemoryAlertStore
from support.alerting.service import wait_until


class Replica:
    """One replica. ``session`` is its number; ``is_valid`` is what its own clock says about its lease."""

    def __init__(self, alerts: MemoryAlerts, session: int, config: AlertsConfig, canaries: Any, clock: Any) -> None:
        self.alerts = alerts
        self.session = session
        self.is_valid = False
        self.ownership: Ownership | None = None
        self.lost_leases: list[StoreError] = []
        self.transitions: list[tuple[str, bool]] = []
        self.owner_changes: list[tuple[bool, bool]] = []
        self.inputs = MemoryAlertInputs(alerts)
        self.alerting = SharedAlerting(
            config=config,
            instance="default",
            canaries=canaries,
            store=MemoryAlertStore(alerts),
            inputs=self.inputs,
            owner=lambda: self.ownership,
            is_valid=lambda: self.is_valid,
            clock=clock,
        )
        self.alerting.on_lease_lost = lambda error, owner: self.lost_leases.append(error)
        self.alerting.on_owner_change = lambda is_owner: self.owner_changes.append((is_owner, self.alerting.is_owner))
        self.alerting.on_transition = lambda one: self.transitions.append((one.rule, one.is_firing))

    async def take_over(self, *, fence: bool = False) -> None:
        """Become the owner of alerts; with ``fence``, the session of the owner before has ended."""
        self.ownership = self.alerts.take_over(self.session, fence=fence)
        self.is_valid = True
        await self.alerting.gained([ALERTS])

    async def wait_for_results(self) -> None:
        """Wait until the results of all deliveries are committed."""
        await wait_until(lambda: self.alerting.is_owner and not self.alerting.status.undelivered_count)

    async def release(self) -> None:
        """Hand over alerts."""
        await self.alerting.releasing([ALERTS])
        self.is_valid = False

    def lose(self) -> None:
        """Lose the lease, as the clock of this replica says."""
        self.is_valid = False
        self.alerting.lost([ALERTS])


@contextlib.asynccontextmanager
async def running_replicas(
    config: AlertsConfig, count: int = 2, *, canaries: Any = (CHAT,), clock: Any = None, alerts: Any = None
) -> AsyncIterator[list[Replica]]:
    """Run ``count`` replicas until the block ends, none of which owns alerts at first."""
    alerts = alerts or MemoryAlerts()
    clock = clock or SystemClock()
    replicas = [Replica(alerts, number, config, canaries, clock) for number in range(1, count + 1)]
    tasks = [asyncio.create_task(replica.alerting.run()) for replica in replicas]
    await asyncio.sleep(0)
    try:
        yield replicas
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if result is not None and not isinstance(result, asyncio.CancelledError):
                raise result


def add_runs(alerts: MemoryAlerts, *outcomes: Outcome) -> None:
    """Record runs, as any replica does."""
    for outcome in outcomes:
        alerts.add_run(outcome)


def canaries(*names: str) -> list[Canary]:
    """Return canaries of one target."""
    return [Canary(name=name, target="t", provider="p", interval=30.0) for name in names]
