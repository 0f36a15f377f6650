"""Alerting as it runs: a real store, a real socket."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from streamcanary.alerting import driver
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.driver import Alerting
from streamcanary.alerting.engine import Engine
from streamcanary.alerting.journal import Journal, Ledger
from streamcanary.alerting.meters import Meters
from streamcanary.model.clock import SystemClock
from streamcanary.model.incident import Incident
from streamcanary.model.outcome import Outcome
from streamcanary.model.row import Row, Table
from streamcanary.store import history
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLost
from support.alerts import CHAT, a_hook, alerts, bad, good
from support.clock import ManualClock
from support.receiver import CLOSE, HANG, SECRET, Receiver, Reply
from support.stores import open_store

OUTAGE = [bad(number) for number in range(3)]
RECOVERY = [good(number) for number in range(3, 6)]


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


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Provide an open store, and close it."""
    store = open_store(tmp_path / "canary.db")
    yield store
    await store.close()


async def test_an_outage_fires_and_its_end_resolves(store: Store) -> None:
    """One page, one resolve, signed, with one key; the runs are in the history."""
    async with Receiver() as hook, running(store, hooks(hook=hook)) as alerting:
        offer(alerting, OUTAGE)
        await hook.received(1)
        assert [incident.canary for incident in alerting.active] == ["chat"]
        offer(alerting, RECOVERY)
        await hook.received(2)
        assert alerting.active == ()
    fired, resolved = hook.deliveries
    assert (fired.json["type"], resolved.json["type"]) == ("alert.fired", "alert.resolved")
    assert fired.json["key"] == resolved.json["key"]
    assert fired.json["annotations"] == {"summary": "chat: 3 of the last 3 runs failed"}
    assert fired.json["evidence"]["faults"] == {"stalled": 3}
    assert fired.signed_with(SECRET)
    assert len(await store.read(history.recent)) == 6


async def test_a_page_is_in_the_store_before_it_goes_out(store: Store) -> None:
    """At the moment the receiver has it, a reader of the store finds the notice with its try counted."""
    found: list[dict[str, bytes]] = []

    class Looking(Receiver):
        async def _answer(self, *streams: Any) -> bool:
            found.append((await store.load_ledger())["notices"])
            return await super()._answer(*streams)

    async with Looking() as hook, running(store, hooks(hook=hook)) as alerting:
        offer(alerting, OUTAGE)
        await hook.received(1)
    (row,) = found[0].values()
    assert b'"tries":1' in row


async def test_killed_before_the_answer_it_is_told_again_with_the_same_id(store: Store) -> None:
    """The receiver had it, the daemon never heard so."""
    async with Receiver(HANG) as hook:
        async with running(store, hooks(hook=hook)) as alerting:
            offer(alerting, OUTAGE)
            await hook.received(1)
        async with running(store, hooks(hook=hook)):
            await hook.received(2)
    assert len({delivery.id for delivery in hook.deliveries}) == 1


async def test_a_restart_with_nothing_changed_sends_nothing(store: Store) -> None:
    """Invariant 6, with the real store; the next thing the receiver hears is the end."""
    async with Receiver() as hook:
        async with running(store, hooks(hook=hook)) as alerting:
            offer(alerting, OUTAGE)
            await hook.received(1)
            await alerting.drain(5)
        for _ in range(3):
            async with running(store, hooks(hook=hook)) as alerting:
                await until(lambda: alerting.active)
                await alerting.drain(5)
        async with running(store, hooks(hook=hook)) as alerting:
            offer(alerting, RECOVERY)
            await hook.received(2)
    assert types(hook) == ["alert.fired", "alert.resolved"]


