"""Invariant 1: the store has each change before a receiver is notified of it, even if commits are slow."""

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

COMMIT_DELAY = 0.1
"""Seconds that a commit takes, unless a receiver gets a delivery before: then the result of the test is known."""


class SlowStore(UnreliableStore):
    """A store whose commits are slow. ``rows`` are the committed rows, by table."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.rows: dict[StateTable, dict[str, bytes]] = {}
        self.received = asyncio.Event()

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Commit after ``COMMIT_DELAY`` seconds, or after a delivery."""
        self.received.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_DELAY):
                await self.received.wait()
        await super().commit(rows, outcomes)
        self.rows = await self.load_rows()

    @property
    def incidents(self) -> list[bool]:
        """Return for each committed incident whether it fires."""
        return [
            msgspec.json.decode(value, type=Incident).is_firing for value in self.rows.get("incidents", {}).values()
        ]


class RecordingReceiver(FakeReceiver):
    """A receiver that records the committed rows at the time of each delivery."""

    def __init__(self, ledger: SlowStore) -> None:
        super().__init__()
        self._ledger = ledger
        self.rows_at_delivery: list[tuple[list[bool], list[bytes]]] = []

    def reply(self, delivery: Delivery) -> Behaviour:
        """Record the committed rows, and accept the delivery."""
        self.rows_at_delivery.append(
            (self._ledger.incidents, list(self._ledger.rows.get("notifications", {}).values()))
        )
        self._ledger.received.set()
        return super().reply(delivery)


def event_receiver_config(url: str) -> AlertsConfig:
    """Configure a webhook."""
    return alerts(receivers={"hook": webhook_config(url)})


def state_receiver_config(url: str) -> AlertsConfig:
    """Configure an Alertmanager."""
    return alerts(receivers={"prom": {"type": "alertmanager", "urls": [url]}})


@pytest.mark.parametrize("config", [event_receiver_config, state_receiver_config])
async def test_incident_is_committed_before_a_receiver_is_notified(
    store: Store, config: Callable[[str], AlertsConfig]
) -> None:
    """An incident and its resolve are in the store before a receiver is notified of them."""
    ledger = SlowStore(store)
    async with RecordingReceiver(ledger) as receiver, running_service(ledger, config(receiver.url)) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await receiver.wait_for_deliveries(1)
        assert [True] == receiver.rows_at_delivery[0][0]
        enqueue_outcomes(alerting, RECOVERY)
        await receiver.wait_for_deliveries(2)
        assert [False] == receiver.rows_at_delivery[1][0]


async def test_attempt_is_committed_before_a_notification_is_sent(store: Store) -> None:
    """The attempt of a notification is in the store before it is sent, so that a crash does not lose its resolve."""
    ledger = SlowStore(store)
    async with (
        RecordingReceiver(ledger) as receiver,
        running_service(ledger, event_receiver_config(receiver.url)) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await receiver.wait_for_deliveries(1)
        (_, (trigger,)) = receiver.rows_at_delivery[0]
        assert b'"attempts":1' in trigger
        enqueue_outcomes(alerting, RECOVERY)
        await receiver.wait_for_deliveries(2)
        (resolve,) = [row for row in receiver.rows_at_delivery[1][1] if b'"action":"resolve"' in row]
        assert b'"attempts":1' in resolve


async def test_listener_is_called_after_the_commit(store: Store) -> None:
    """The listener is called after an incident has been committed."""
    ledger, observed = SlowStore(store), []
    async with running_service(ledger, alerts(receivers={})) as alerting:
        alerting.on_transition = lambda incident: observed.append((incident.is_firing, ledger.incidents))
        enqueue_outcomes(alerting, OUTAGE)
        await wait_until(lambda: observed)
        enqueue_outcomes(alerting, RECOVERY)
        await wait_until(lambda: len(observed) == 2)
    assert [(True, [True]), (False, [False])] == observed
