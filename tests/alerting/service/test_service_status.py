"""The status snapshot: open incidents, what mutes them, and undelivered notifications."""

from typing import Any

import pytest

from streamcanary.alerting.engine.inputs import SilenceCreated
from streamcanary.alerting.notify.delivery.result import Refused, Retry
from streamcanary.alerting.service.liveness import DeliveryFailure
from streamcanary.alerting.service.status import snapshot as status
from streamcanary.alerting.service.status.snapshot import StatusBuilder
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.faults import FaultKind
from streamcanary.store.database import Store
from support.alerting.builders import NOON, THREE_FAILURES_RULE, EngineHarness, alerts, bad, webhook_config
from support.alerting.groups import ONE_FAILURE, make_canaries, run_canaries
from support.alerting.service import OUTAGE, enqueue_outcomes, running_service, wait_until, webhooks_config
from support.servers.receiver import FakeReceiver


def snapshot(world: EngineHarness, **levels: Any) -> StatusSnapshot:
    """Return the status snapshot of ``world``."""
    return StatusBuilder(world.config, world.engine).snapshot(world.state, levels, world.now, 1000.0)


def test_open_incident_has_current_evidence_and_annotations() -> None:
    """An open incident has rendered annotations and the evidence of the last run."""
    runbook = {"annotations": {"runbook_url": "https://run.book/{alert}", "summary": "{bad}"}}
    world = EngineHarness(alerts(rules={"Errors": {**THREE_FAILURES_RULE, **runbook}}))
    assert StatusSnapshot() == snapshot(world)
    world.observe(*[bad] * 5)
    (one,) = snapshot(world).incidents
    assert (5, 5) == (one.incident.evidence.bad, one.incident.evidence.total)
    assert {"runbook_url": "https://run.book/Errors", "summary": "5"} == one.annotations
    assert (None, ()) == (one.muted_by, one.silenced_by)


def test_an_incident_has_the_receivers_that_have_accepted_it() -> None:
    """A receiver counts once it has accepted a notification, and still does when a silence follows."""
    world = EngineHarness(alerts())
    world.observe(*[bad] * 3)
    assert [()] == [one.notified for one in snapshot(world).incidents]
    world.deliver(answer=Retry(reason="HTTP 503"))
    assert [()] == [one.notified for one in snapshot(world).incidents]
    world.now += 3600
    world.deliver()
    assert [("hook",)] == [one.notified for one in snapshot(world).incidents]
    world.step(SilenceCreated(Silence(id="s", match=('alert="Errors"',), starts=NOON, until=world.now + 3600)))
    assert [("hook",)] == [one.notified for one in snapshot(world).incidents]


def test_a_state_receiver_counts_as_notified_unless_all_its_addresses_fail() -> None:
    """It is sent all active alerts that are not muted."""
    receivers = {"prom": {"type": "alertmanager", "urls": ["http://127.0.0.1:1", "http://127.0.0.1:2"]}}
    world = EngineHarness(alerts(receivers=receivers, routes=[{"receivers": ["prom"]}]))
    world.observe(*[bad] * 3)
    fails = DeliveryFailure(since=1.0, reason="HTTP 503")
    assert [("prom",)] == [one.notified for one in snapshot(world, prom=[fails, None]).incidents]
    assert [()] == [one.notified for one in snapshot(world, prom=[fails, fails]).incidents]
    world.step(SilenceCreated(Silence(id="s", match=('alert="Errors"',), starts=NOON, until=NOON + 3600)))
    assert [()] == [one.notified for one in snapshot(world).incidents]