async def test_retries_keep_the_id_and_the_order(store: Store) -> None:
    """5xx, 429 and a lost connection: the page comes again until it is taken, and only then its end."""
    clock = ManualClock()
    replies = (Reply(500), Reply(429, {"Retry-After": "30"}), CLOSE)
    async with Receiver(*replies) as hook, running(store, hooks(hook=hook), clock) as alerting:
        offer(alerting, OUTAGE, RECOVERY[:2])
        for count in range(1, 4):
            await hook.received(count)
            offer(alerting, RECOVERY[2:])
            await until(lambda: [n for n in alerting.state.notices.values() if n.next_try > clock.time()])
            clock.advance(61)
            alerting.wake()
        await hook.received(5)
    assert [delivery.json["type"] for delivery in hook.deliveries] == ["alert.fired"] * 4 + ["alert.resolved"]
    assert len({delivery.id for delivery in hook.deliveries}) == 2
    assert len({delivery.body for delivery in hook.deliveries}) == 2


async def test_retry_after_is_waited_out(store: Store) -> None:
    """Not a second earlier."""
    clock = ManualClock()
    async with Receiver(Reply(429, {"Retry-After": "30"})) as hook, running(store, hooks(hook=hook), clock) as alerting:
        offer(alerting, OUTAGE)
        await hook.received(1)
        await until(lambda: [n for n in alerting.state.notices.values() if n.last_error])
        clock.advance(29)
        alerting.wake()
        await alerting.drain(0.1)
        assert len(hook.deliveries) == 1
        clock.advance(1)
        alerting.wake()
        await hook.received(2)


async def test_a_slow_receiver_delays_no_other_and_no_run(store: Store) -> None:
    """One hangs; the other hears both the page and its end, and handing over runs never waits."""
    async with (
        Receiver(always=HANG) as slow,
        Receiver() as quick,
        running(store, hooks(slow=slow, quick=quick)) as alerting,
    ):
        offer(alerting, OUTAGE)
        await quick.received(1)
        offer(alerting, RECOVERY)
        await quick.received(2)
        await slow.received(1)
        assert len(slow.deliveries) == 1


async def test_a_refusal_is_told_to_the_other(store: Store) -> None:
    """The refused page is never sent again; the other receiver hears who fails, and why."""
    async with (
        Receiver(always=Reply(401, body=b"who are you")) as broken,
        Receiver() as other,
        running(store, hooks(broken=broken, other=other)) as alerting,
    ):
        offer(alerting, OUTAGE)
        await other.received(2)
        await alerting.drain(5)
        assert len(broken.deliveries) == 1
    failing = other.deliveries[1].json
    assert (failing["alert"], failing["canary"], failing["labels"]["severity"]) == ("ReceiverFailing", None, "page")
    assert failing["annotations"]["description"].endswith("HTTP 401: who are you")


async def test_drain_sends_what_is_queued(store: Store) -> None:
    """Offered a moment before the end, it is in the store and delivered when drain returns."""
    async with Receiver() as hook, running(store, hooks(hook=hook)) as alerting:
        offer(alerting, OUTAGE)
        await alerting.drain(5)
        assert types(hook) == ["alert.fired"]


async def test_drain_keeps_what_it_cannot_send(store: Store) -> None:
    """A receiver that hangs holds up the end for no longer than it was given; the page is in the store."""
    async with Receiver(HANG) as hook:
        async with running(store, hooks(hook=hook)) as alerting:
            offer(alerting, OUTAGE)
            begun = asyncio.get_running_loop().time()
            await alerting.drain(0.3)
            assert asyncio.get_running_loop().time() - begun < 2
        async with running(store, hooks(hook=hook)) as alerting:
            await alerting.drain(5)
    assert types(hook) == ["alert.fired"]


async def test_drain_of_what_has_ended_returns(store: Store) -> None:
    """Called too early, twice or too late, it does nothing."""
    async with running(store, alerts()) as alerting:
        await alerting.drain(60)
        await alerting.drain(60)
    alerting.offer(good())
    await alerting.drain(60)


