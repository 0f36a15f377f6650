"""The history of alerts: an incident with its timeline, in the transaction of each change."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import Input, RunFinished, Tick
from streamcanary.alerting.service.service import AlertingService
from streamcanary.alerting.service.status import history_recorder
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from streamcanary.model.status.alert_history import EventKind, PastIncident, past_incident_id
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from streamcanary.store.recorded_runs import read_alert_history
from streamcanary.store.tables import alert_history
from streamcanary.store.tables.alert_rows import TABLES
from support.alerting.builders import CHAT, NOON, THREE_FAILURES_RULE, EngineHarness, alerts, bad, good, webhook_config
from support.alerting.service import (
    OUTAGE,
    RECOVERY,
    UnreliableStore,
    enqueue_outcomes,
    running_service,
    wait_until,
    webhooks_config,
)
from support.clock import ManualClock
from support.servers.receiver import FakeReceiver, Reply


def recorded_alerts(store: Store) -> list[PastIncident]:
    """Return the alerts in the file of ``store``, as another process reads them."""
    return read_alert_history(StoreConfig(path=Path(store.location)), 0.0)


def kinds(incident: PastIncident) -> list[tuple[EventKind, str | None]]:
    """Return kind and receiver of the events of a timeline."""
    return [(event.kind, event.receiver) for event in incident.timeline]


async def the_incident(alerting: AlertingService) -> PastIncident:
    """Return the only incident of the history."""
    (incident,) = (await alerting.history.read_page()).incidents
    return incident


async def until_recorded(alerting: AlertingService, kind: EventKind) -> None:
    """Wait until an unfinished incident has an event of ``kind``."""
    await wait_until(lambda: any(kind in dict(kinds(one)) for one in alerting.history.unfinished))


async def test_an_outage_is_one_incident_with_its_timeline(store: Store) -> None:
    """First failure, fired, notified, resolved, resolve notified, in this order, with what was broken for whom."""
    async with FakeReceiver() as hook, running_service(store, webhooks_config(hook=hook)) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await until_recorded(alerting, "notified")
        enqueue_outcomes(alerting, RECOVERY)
        await hook.wait_for_deliveries(2)
        await alerting.drain(5)
        incident = await the_incident(alerting)
    assert [
        ("first_failure", None),
        ("fired", None),
        ("notified", "hook"),
        ("resolved", None),
        ("resolve_notified", "hook"),
    ] == kinds(incident)
    assert ("Errors", "chat", "page", ("chat",)) == (
        incident.rule,
        incident.subject,
        incident.severity,
        incident.canaries,
    )
    assert "chat: 3 of the last 3 runs failed" == incident.summary
    assert "recovered: the last 3 runs were good" == incident.resolve_reason
    assert {"stalled": 3} == incident.faults
    assert NOON + 1 == incident.since


async def test_each_receiver_has_its_events_and_its_errors(store: Store) -> None:
    """A receiver that answers 503, and then accepts, was retried; one that answers 400 has refused."""
    clock = ManualClock()
    async with FakeReceiver(Reply(503)) as slow, FakeReceiver(Reply(400)) as broken:
        config = webhooks_config(slow=slow, broken=broken)
        async with running_service(store, config, clock) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await until_recorded(alerting, "retried")
            await until_recorded(alerting, "refused")
            clock.advance(61)
            alerting.wake()
            await slow.wait_for_deliveries(2)
            await alerting.drain(5)
            page = await alerting.history.read_page()
    incident = next(one for one in page.incidents if one.subject == "chat")
    by_receiver = {
        name: [event.kind for event in incident.timeline if event.receiver == name] for name in ("slow", "broken")
    }
    assert {"slow": ["retried", "notified"], "broken": ["refused"]} == by_receiver
    texts = {event.kind: event.text for event in incident.timeline}
    assert texts["retried"].startswith("attempt 1: HTTP 503")
    assert texts["refused"].startswith("attempt 1: HTTP 400")


async def test_a_kill_loses_nothing_of_what_was_sent(store: Store) -> None:
    """After an end without a drain, a new process continues the same incident, with the events that were saved."""
    async with FakeReceiver() as hook:
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await wait_until(lambda: any("notified" in dict(kinds(one)) for one in recorded_alerts(store)))
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, RECOVERY)
            await until_recorded(alerting, "resolve_notified")
            await alerting.drain(5)
            incident = await the_incident(alerting)
    assert ["first_failure", "fired", "notified", "resolved", "resolve_notified"] == [
        kind for kind, _ in kinds(incident)
    ]
    assert [incident] == recorded_alerts(store)


class StoreUntilKill(UnreliableStore):
    """Delegates to a store until ``receiver`` has a notification; later commits end with the process."""

    def __init__(self, store: Store, receiver: FakeReceiver) -> None:
        super().__init__(store)
        self.receiver = receiver

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Commit, or never return."""
        if self.receiver.deliveries:
            await asyncio.Event().wait()
        await super().commit(rows, outcomes)


