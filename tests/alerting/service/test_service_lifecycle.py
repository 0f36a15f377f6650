"""The running alerting service with a real store and real sockets."""

import asyncio
import logging
from typing import Any

import pytest
from msgspec import structs
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service import metrics as service_metrics
from streamcanary.alerting.service.metrics import AlertMetrics
from streamcanary.alerting.service.service import AlertingService
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.clock import SystemClock
from streamcanary.store.database import Store
from streamcanary.store.tables import history
from support.alerting.builders import CHAT, alerts, good
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
from support.servers.receiver import CLOSE, HANG, SECRET, FakeReceiver, Reply


async def test_outage_fires_and_recovery_resolves(store: Store) -> None:
    """An outage gives one trigger and one resolve, signed and with one key; the runs are in the history."""
    async with FakeReceiver() as hook, running_service(store, webhooks_config(hook=hook)) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(1)
        assert [incident.canary for incident in alerting.open_incidents] == ["chat"]
        enqueue_outcomes(alerting, RECOVERY)
        await hook.wait_for_deliveries(2)
        assert alerting.open_incidents == ()
    fired, resolved = hook.deliveries
    assert (fired.json["type"], resolved.json["type"]) == ("alert.fired", "alert.resolved")
    assert fired.json["key"] == resolved.json["key"]
    (about,) = fired.json["alerts"]
    assert about["annotations"] == {"summary": "chat: 3 of the last 3 runs failed"}
    assert about["evidence"]["faults"] == {"stalled": 3}
    assert fired.signed_with(SECRET)
    assert len(await store.read(history.recent_runs)) == 6


async def test_notification_is_stored_before_it_is_sent(store: Store) -> None:
    """When the receiver gets a notification, it is in the store with its attempt counted."""
    found: list[dict[str, bytes]] = []

    class Looking(FakeReceiver):
        async def _answer(self, *streams: Any) -> bool:
            found.append((await store.load_rows())["notifications"])
            return await super()._answer(*streams)

    async with Looking() as hook, running_service(store, webhooks_config(hook=hook)) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(1)
    (row,) = found[0].values()
    assert b'"attempts":1' in row


async def test_notification_is_repeated_with_the_same_id_after_a_kill(store: Store) -> None:
    """A notification whose response was lost by a kill is repeated with the same id."""
    async with FakeReceiver(HANG) as hook:
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
        async with running_service(store, webhooks_config(hook=hook)):
            await hook.wait_for_deliveries(2)
    assert len({delivery.id for delivery in hook.deliveries}) == 1


async def test_restart_without_changes_sends_nothing(store: Store) -> None:
    """Invariant 6 with the real store: a restart sends nothing, and the next notification is the resolve."""
    async with FakeReceiver() as hook:
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
            await alerting.drain(5)
        for _ in range(3):
            async with running_service(store, webhooks_config(hook=hook)) as alerting:
                await wait_until(lambda: alerting.open_incidents)
                await alerting.drain(5)
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, RECOVERY)
            await hook.wait_for_deliveries(2)
    assert accepted_types(hook) == ["alert.fired", "alert.resolved"]


async def test_retries_keep_id_and_order(store: Store) -> None:
    """After 5xx, 429 and a lost connection the trigger is repeated until accepted, and only then the resolve sent."""
    clock = ManualClock()
    replies = (Reply(500), Reply(429, {"Retry-After": "30"}), CLOSE)
    async with FakeReceiver(*replies) as hook, running_service(store, webhooks_config(hook=hook), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE, RECOVERY[:2])
        for count in range(1, 4):
            await hook.wait_for_deliveries(count)
            enqueue_outcomes(alerting, RECOVERY[2:])
            await wait_until(
                lambda: [n for n in alerting.state.notifications.values() if n.next_attempt > clock.time()]
            )
            clock.advance(61)
            alerting.wake()
        await hook.wait_for_deliveries(5)
    assert [delivery.json["type"] for delivery in hook.deliveries] == ["alert.fired"] * 4 + ["alert.resolved"]
    assert len({delivery.id for delivery in hook.deliveries}) == 2
    assert len({delivery.body for delivery in hook.deliveries}) == 2


