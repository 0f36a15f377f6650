"""The store is always ahead of what anybody is told: invariant 1, with a store that takes its time."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import msgspec
import pytest

from streamcanary.alerting.config import AlertsConfig
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.alerts.row_change import RowChange, StateTable
from streamcanary.model.outcome import Outcome
from streamcanary.store.database import Store
from support.alerting.builders import alerts, webhook_config
from support.alerting.service import OUTAGE, RECOVERY, UnreliableStore, enqueue_outcomes, running_service, wait_until
from support.servers.receiver import Behaviour, Delivery, FakeReceiver

LONG = 0.1
"""Seconds that a commit takes, unless somebody is told something meanwhile: then all is known."""


class Slow(UnreliableStore):
    """A ledger whose commits take long. ``rows`` are those that it has, by table."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.rows: dict[StateTable, dict[str, bytes]] = {}
        self.told = asyncio.Event()

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Commit, a while later."""
        self.told.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONG):
                await self.told.wait()
        await super().commit(rows, outcomes)
        self.rows = await self.load_rows()

    @property
    def incidents(self) -> list[bool]:
        """For each incident that it has, whether it fires."""
        return [
            msgspec.json.decode(value, type=Incident).is_firing for value in self.rows.get("incidents", {}).values()
        ]


class Witness(FakeReceiver):
    """A receiver that notes what a ledger has at the moment at which it is told something."""

    def __init__(self, ledger: Slow) -> None:
        super().__init__()
        self._ledger = ledger
        self.saw: list[tuple[list[bool], list[bytes]]] = []

    def reply(self, delivery: Delivery) -> Behaviour:
        """Take it."""
        self.saw.append((self._ledger.incidents, list(self._ledger.rows.get("notifications", {}).values())))
        self._ledger.told.set()
        return super().reply(delivery)


def edge(url: str) -> AlertsConfig:
    """Configure a webhook."""
    return alerts(receivers={"hook": webhook_config(url)})


def level(url: str) -> AlertsConfig:
    """Configure an Alertmanager."""
    return alerts(receivers={"prom": {"type": "alertmanager", "urls": [url]}})


@pytest.mark.parametrize("config", [edge, level])
async def test_nobody_is_told_what_the_store_does_not_have(store: Store, config: Callable[[str], AlertsConfig]) -> None:
    """Neither that it fires nor that it is over: killed at that moment, the daemon would not know of it."""
    ledger = Slow(store)
    async with Witness(ledger) as receiver, running_service(ledger, config(receiver.url)) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await receiver.wait_for_deliveries(1)
        assert [True] == receiver.saw[0][0]
        enqueue_outcomes(alerting, RECOVERY)
        await receiver.wait_for_deliveries(2)
        assert [False] == receiver.saw[1][0]


async def test_no_notice_is_sent_whose_try_the_store_does_not_have(store: Store) -> None:
    """Or nobody would know after a crash that the receiver may have heard of it, and has to hear of its end."""
    ledger = Slow(store)
    async with Witness(ledger) as receiver, running_service(ledger, edge(receiver.url)) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await receiver.wait_for_deliveries(1)
        (_, (trigger,)) = receiver.saw[0]
        assert b'"attempts":1' in trigger
        enqueue_outcomes(alerting, RECOVERY)
        await receiver.wait_for_deliveries(2)
        (resolve,) = [notice for notice in receiver.saw[1][1] if b'"action":"resolve"' in notice]
        assert b'"attempts":1' in resolve


async def test_a_listener_hears_of_what_the_store_has(store: Store) -> None:
    """It writes it into the log."""
    ledger, heard = Slow(store), []
    async with running_service(ledger, alerts(receivers={})) as alerting:
        alerting.on_transition = lambda incident: heard.append((incident.is_firing, ledger.incidents))
        enqueue_outcomes(alerting, OUTAGE)
        await wait_until(lambda: heard)
        enqueue_outcomes(alerting, RECOVERY)
        await wait_until(lambda: len(heard) == 2)
    assert [(True, [True]), (False, [False])] == heard