@pytest.mark.parametrize("has_recovered", [False, True])
async def test_a_notification_that_is_repeated_after_a_kill_is_one_event(store: Store, *, has_recovered: bool) -> None:
    """Killed before it has saved that a receiver accepted, a daemon sends the notification again, and records it once.

    If the runs are good again by then, it is recorded after the end of the incident.
    """
    async with FakeReceiver() as hook:
        async with running_service(StoreUntilKill(store, hook), webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await until_recorded(alerting, "notified")
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            if not has_recovered:
                await until_recorded(alerting, "notified")
            enqueue_outcomes(alerting, RECOVERY)
            await hook.wait_for_deliveries(3)
            await alerting.drain(5)
            incident = await the_incident(alerting)
    events = ["resolved", "notified"] if has_recovered else ["notified", "resolved"]
    assert ["first_failure", "fired", *events, "resolve_notified"] == [kind for kind, _ in kinds(incident)]
    assert hook.deliveries[0].id == hook.deliveries[1].id


async def test_a_silence_is_in_the_timeline_until_it_ends(store: Store) -> None:
    """A silence that is created and deleted mutes the incident and ends to mute it."""
    async with FakeReceiver() as hook, running_service(store, webhooks_config(hook=hook)) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(1)
        now = alerting.clock.time()
        await alerting.create_silence(Silence(id="s1", match=('canary="chat"',), starts=now - 1, until=now + 60))
        await alerting.delete_silence("s1")
        incident = await the_incident(alerting)
    assert [("muted", "silence s1"), ("unmuted", "silence s1")] == [
        (event.kind, event.text) for event in incident.timeline if event.kind.endswith("muted")
    ]


async def test_a_renamed_rule_continues_its_incident(store: Store) -> None:
    """With ``renamed_from`` a rule keeps its open incident in the history, under the new name."""
    async with FakeReceiver() as hook:
        config = webhooks_config(hook=hook)
        async with running_service(store, config) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
            await alerting.drain(5)
            before = await the_incident(alerting)
            rules = {"Failures": {**THREE_FAILURES_RULE, "renamed_from": "Errors"}}
            renamed = alerts(rules=rules, receivers={"hook": webhook_config(hook.url)})
            alerting.prepare(renamed, "default", [CHAT])
            alerting.apply()
            await wait_until(lambda: alerting.open_incidents[0].rule == "Failures")
            enqueue_outcomes(alerting, RECOVERY)
            await hook.wait_for_deliveries(2)
            await alerting.drain(5)
            after = await the_incident(alerting)
    assert (before.id, "Failures") == (after.id, after.rule)
    assert after.resolved is not None


async def test_an_incident_of_a_removed_canary_ends(store: Store) -> None:
    """A start without the canary resolves its incident, in the history, too."""
    async with FakeReceiver() as hook, running_service(store, webhooks_config(hook=hook)) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(1)
        alerting.prepare(
            webhooks_config(hook=hook), "default", [Canary(name="b", target="t", provider="p", interval=30)]
        )
        alerting.apply()
        await hook.wait_for_deliveries(2)
        await alerting.drain(5)
        incident = await the_incident(alerting)
    assert incident.resolved is not None
    assert "resolve_notified" in dict(kinds(incident))


async def test_an_incident_whose_state_was_lost_ends_at_the_next_start(store: Store) -> None:
    """An open row without an incident in the state would fire for ever; the next start ends it."""
    async with FakeReceiver() as hook:
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
            await alerting.drain(5)
        await store.write(
            lambda connection: [connection.execute(f"DELETE FROM {table}") for table in TABLES] and None  # noqa: S608 - fixed names
        )
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            await wait_until(lambda: alerting.history.unfinished == [] and alerting.state.running_since)
            incident = await the_incident(alerting)
    assert "the state of this alert was lost" == incident.resolve_reason


@pytest.mark.parametrize("value", [b"", b"\xff\x00", b"[]", b'{"id":"other"}', b"[" * 60_000, b"x" * 100_000])
async def test_a_damaged_row_costs_only_its_past(store: Store, value: bytes) -> None:
    """A damaged row is written anew for an open incident; alerting, the other rows and their pages do not notice."""
    async with FakeReceiver() as hook:
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
            await alerting.drain(5)

        def damage(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE alert_history SET value = ?", (value,))
            connection.execute("INSERT INTO alert_history VALUES ('000000000001-old', ?)", (value,))

        await store.write(damage)
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, RECOVERY)
            await hook.wait_for_deliveries(2)
            await alerting.drain(5)
            incident = await the_incident(alerting)
    assert incident.resolved is not None
    assert [incident] == recorded_alerts(store)


async def test_the_history_is_complete_when_the_store_works_again(store: Store) -> None:
    """While the store fails, the open incident is in memory, and a page cannot be read; later it is in the store."""
    failing = UnreliableStore(store)
    async with FakeReceiver() as hook, running_service(failing, webhooks_config(hook=hook)) as alerting:
        await wait_until(lambda: failing.call_count)
        failing.failure = StoreFailing("the disk is full")
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(2)  # with StoreFailing
        with pytest.raises(StoreFailing, match="the disk is full"):
            await alerting.history.read_page()
        assert {"chat", "store"} == {one.subject for one in alerting.history.unfinished}
        failing.failure = None
        enqueue_outcomes(alerting, RECOVERY)
        await hook.wait_for_deliveries(4)
        await alerting.drain(5)
        page = await alerting.history.read_page()
    assert {"chat": True, "store": True} == {one.subject: one.resolved is not None for one in page.incidents}


async def test_pages_follow_each_other_without_gaps(store: Store) -> None:
    """The cursor of a page leads to the next; an incident that fires meanwhile changes no later page."""
    async with FakeReceiver() as hook, running_service(store, webhooks_config(hook=hook)) as alerting:
        for number in range(5):
            enqueue_outcomes(
                alerting, [bad(6 * number + n) for n in range(3)], [good(6 * number + n) for n in (3, 4, 5)]
            )
            await alerting.drain(5)
        first = await alerting.history.read_page(limit=2)
        second = await alerting.history.read_page(first.cursor, limit=2)
        third = await alerting.history.read_page(second.cursor, limit=2)
        none = await alerting.history.read_page(canary="other")
    opened = [one.opened for page in (first, second, third) for one in page.incidents]
    assert sorted(opened, reverse=True) == opened
    assert (5, None) == (len(opened), third.cursor)
    assert () == none.incidents


def test_a_row_is_bounded_however_often_an_incident_is_notified() -> None:
    """A long incident keeps the beginning and the end of its timeline, and repeats replace each other."""
    recorder, harness = history_recorder.HistoryRecorder(), EngineHarness(alerts(repeat_interval="1m"))
    size = 0

    def observe(input: Input) -> None:  # noqa: A002 - as in the engine
        nonlocal size
        before = harness.state
        harness.step(input)
        step = history_recorder.Step(before, harness.state, input, harness.rows, harness.now)
        muted = "maintenance " + "m" * 300 if int(harness.now / 60) % 2 else None
        for row in recorder.observe(step, lambda *_: muted):
            size = max(size, len(row.value or b""))

    for number in range(3):
        harness.now = NOON + 30 * number + 2
        observe(RunFinished(bad(number)))
    for _ in range(400):
        harness.now += 15
        observe(Tick())
    (incident,) = recorder.incidents.values()
    assert history_recorder.MAX_EVENTS == len(incident.timeline)
    assert ["first_failure", "fired"] == [event.kind for event in incident.timeline[:2]]
    assert 0 < size <= history_recorder.MAX_ROW_BYTES


async def test_old_incidents_are_deleted_after_thirty_days(store: Store) -> None:
    """An incident is deleted 30 days after its end; one that still fires stays."""
    day = 86400.0
    rows = [
        PastIncident(
            id=past_incident_id(key, opened),
            key=key,
            rule="R",
            subject=key,
            opened=opened,
            since=opened,
            resolved=resolved,
        )
        for key, opened, resolved in [("ended", day, 2 * day), ("long", day, 40 * day), ("open", day, None)]
    ]
    with closing(sqlite3.connect(Path(store.location))) as connection, connection:
        connection.executemany(
            "INSERT INTO alert_history VALUES (?, ?)", [(one.id, msgspec.json.encode(one)) for one in rows]
        )
        alert_history.prune(connection, 33 * day)
    page = await store.past_incidents()
    assert ["open", "long"] == [one.key for one in page.incidents]