async def test_transitions_are_reported(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Once each, after the commit; a listener that breaks stops nothing."""
    seen: list[tuple[str, bool]] = []

    def listen(incident: Incident) -> None:
        seen.append((incident.rule, incident.firing))
        raise RuntimeError("a listener breaks")

    async with running(store, alerts(receivers={})) as alerting:
        alerting.on_transition = listen
        offer(alerting, OUTAGE, RECOVERY)
        await until(lambda: len(seen) == 2)
    assert seen == [("Errors", True), ("Errors", False)]
    assert "goes to nobody" in caplog.text


# ---- a store that fails


class Unreliable:
    """The ledger of a store, as long as ``broken`` is ``None``."""

    def __init__(self, store: Store | None) -> None:
        self.store = store
        self.broken: StoreFailing | None = None
        self.asked = 0

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
        told = [(delivery.json["alert"], delivery.json["type"]) for delivery in hook.deliveries]
        assert sorted(told) == [
            ("Errors", "alert.fired"),
            ("StoreFailing", "alert.fired"),
            ("StoreFailing", "alert.resolved"),
        ]
        assert len(await store.read(history.recent)) == 3
    async with Receiver() as hook, running(store, hooks(hook=hook), clock) as alerting:
        offer(alerting, RECOVERY)
        await hook.received(1)
    assert (hook.deliveries[0].json["alert"], types(hook)) == ("Errors", ["alert.resolved"])
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
    told = [(delivery.json["alert"], delivery.json["type"]) for delivery in hook.deliveries]
    assert told == [
        ("Errors", "alert.fired"),
        ("StoreFailing", "alert.fired"),
        ("StoreFailing", "alert.resolved"),
        ("Errors", "alert.resolved"),
    ]


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


async def test_a_failing_store_is_tried_every_few_seconds() -> None:
    """Not at every run."""
    ledger, clock = Unreliable(None), ManualClock()
    ledger.broken = StoreFailing("full")
    async with running(ledger, alerts(receivers={}), clock) as alerting:
        await until(lambda: alerting.active)
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
    monkeypatch.setattr(driver, "MOST_QUEUED", 10)
    alerting = Alerting(config=alerts(), instance="i", canaries=[CHAT], ledger=Unreliable(None), clock=SystemClock())
    for number in range(15):
        alerting.offer(good(number))
    assert alerting.dropped == 5
    assert "alerting is behind" in caplog.text


# ---- level receivers


def prom(*receivers: Receiver, **more: Receiver) -> AlertsConfig:
    """Configure one Alertmanager with several peers, and webhooks beside it."""
    peers = {"type": "alertmanager", "urls": [receiver.url for receiver in receivers]}
    return alerts(receivers={"prom": peers, **{name: a_hook(hook.url) for name, hook in more.items()}})


async def test_a_level_receiver_is_told_again_and_again(store: Store) -> None:
    """At once, each minute, at once when it is over, and for a quarter of an hour after that."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with Receiver() as peer, running(store, prom(peer), clock) as alerting:
        offer(alerting, OUTAGE)
        await peer.received(1)
        clock.advance(60)
        alerting.wake()
        await peer.received(2)
        offer(alerting, RECOVERY)
        await peer.received(3)
        for count in range(4, 30):
            clock.advance(60)
            alerting.wake()
            if clock.time() - RECOVERY[-1].started < 15 * 60:
                await peer.received(count)
        await alerting.drain(0.2)
        heard = len(peer.deliveries)
        clock.advance(60)
        alerting.wake()
        await asyncio.sleep(0.05)
        assert len(peer.deliveries) == heard
    starts = {delivery.json[0]["startsAt"] for delivery in peer.deliveries}
    ends = [delivery.json[0]["endsAt"] for delivery in peer.deliveries]
    assert len(starts) == 1
    assert ends[1] > ends[0] > ends[2]
    assert set(ends[2:]) == {ends[2]}


async def test_every_peer_is_told_on_its_own(store: Store) -> None:
    """One that hangs delays no other."""
    async with Receiver(always=HANG) as one, Receiver() as two, running(store, prom(one, two)) as alerting:
        offer(alerting, OUTAGE)
        await two.received(1)
        offer(alerting, RECOVERY)
        await two.received(2)
        assert len(one.deliveries) == 1


async def test_a_peer_that_was_away_hears_the_state_of_now(store: Store) -> None:
    """What it missed is told with the retry, not one by one."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with Receiver(Reply(503)) as peer, running(store, prom(peer), clock) as alerting:
        offer(alerting, OUTAGE)
        await peer.received(1)
        offer(alerting, RECOVERY)
        await until(lambda: not alerting.active)
        clock.advance(2)
        alerting.wake()
        await peer.received(2)
        (alert,) = peer.deliveries[1].json
        assert alert["endsAt"] < "2027-01-15T08:03"


async def test_a_peer_that_refuses_is_told_to_the_others(store: Store) -> None:
    """It stores the valid alerts of what it answers with 400; the whole is told again at the next round."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with (
        Receiver(Reply(400, body=b"bad label")) as refusing,
        Receiver() as well,
        Receiver() as hook,
        running(store, prom(refusing, well, hook=hook), clock) as alerting,
    ):
        offer(alerting, OUTAGE)
        await hook.received(2)
        assert hook.deliveries[1].json["alert"] == "ReceiverFailing"
        assert "bad label" in hook.deliveries[1].json["evidence"]["message"]
        clock.advance(60)
        alerting.wake()
        await hook.received(3)
        assert types(hook) == ["alert.fired", "alert.fired", "alert.resolved"]


