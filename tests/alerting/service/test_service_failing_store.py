"""Alerting while its store fails: no notification is lost, and none is repeated."""

from collections.abc import Sequence
from typing import Any

import pytest

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import StoreFailed
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service import input_queue
from streamcanary.alerting.service.service import AlertingService
from streamcanary.alerting.service.write_buffer import WriteBuffer
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLost
from streamcanary.store.tables import history
from support.alerting.builders import CHAT, THREE_FAILURES_RULE, alerts, bad, good, webhook_config
from support.alerting.service import (
    OUTAGE,
    RECOVERY,
    UnreliableStore,
    accepted_types,
    enqueue_outcomes,
    running_service,
    wait_until,
    webhooks_config,
)
from support.clock import ManualClock
from support.servers.receiver import FakeReceiver


async def repair_store(ledger: UnreliableStore, alerting: AlertingService, clock: ManualClock) -> None:
    """Make the store writable again, and wait until ``StoreFailing`` has resolved."""
    ledger.failure = None
    clock.advance(5)
    alerting.wake()
    await wait_until(lambda: all(incident.rule != "StoreFailing" for incident in alerting.open_incidents))


async def test_full_disk_loses_no_notification(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Notifications are sent from memory with ``StoreFailing``; the repaired store gets all state and history."""
    ledger, clock = UnreliableStore(store), ManualClock()
    ledger.failure = StoreFailing("database or disk is full")
    async with FakeReceiver() as hook, running_service(ledger, webhooks_config(hook=hook), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(2)
        await repair_store(ledger, alerting, clock)
        await hook.wait_for_deliveries(3)
        await alerting.drain(5)
        received = [(delivery.json["labels"]["alert"], delivery.json["type"]) for delivery in hook.deliveries]
        assert sorted(received) == [
            ("Errors", "alert.fired"),
            ("StoreFailing", "alert.fired"),
            ("StoreFailing", "alert.resolved"),
        ]
        assert len(await store.read(history.recent_runs)) == 3
    async with FakeReceiver() as hook, running_service(store, webhooks_config(hook=hook), clock) as alerting:
        enqueue_outcomes(alerting, RECOVERY)
        await hook.wait_for_deliveries(1)
    assert (hook.deliveries[0].json["labels"]["alert"], accepted_types(hook)) == ("Errors", ["alert.resolved"])
    errors = [vars(record)["error"] for record in caplog.records if record.message.startswith("store cannot be")]
    assert any("disk is full" in error for error in errors)


async def test_store_that_cannot_be_read_at_the_start_is_read_later(store: Store) -> None:
    """A store that was unreadable at the start is read later: its open incident resolves and does not open twice."""
    clock, ledger = ManualClock(), UnreliableStore(store)
    async with FakeReceiver() as hook:
        async with running_service(store, webhooks_config(hook=hook), clock) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
            await alerting.drain(5)
        ledger.failure = StoreFailing("the disk does not answer")
        async with running_service(ledger, webhooks_config(hook=hook), clock) as alerting:
            await hook.wait_for_deliveries(2)
            await repair_store(ledger, alerting, clock)
            assert [incident.rule for incident in alerting.open_incidents] == ["Errors"]
            enqueue_outcomes(alerting, RECOVERY)
            await hook.wait_for_deliveries(4)
    received = [(delivery.json["labels"]["alert"], delivery.json["type"]) for delivery in hook.deliveries]
    assert received == [
        ("Errors", "alert.fired"),
        ("StoreFailing", "alert.fired"),
        ("StoreFailing", "alert.resolved"),
        ("Errors", "alert.resolved"),
    ]


async def test_unreadable_store_is_read_later_without_store_failing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """An unreadable store is read later even if ``StoreFailing`` is disabled, and its incident resolves once."""
    clock, ledger = ManualClock(), UnreliableStore(store)
    config = hooks_without_store_failing
    async with FakeReceiver() as hook:
        async with running_service(store, config(hook), clock) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
            await alerting.drain(5)
        ledger.failure = StoreFailing("the disk does not answer")
        async with running_service(ledger, config(hook), clock) as alerting:
            enqueue_outcomes(alerting, RECOVERY[:1])
            await wait_until(lambda: not (alerting._queue or alerting._is_busy))
            assert () == alerting.open_incidents
            ledger.failure = None
            clock.advance(5)
            alerting.wake()
            await wait_until(lambda: alerting.open_incidents)
            assert [OUTAGE[-1].started + 1] == [incident.opened for incident in alerting.open_incidents]
            enqueue_outcomes(alerting, RECOVERY[1:])
            await hook.wait_for_deliveries(2)
            await alerting.drain(5)
        assert ["alert.fired", "alert.resolved"] == [delivery.json["type"] for delivery in hook.deliveries]
        assert len({delivery.json["key"] for delivery in hook.deliveries}) == 1
    assert [("store cannot be read", "the disk does not answer")] == [
        (record.message, vars(record)["error"]) for record in caplog.records if record.levelname == "ERROR"
    ]


def hooks_without_store_failing(hook: FakeReceiver) -> AlertsConfig:
    """Configure a webhook, one rule for three failures in a row, and no ``StoreFailing``."""
    rules = {"Errors": THREE_FAILURES_RULE, "StoreFailing": {"enabled": False}}
    return alerts(rules=rules, receivers={"hook": webhook_config(hook.url)})


async def test_stored_store_failing_incident_resolves_at_the_next_start(store: Store) -> None:
    """An open incident of ``StoreFailing`` in a store that works resolves at the start."""
    clock = ManualClock()
    engine = Engine(alerts(receivers={}), "default", [CHAT])
    _, rows = engine.step(State(), StoreFailed("database or disk is full"), clock.time())
    await store.commit(rows, ())
    async with running_service(store, alerts(receivers={}), clock) as alerting:
        await wait_until(lambda: alerting.state.incidents)
        assert () == alerting.open_incidents


async def test_lost_store_gets_the_whole_state_again(store: Store) -> None:
    """After the loss of the store, the whole state in memory is written into the new one."""
    ledger, clock = UnreliableStore(store), ManualClock()
    async with running_service(ledger, alerts(receivers={}), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await wait_until(lambda: alerting.open_incidents)

        def empty(connection: Any) -> None:
            for table in ("detectors", "incidents", "groups", "notifications"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constant table names

        await store.write(empty)
        ledger.failure = StoreLost("the file was removed")
        enqueue_outcomes(alerting, [bad(3)])
        await wait_until(lambda: len(alerting.open_incidents) == 2)
        await repair_store(ledger, alerting, clock)
    stored = await store.load_rows()
    (key,) = [incident.key for incident in alerting.open_incidents]
    assert key in stored["incidents"]
    assert key in stored["detectors"]


@pytest.mark.parametrize("received", [True, False])
async def test_failing_store_is_retried_every_few_seconds(received: bool) -> None:
    """A failing store is retried every few seconds, not at every run."""
    ledger, clock = UnreliableStore(None), ManualClock()
    ledger.failure = StoreFailing("full")
    rules = {"Errors": THREE_FAILURES_RULE, "StoreFailing": {"enabled": received}}
    async with running_service(ledger, alerts(receivers={}, rules=rules), clock) as alerting:
        await wait_until(lambda: ledger.call_count and not alerting._is_busy)
        before = ledger.call_count
        for number, count in enumerate((before, before, before + 1)):
            clock.advance(number)
            alerting.enqueue_outcome(bad(number))
            await wait_until(lambda: not (alerting._queue or alerting._is_busy))
            assert ledger.call_count == count


async def test_write_buffer_keeps_the_last_change_of_each_row() -> None:
    """While the store fails, the write buffer keeps the last change of each row only."""
    committed: list[RowChange] = []

    class Recording(UnreliableStore):
        async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
            if self.failure is not None:
                raise self.failure
            committed.extend(rows)

    ledger = Recording(None)
    write_buffer = WriteBuffer(ledger)
    ledger.failure = StoreFailing("full")
    for number in range(1000):
        write_buffer.add([RowChange("detectors", "a", str(number).encode()), RowChange("detectors", "b", None)])
        assert await write_buffer.save() is ledger.failure
    ledger.failure = None
    assert await write_buffer.save() is None
    assert committed == [RowChange("detectors", "a", b"999"), RowChange("detectors", "b", None)]
    assert write_buffer.is_empty


async def test_unexpected_exception_of_a_write_is_store_failing(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception of a write is handled like a failing store."""

    class Broken(UnreliableStore):
        async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
            raise RuntimeError("a defect")

    write_buffer = WriteBuffer(Broken(None))
    write_buffer.add([RowChange("detectors", "a", b"1")])
    assert isinstance(await write_buffer.save(), StoreFailing)
    assert "a defect" in caplog.text


async def test_outcomes_over_the_queue_limit_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Enqueueing never blocks; outcomes over the limit are dropped, counted and logged."""
    monkeypatch.setattr(input_queue, "MAX_QUEUED_OUTCOMES", 10)
    alerting = AlertingService(
        config=alerts(), instance="i", canaries=[CHAT], store=UnreliableStore(None), clock=SystemClock()
    )
    for number in range(15):
        alerting.enqueue_outcome(good(number))
    assert alerting.dropped_outcomes == 5
    assert "outcomes dropped: alerting queue is full" in caplog.text
