"""The store is always ahead of what anybody is told: invariant 1, with a store that takes its time."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import msgspec
import pytest

from streamcanary.alerting.config import AlertsConfig
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.alerts.row_change import Row, Table
from streamcanary.model.outcome import Outcome
from streamcanary.store.database import Store
from support.alerting.builders import a_hook, alerts
from support.alerting.service import OUTAGE, RECOVERY, Unreliable, offer, running, until
from support.servers.receiver import Behaviour, Delivery, Receiver

LONG = 0.1
"""Seconds that a commit takes, unless somebody is told something meanwhile: then all is known."""


class Slow(Unreliable):
    """A ledger whose commits take long. ``rows`` are those that it has, by table."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.rows: dict[Table, dict[str, bytes]] = {}
        self.told = asyncio.Event()

    async def commit(self, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        """Commit, a while later."""
        self.told.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONG):
                await self.told.wait()
        await super().commit(rows, outcomes)
        self.rows = await self.load_ledger()

    @property
    def incidents(self) -> list[bool]:
        """For each incident that it has, whether it fires."""
        return [msgspec.json.decode(value, type=Incident).firing for value in self.rows.get("incidents", {}).values()]


class Witness(Receiver):
    """A receiver that notes what a ledger has at the moment at which it is told something."""

    def __init__(self, ledger: Slow) -> None:
        super().__init__()
        self._ledger = ledger
        self.saw: list[tuple[list[bool], list[bytes]]] = []

    def reply(self, delivery: Delivery) -> Behaviour:
        """Take it."""
        self.saw.append((self._ledger.incidents, list(self._ledger.rows.get("notices", {}).values())))
        self._ledger.told.set()
        return super().reply(delivery)


def edge(url: str) -> AlertsConfig:
    """Configure a webhook."""
    return alerts(receivers={"hook": a_hook(url)})


def level(url: str) -> AlertsConfig:
    """Configure an Alertmanager."""
    return alerts(receivers={"prom": {"type": "alertmanager", "urls": [url]}})


@pytest.mark.parametrize("config", [edge, level])
async def test_nobody_is_told_what_the_store_does_not_have(store: Store, config: Callable[[str], AlertsConfig]) -> None:
    """Neither that it fires nor that it is over: killed at that moment, the daemon would not know of it."""
    ledger = Slow(store)
    async with Witness(ledger) as receiver, running(ledger, config(receiver.url)) as alerting:
        offer(alerting, OUTAGE)
        await receiver.received(1)
        assert [True] == receiver.saw[0][0]
        offer(alerting, RECOVERY)
        await receiver.received(2)
        assert [False] == receiver.saw[1][0]


async def test_no_notice_is_sent_whose_try_the_store_does_not_have(store: Store) -> None:
    """Or nobody would know after a crash that the receiver may have heard of it, and has to hear of its end."""
    ledger = Slow(store)
    async with Witness(ledger) as receiver, running(ledger, edge(receiver.url)) as alerting:
        offer(alerting, OUTAGE)
        await receiver.received(1)
        (_, (trigger,)) = receiver.saw[0]
        assert b'"tries":1' in trigger
        offer(alerting, RECOVERY)
        await receiver.received(2)
        (resolve,) = [notice for notice in receiver.saw[1][1] if b'"action":"resolve"' in notice]
        assert b'"tries":1' in resolve


async def test_a_listener_hears_of_what_the_store_has(store: Store) -> None:
    """It writes it into the log."""
    ledger, heard = Slow(store), []
    async with running(ledger, alerts(receivers={})) as alerting:
        alerting.on_transition = lambda incident: heard.append((incident.firing, ledger.incidents))
        offer(alerting, OUTAGE)
        await until(lambda: heard)
        offer(alerting, RECOVERY)
        await until(lambda: len(heard) == 2)
    assert [(True, [True]), (False, [False])] == heard