def test_mute_reason_is_shown() -> None:
    """A muted alert has its silences by id, its maintenance window, or the rule that inhibits it."""
    world = EngineHarness(alerts())
    world.observe(*[bad] * 3)
    for name in ("s-1", "s-2"):
        world.step(SilenceCreated(Silence(id=name, match=('alert="Errors"',), starts=NOON, until=NOON + 3600)))
    world.step(SilenceCreated(Silence(id="s-3", match=('alert="Other"',), starts=NOON, until=NOON + 3600)))
    (one,) = snapshot(world).incidents
    assert ("silence s-1", ("s-1", "s-2")) == (one.muted_by, one.silenced_by)

    window = {"match": ['canary="chat"'], "cron": "* * * * *", "for": "5m"}
    world = EngineHarness(alerts(maintenance={"deploy": window}))
    world.observe(*[bad] * 3)
    assert ["maintenance deploy"] == [one.muted_by for one in snapshot(world).incidents]

    def rejected(number: int) -> Any:
        return bad(number, FaultKind.AUTH_FAILED)

    rule = {**THREE_FAILURES_RULE, "blame": ["config"]}
    world = EngineHarness(alerts(rules={"Mine": rule, "TargetRejected": {"enabled": True}}))
    world.observe(rejected, rejected)
    world.deliver()
    world.observe(rejected)
    assert ["inhibited by TargetRejected"] == [
        one.muted_by for one in snapshot(world).incidents if one.incident.rule == "Mine"
    ]


def test_undelivered_notifications_are_shown_with_the_error() -> None:
    """Pending and refused notifications are shown with their error, accepted ones are not."""
    world = EngineHarness(
        alerts(receivers={"late": webhook_config(), "refusing": webhook_config(), "well": webhook_config()})
    )
    world.observe(*[bad] * 3)
    world.deliver("late", Retry(reason="HTTP 500"))
    world.deliver("refusing", Refused("HTTP 404"))
    world.deliver("well")
    owed = {one.receiver: one for one in snapshot(world).undelivered if one.title.startswith("chat")}
    assert {"late", "refusing"} == owed.keys()
    assert ("trigger", 1, False, "HTTP 500") == (
        owed["late"].action,
        owed["late"].attempts,
        owed["late"].is_parked,
        owed["late"].last_error,
    )
    assert owed["late"].next_attempt is not None
    assert (True, None, "HTTP 404") == (
        owed["refusing"].is_parked,
        owed["refusing"].next_attempt,
        owed["refusing"].last_error,
    )
    assert world.now == owed["refusing"].since
    assert "chat: 3 of the last 3 runs failed" == owed["refusing"].title


def test_failing_state_receiver_is_shown() -> None:
    """A state receiver with failing addresses is shown, without a count of attempts."""
    world = EngineHarness(alerts())
    behind = [DeliveryFailure(940.0, "HTTP 500"), None, DeliveryFailure(970.0, "no answer within 10 s")]
    (one,) = snapshot(world, prom=behind, other=[None]).undelivered
    assert ("prom", "state", "2 of 3 addresses fail") == (one.receiver, one.action, one.title)
    assert (world.now - 60, "HTTP 500", None) == (one.since, one.last_error, one.attempts)


def test_snapshot_is_bounded_and_counts_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot contains the oldest entries up to a limit, and the number of all."""
    monkeypatch.setattr(status, "MAX_INCIDENTS", 3)
    monkeypatch.setattr(status, "MAX_UNDELIVERED", 4)
    world = EngineHarness(alerts(rules={"Errors": ONE_FAILURE}, group_by=["canary"]), *make_canaries(6))
    for number in range(6):
        world.now += 1
        run_canaries(world, f"c{number}")
    status_snapshot = snapshot(world, prom=[DeliveryFailure(990.0, "HTTP 500")])
    assert (6, ["c0", "c1", "c2"]) == (
        status_snapshot.firing_count,
        [one.incident.canary for one in status_snapshot.incidents],
    )
    assert (7, ["state", *["trigger"] * 3]) == (
        status_snapshot.undelivered_count,
        [one.action for one in status_snapshot.undelivered],
    )


async def test_running_service_has_a_status_snapshot(store: Store) -> None:
    """The snapshot of a running service shows the committed state."""
    async with FakeReceiver() as hook, running_service(store, webhooks_config(hook=hook)) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await wait_until(lambda: alerting.status.firing_count == 1)
        await hook.wait_for_deliveries(1)
        await wait_until(lambda: alerting.status.undelivered_count == 0)
        assert ["chat"] == [one.incident.subject for one in alerting.status.incidents]
