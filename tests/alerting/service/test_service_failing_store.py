"""Alerting while its store fails: no page is lost, and nothing is told twice."""

from collections.abc import Sequence
from typing import Any

import pytest

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import StoreFailed
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service import service
from streamcanary.alerting.service.service import Alerting
from streamcanary.alerting.service.write_buffer import Journal
from streamcanary.model.alerts.row_change import Row
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome
from streamcanary.store import history
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLost
from support.alerting.builders import CHAT, THREE_IN_A_ROW, a_hook, alerts, bad, good
from support.alerting.service import OUTAGE, RECOVERY, Unreliable, hooks, offer, running, types, until
from support.clock import ManualClock
from support.servers.receiver import Receiver


async def mended(ledger: Unreliable, alerting: Alerting, clock: ManualClock) -> None:
    """Let the store be written again, and wait until it has everything."""
    ledger.broken = None
    clock.advance(5)
    alerting.wake()
    await until(lambda: all(incident.rule != "StoreFailing" for incident in alerting.active))


async def test_a_full_disk_loses_no_page(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Pages go out from memory with ``StoreFailing``; mended, the store has all of it, the history included."""
    ledger, clock = Unreliable(store), ManualClock()
    ledger.broken = StoreFailing("database or disk is full")
    async with Receiver() as hook, running(ledger, hooks(hook=hook), clock) as alerting:
        offer(alerting, OUTAGE)
        await hook.received(2)
        await mended(ledger, alerting, clock)
        await hook.received(3)
        await alerting.drain(5)
        told = [(delivery.json["labels"]["alert"], delivery.json["type"]) for delivery in hook.deliveries]
        assert sorted(told) == [
            ("Errors", "alert.fired"),
            ("StoreFailing", "alert.fired"),
            ("StoreFailing", "alert.resolved"),
        ]
        assert len(await store.read(history.recent)) == 3
    async with Receiver() as hook, running(store, hooks(hook=hook), clock) as alerting:
        offer(alerting, RECOVERY)
        await hook.received(1)
    assert (hook.deliveries[0].json["labels"]["alert"], types(hook)) == ("Errors", ["alert.resolved"])
    assert "disk is full" in caplog.text


async def test_a_store_that_cannot_be_read_at_the_start_is_read_later(store: Store) -> None:
    """What it knows is taken up then: the open incident is resolved, and not opened twice."""
    clock, ledger = ManualClock(), Unreliable(store)
    async with Receiver() as hook:
        async with running(store, hooks(hook=hook), clock) as alerting:
            offer(alerting, OUTAGE)
            await hook.received(1)
            await alerting.drain(5)
        ledger.broken = StoreFailing("the disk does not answer")
        async with running(ledger, hooks(hook=hook), clock) as alerting:
            await hook.received(2)
            await mended(ledger, alerting, clock)
            assert [incident.rule for incident in alerting.active] == ["Errors"]
            offer(alerting, RECOVERY)
            await hook.received(4)
    told = [(delivery.json["labels"]["alert"], delivery.json["type"]) for delivery in hook.deliveries]
    assert told == [
        ("Errors", "alert.fired"),
        ("StoreFailing", "alert.fired"),
        ("StoreFailing", "alert.resolved"),
        ("Errors", "alert.resolved"),
    ]


async def test_so_is_one_whose_failing_is_told_to_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """``StoreFailing`` is switched off: what it knows is taken up all the same, and told of once."""
    clock, ledger = ManualClock(), Unreliable(store)
    config = hooks_without_store_failing
    async with Receiver() as hook:
        async with running(store, config(hook), clock) as alerting:
            offer(alerting, OUTAGE)
            await hook.received(1)
            await alerting.drain(5)
        ledger.broken = StoreFailing("the disk does not answer")
        async with running(ledger, config(hook), clock) as alerting:
            offer(alerting, RECOVERY[:1])
            await until(lambda: not (alerting._queue or alerting._busy))
            assert () == alerting.active
            ledger.broken = None
            clock.advance(5)
            alerting.wake()
            await until(lambda: alerting.active)
            assert [OUTAGE[-1].started + 1] == [incident.opened for incident in alerting.active]
            offer(alerting, RECOVERY[1:])
            await hook.received(2)
            await alerting.drain(5)
        assert ["alert.fired", "alert.resolved"] == [delivery.json["type"] for delivery in hook.deliveries]
        assert len({delivery.json["key"] for delivery in hook.deliveries}) == 1
    assert ["the store cannot be read, alerting begins without its memory: the disk does not answer"] == [
        record.message for record in caplog.records if record.levelname == "ERROR"
    ]


def hooks_without_store_failing(hook: Receiver) -> AlertsConfig:
    """Configure a webhook, and one rule: three in a row."""
    rules = {"Errors": THREE_IN_A_ROW, "StoreFailing": {"enabled": False}}
    return alerts(rules=rules, receivers={"hook": a_hook(hook.url)})


async def test_what_was_left_over_from_a_failing_store_is_over_at_the_next_start(store: Store) -> None:
    """Killed when the store had everything but the news that it is well again."""
    clock = ManualClock()
    engine = Engine(alerts(receivers={}), "default", [CHAT])
    _, rows = engine.step(State(), StoreFailed("database or disk is full"), clock.time())
    await store.commit(rows, ())
    async with running(store, alerts(receivers={}), clock) as alerting:
        await until(lambda: alerting.state.incidents)
        assert () == alerting.active


async def test_a_store_that_was_lost_gets_everything_again(store: Store) -> None:
    """The file is gone in the middle of an outage: memory is written into the new one."""
    ledger, clock = Unreliable(store), ManualClock()
    async with running(ledger, alerts(receivers={}), clock) as alerting:
        offer(alerting, OUTAGE)
        await until(lambda: alerting.active)

        def empty(connection: Any) -> None:
            for table in ("detectors", "incidents", "groups", "notices"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names

        await store.write(empty)
        ledger.broken = StoreLost("the file was removed")
        offer(alerting, [bad(3)])
        await until(lambda: len(alerting.active) == 2)
        await mended(ledger, alerting, clock)
    stored = await store.load_ledger()
    (key,) = [incident.key for incident in alerting.active]
    assert key in stored["incidents"]
    assert key in stored["detectors"]


@pytest.mark.parametrize("told", [True, False])
async def test_a_failing_store_is_tried_every_few_seconds(told: bool) -> None:
    """Not at every run, whether ``StoreFailing`` is switched off or not."""
    ledger, clock = Unreliable(None), ManualClock()
    ledger.broken = StoreFailing("full")
    rules = {"Errors": THREE_IN_A_ROW, "StoreFailing": {"enabled": told}}
    async with running(ledger, alerts(receivers={}, rules=rules), clock) as alerting:
        await until(lambda: ledger.asked and not alerting._busy)
        before = ledger.asked
        for number, count in enumerate((before, before, before + 1)):
            clock.advance(number)
            alerting.offer(bad(number))
            await until(lambda: not (alerting._queue or alerting._busy))
            assert ledger.asked == count


async def test_the_journal_keeps_the_last_of_each_row() -> None:
    """While a store fails it grows no larger than the state; what follows overwrites what came before."""
    committed: list[Row] = []

    class Recording(Unreliable):
        async def commit(self, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
            if self.broken is not None:
                raise self.broken
            committed.extend(rows)

    ledger = Recording(None)
    journal = Journal(ledger)
    ledger.broken = StoreFailing("full")
    for number in range(1000):
        journal.hold([Row("detectors", "a", str(number).encode()), Row("detectors", "b", None)])
        assert await journal.save() is ledger.broken
    ledger.broken = None
    assert await journal.save() is None
    assert committed == [Row("detectors", "a", b"999"), Row("detectors", "b", None)]
    assert journal.empty


async def test_a_defect_of_a_write_is_told_as_a_failing_store(caplog: pytest.LogCaptureFixture) -> None:
    """It ends neither alerting nor the daemon."""

    class Broken(Unreliable):
        async def commit(self, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
            raise RuntimeError("a defect")

    journal = Journal(Broken(None))
    journal.hold([Row("detectors", "a", b"1")])
    assert isinstance(await journal.save(), StoreFailing)
    assert "a defect" in caplog.text


async def test_outcomes_beyond_the_queue_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Handing over never blocks, whatever the store does; what is dropped is said."""
    monkeypatch.setattr(service, "MOST_QUEUED", 10)
    alerting = Alerting(config=alerts(), instance="i", canaries=[CHAT], ledger=Unreliable(None), clock=SystemClock())
    for number in range(15):
        alerting.offer(good(number))
    assert alerting.dropped == 5
    assert "alerting is behind" in caplog.text
