"""Alerting while its store fails: no page is lost, and nothing is told twice."""

from collections.abc import Sequence
from typing import Any

import pytest

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import StoreFailed
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service import service
from streamcanary.alerting.service.service import AlertingService
from streamcanary.alerting.service.write_buffer import WriteBuffer
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome
from streamcanary.store import history
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLost
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


async def mended(ledger: UnreliableStore, alerting: AlertingService, clock: ManualClock) -> None:
    """Let the store be written again, and wait until it has everything."""
    ledger.failure = None
    clock.advance(5)
    alerting.wake()
    await wait_until(lambda: all(incident.rule != "StoreFailing" for incident in alerting.open_incidents))


async def test_a_full_disk_loses_no_page(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Pages go out from memory with ``StoreFailing``; mended, the store has all of it, the history included."""
    ledger, clock = UnreliableStore(store), ManualClock()
    ledger.failure = StoreFailing("database or disk is full")
    async with FakeReceiver() as hook, running_service(ledger, webhooks_config(hook=hook), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(2)
        await mended(ledger, alerting, clock)
        await hook.wait_for_deliveries(3)
        await alerting.drain(5)
        told = [(delivery.json["labels"]["alert"], delivery.json["type"]) for delivery in hook.deliveries]
        assert sorted(told) == [
            ("Errors", "alert.fired"),
            ("StoreFailing", "alert.fired"),
            ("StoreFailing", "alert.resolved"),
        ]
        assert len(await store.read(history.recent_runs)) == 3
    async with FakeReceiver() as hook, running_service(store, webhooks_config(hook=hook), clock) as alerting:
        enqueue_outcomes(alerting, RECOVERY)
        await hook.wait_for_deliveries(1)
    assert (hook.deliveries[0].json["labels"]["alert"], accepted_types(hook)) == ("Errors", ["alert.resolved"])
    assert "disk is full" in caplog.text


async def test_a_store_that_cannot_be_read_at_the_start_is_read_later(store: Store) -> None:
    """What it knows is taken up then: the open incident is resolved, and not opened twice."""
    clock, ledger = ManualClock(), UnreliableStore(store)
    async with FakeReceiver() as hook:
        async with running_service(store, webhooks_config(hook=hook), clock) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
            await alerting.drain(5)
        ledger.failure = StoreFailing("the disk does not answer")
        async with running_service(ledger, webhooks_config(hook=hook), clock) as alerting:
            await hook.wait_for_deliveries(2)
            await mended(ledger, alerting, clock)
            assert [incident.rule for incident in alerting.open_incidents] == ["Errors"]
            enqueue_outcomes(alerting, RECOVERY)
            await hook.wait_for_deliveries(4)
    told = [(delivery.json["labels"]["alert"], delivery.json["type"]) for delivery in hook.deliveries]
    assert told == [
        ("Errors", "alert.fired"),
        ("StoreFailing", "alert.fired"),
        ("StoreFailing", "alert.resolved"),
        ("Errors", "alert.resolved"),
    ]


async def test_so_is_one_whose_failing_is_told_to_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """``StoreFailing`` is switched off: what it knows is taken up all the same, and told of once."""
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
    assert ["the store cannot be read, alerting begins without its memory: the disk does not answer"] == [
        record.message for record in caplog.records if record.levelname == "ERROR"
    ]


def hooks_without_store_failing(hook: FakeReceiver) -> AlertsConfig:
    """Configure a webhook, and one rule: three in a row."""
    rules = {"Errors": THREE_FAILURES_RULE, "StoreFailing": {"enabled": False}}
    return alerts(rules=rules, receivers={"hook": webhook_config(hook.url)})


async def test_what_was_left_over_from_a_failing_store_is_over_at_the_next_start(store: Store) -> None:
    """Killed when the store had everything but the news that it is well again."""
    clock = ManualClock()
    engine = Engine(alerts(receivers={}), "default", [CHAT])
    _, rows = engine.step(State(), StoreFailed("database or disk is full"), clock.time())
    await store.commit(rows, ())
    async with running_service(store, alerts(receivers={}), clock) as alerting:
        await wait_until(lambda: alerting.state.incidents)
        assert () == alerting.open_incidents


async def test_a_store_that_was_lost_gets_everything_again(store: Store) -> None:
    """The file is gone in the middle of an outage: memory is written into the new one."""
    ledger, clock = UnreliableStore(store), ManualClock()
    async with running_service(ledger, alerts(receivers={}), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await wait_until(lambda: alerting.open_incidents)

        def empty(connection: Any) -> None:
            for table in ("detectors", "incidents", "groups", "notifications"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names

        await store.write(empty)
        ledger.failure = StoreLost("the file was removed")
        enqueue_outcomes(alerting, [bad(3)])
        await wait_until(lambda: len(alerting.open_incidents) == 2)
        await mended(ledger, alerting, clock)
    stored = await store.load_rows()
    (key,) = [incident.key for incident in alerting.open_incidents]
    assert key in stored["incidents"]
    assert key in stored["detectors"]


@pytest.mark.parametrize("told", [True, False])
async def test_a_failing_store_is_tried_every_few_seconds(told: bool) -> None:
    """Not at every run, whether ``StoreFailing`` is switched off or not."""
    ledger, clock = UnreliableStore(None), ManualClock()
    ledger.failure = StoreFailing("full")
    rules = {"Errors": THREE_FAILURES_RULE, "StoreFailing": {"enabled": told}}
    async with running_service(ledger, alerts(receivers={}, rules=rules), clock) as alerting:
        await wait_until(lambda: ledger.call_count and not alerting._is_busy)
        before = ledger.call_count
        for number, count in enumerate((before, before, before + 1)):
            clock.advance(number)
            alerting.enqueue_outcome(bad(number))
            await wait_until(lambda: not (alerting._queue or alerting._is_busy))
            assert ledger.call_count == count


async def test_the_journal_keeps_the_last_of_each_row() -> None:
    """While a store fails it grows no larger than the state; what follows overwrites what came before."""
    committed: list[RowChange] = []

    class Recording(UnreliableStore):
        async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
            if self.failure is not None:
                raise self.failure
            committed.extend(rows)

    ledger = Recording(None)
    journal = WriteBuffer(ledger)
    ledger.failure = StoreFailing("full")
    for number in range(1000):
        journal.add([RowChange("detectors", "a", str(number).encode()), RowChange("detectors", "b", None)])
        assert await journal.save() is ledger.failure
    ledger.failure = None
    assert await journal.save() is None
    assert committed == [RowChange("detectors", "a", b"999"), RowChange("detectors", "b", None)]
    assert journal.is_empty


async def test_a_defect_of_a_write_is_told_as_a_failing_store(caplog: pytest.LogCaptureFixture) -> None:
    """It ends neither alerting nor the daemon."""

    class Broken(UnreliableStore):
        async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
            raise RuntimeError("a defect")

    journal = WriteBuffer(Broken(None))
    journal.add([RowChange("detectors", "a", b"1")])
    assert isinstance(await journal.save(), StoreFailing)
    assert "a defect" in caplog.text


async def test_outcomes_beyond_the_queue_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Handing over never blocks, whatever the store does; what is dropped is said."""
    monkeypatch.setattr(service, "MAX_QUEUED_OUTCOMES", 10)
    alerting = AlertingService(
        config=alerts(), instance="i", canaries=[CHAT], store=UnreliableStore(None), clock=SystemClock()
    )
    for number in range(15):
        alerting.enqueue_outcome(good(number))
    assert alerting.dropped_outcomes == 5
    assert "alerting is behind" in caplog.text