async def test_retry_after_is_honoured(store: Store) -> None:
    """No retry is sent before the time of ``Retry-After``."""
    clock = ManualClock()
    async with (
        FakeReceiver(Reply(429, {"Retry-After": "30"})) as hook,
        running_service(store, webhooks_config(hook=hook), clock) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(1)
        await wait_until(lambda: [n for n in alerting.state.notifications.values() if n.last_error])
        clock.advance(29)
        alerting.wake()
        await alerting.drain(0.1)
        assert len(hook.deliveries) == 1
        clock.advance(1)
        alerting.wake()
        await hook.wait_for_deliveries(2)


async def test_slow_receiver_delays_no_other_receiver_and_no_run(store: Store) -> None:
    """While a receiver hangs, the other gets trigger and resolve, and enqueueing runs does not block."""
    async with (
        FakeReceiver(always=HANG) as slow,
        FakeReceiver() as quick,
        running_service(store, webhooks_config(slow=slow, quick=quick)) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await quick.wait_for_deliveries(1)
        enqueue_outcomes(alerting, RECOVERY)
        await quick.wait_for_deliveries(2)
        await slow.wait_for_deliveries(1)
        assert len(slow.deliveries) == 1


async def test_refusal_notifies_the_other_receiver(store: Store) -> None:
    """A refused trigger is not sent again; the other receiver is notified which receiver fails, and why."""
    async with (
        FakeReceiver(always=Reply(401, body=b"who are you")) as broken,
        FakeReceiver() as other,
        running_service(store, webhooks_config(broken=broken, other=other)) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await other.wait_for_deliveries(2)
        await alerting.drain(5)
        assert len(broken.deliveries) == 1
    (failing,) = other.deliveries[1].json["alerts"]
    assert (failing["alert"], failing["canary"], failing["labels"]["severity"]) == ("ReceiverFailing", None, "page")
    assert failing["annotations"]["description"].endswith("HTTP 401: who are you")


async def test_refused_notification_is_retried_after_a_restart(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A refused trigger is sent again at the next start, and ``ReceiverFailing`` resolves when it is accepted."""
    caplog.set_level(logging.INFO, "streamcanary")
    async with FakeReceiver(Reply(404)) as hook, FakeReceiver() as other:
        async with running_service(store, webhooks_config(hook=hook, other=other)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await other.wait_for_deliveries(2)
            await alerting.drain(5)
        async with running_service(store, webhooks_config(hook=hook, other=other)) as alerting:
            await other.wait_for_deliveries(3)
            await alerting.drain(5)
            assert [incident.rule for incident in alerting.open_incidents] == ["Errors"]
    refused, taken = hook.deliveries
    assert (refused.id, refused.body) == (taken.id, taken.body)
    assert [delivery.json["labels"]["alert"] for delivery in other.deliveries] == [
        "Errors",
        "ReceiverFailing",
        "ReceiverFailing",
    ]
    assert accepted_types(other) == ["alert.fired", "alert.fired", "alert.resolved"]
    assert ["hook"] == [
        vars(record)["receiver"] for record in caplog.records if record.message == "refused notification retried"
    ]


async def test_drain_sends_queued_notifications(store: Store) -> None:
    """Outcomes enqueued before the drain are stored and their notification is delivered when it returns."""
    async with FakeReceiver() as hook, running_service(store, webhooks_config(hook=hook)) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await alerting.drain(60)
        assert accepted_types(hook) == ["alert.fired"]


async def test_drain_is_bounded_and_keeps_undelivered_notifications(store: Store) -> None:
    """A hanging receiver delays the drain only for its limit, and the notification stays in the store."""
    async with FakeReceiver(HANG) as hook:
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)  # from here on only the receiver is waited for
            begun = asyncio.get_running_loop().time()
            await alerting.drain(0.3)
            assert asyncio.get_running_loop().time() - begun < 5  # the delivery times out after 10
            assert [] == hook.accepted
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            await alerting.drain(60)
    assert accepted_types(hook) == ["alert.fired"]


async def test_drain_outside_of_run_returns_at_once(store: Store) -> None:
    """A drain before, after or twice during the run returns at once."""
    async with running_service(store, alerts()) as alerting:
        await alerting.drain(60)
        await alerting.drain(60)
    alerting.enqueue_outcome(good())
    await alerting.drain(60)


async def test_transitions_are_reported_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Each transition is reported once after the commit; an exception of the listener stops nothing."""
    seen: list[tuple[str, bool]] = []

    def listen(incident: Incident) -> None:
        seen.append((incident.rule, incident.is_firing))
        raise RuntimeError("a listener breaks")

    async with running_service(store, alerts(receivers={})) as alerting:
        alerting.on_transition = listen
        enqueue_outcomes(alerting, OUTAGE, RECOVERY)
        await wait_until(lambda: len(seen) == 2)
    assert seen == [("Errors", True), ("Errors", False)]
    assert "no route matches alert" in caplog.text


async def test_silenced_alert_is_not_reported_as_one_without_a_route(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """An alert that opens while it is silenced has a route, though it is in no group yet."""
    async with running_service(store, alerts(), ManualClock()) as alerting:
        now = alerting.clock.time()
        await alerting.create_silence(Silence(id="x", match=('alert="Errors"',), starts=now, until=now + 3600))
        enqueue_outcomes(alerting, OUTAGE)
        await wait_until(lambda: alerting.open_incidents)
    assert "no route matches alert" not in caplog.text


def test_active_alerts_are_a_gauge_and_deliveries_a_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each possible alert has a series, which is 0 while it does not fire."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    engine = Engine(alerts(), "default", [CHAT])
    (key,) = (binding.key for binding in engine.bindings)
    meters = AlertMetrics(engine, ["hook"], ManualClock())
    firing = Incident(key=key, rule="Errors", subject="chat", opened=0.0)
    resolved = structs.replace(firing, resolved=60.0)
    for incident in (firing, resolved, firing):
        meters.update(State(incidents={key: incident}))
    meters.record_delivery("hook", "accepted")
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
        ("streamcanary.alert.active", "CanaryEgressDown", "page"): 0,
        ("streamcanary.alert.active", "BudgetExhausted", "page"): 0,
        ("streamcanary.alert.active", "StoreFailing", "page"): 0,
        ("streamcanary.alert.active", "ReloadFailed", "ticket"): 0,
        ("streamcanary.alert.active", "BehindSchedule", "page"): 0,
        ("streamcanary.alert.active", "ReceiverFailing", "hook", "page"): 0,
        ("streamcanary.notification_queue.size", "hook"): 0,
        ("streamcanary.notification_queue.age", "hook"): 0,
    }
    provider.shutdown()


def test_with_many_possible_alerts_only_those_that_fired_have_a_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the limit, an alert has a series once it has fired, which is 0 when a reload removes it."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    monkeypatch.setattr(service_metrics, "MAX_IDLE_SERIES", -1)
    engine = Engine(alerts(), "default", [CHAT])
    (key,) = (binding.key for binding in engine.bindings)
    meters = AlertMetrics(engine, [], ManualClock())

    def active() -> dict[str, float]:
        data = reader.get_metrics_data()
        found = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
        return {
            str((point.attributes or {})["alert"]): point.value
            for metric in found
            if metric.name == "streamcanary.alert.active"
            for point in metric.data.data_points
        }

    assert {} == active()
    firing = Incident(key=key, rule="Errors", subject="chat", opened=0.0)
    meters.update(State(incidents={key: firing}))
    assert {"Errors": 1} == active()
    meters.update(State(incidents={key: structs.replace(firing, resolved=60.0)}))
    assert {"Errors": 0} == active()
    meters.update(State(incidents={key: firing}))
    meters.update(State())
    meters.configure(Engine(alerts(rules={}), "default", [CHAT]), [])
    meters._start_series(10)
    assert {"Errors": 0} == active()
    provider.shutdown()


def test_creating_the_service_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Creating the service logs no warning."""
    with caplog.at_level(logging.WARNING):
        AlertingService(
            config=alerts(), instance="i", canaries=[CHAT], store=UnreliableStore(None), clock=SystemClock()
        )
    assert caplog.records == []