async def test_a_receiver_is_well_when_all_its_peers_are(store: Store) -> None:
    """One peer that accepts again does not hide the other that still refuses, also not over a restart."""
    clock, no = ManualClock(wall=OUTAGE[-1].started + 5), Reply(400, body=b"bad label")
    async with Receiver(always=no) as one, Receiver(always=no) as two, Receiver() as hook:
        async with running(store, prom(one, two, hook=hook), clock) as alerting:
            offer(alerting, OUTAGE)
            await hook.received(2)
            await one.received(1)
            await two.received(1)
            one.always = Reply()
            clock.advance(60)
            alerting.wake()
            await one.received(2)
            await alerting.drain(1)
            assert len(hook.deliveries) == 2
        async with running(store, prom(one, two, hook=hook), clock) as alerting:
            await one.received(3)
            await alerting.drain(1)
            assert len(hook.deliveries) == 2
            two.always = Reply()
            clock.advance(60)
            alerting.wake()
            await hook.received(3)
    assert hook.deliveries[2].json["type"] == "alert.resolved"


# ---- metrics


def test_alerts_are_a_gauge_and_deliveries_a_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """One series for each alert that can be, 0 while it is quiet."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    engine = Engine(alerts(), "default", [CHAT])
    (key,) = engine.pairs
    incidents = {key: Incident(key=key, rule="Errors", subject="chat", opened=0.0)}
    meters = Meters(engine, lambda: incidents)
    meters.delivered("hook", "accepted")
    data = reader.get_metrics_data()
    assert data is not None
    points = {
        (metric.name, *sorted(map(str, dict(point.attributes or {}).values()))): point.value
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    assert points == {
        ("streamcanary.notifications", "accepted", "hook"): 1,
        ("streamcanary.alert.active", "Errors", "chat", "openai", "openai", "page"): 1,
        ("streamcanary.alert.active", "StoreFailing", "page"): 0,
        ("streamcanary.alert.active", "ReceiverFailing", "hook", "page"): 0,
    }
    provider.shutdown()


def test_the_log_is_quiet_while_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    """Making the parts says nothing."""
    with caplog.at_level(logging.WARNING):
        Alerting(config=alerts(), instance="i", canaries=[CHAT], ledger=Unreliable(None), clock=SystemClock())
    assert caplog.records == []
