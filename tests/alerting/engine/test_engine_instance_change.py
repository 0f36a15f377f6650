"""Test a change of ``instance``: the alerts of the former instance are resolved."""

from typing import Any

from streamcanary.alerting.engine.grouping.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import Started, StateReceiverReported, StoreFailed, StoreRecovered
from streamcanary.alerting.notify.delivery.result import Refused
from support.alerting.builders import EngineHarness, alerts, bad, good, webhook_config

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
RENAMED = "the instance is now called elsewhere"


def firing_harness(**sections: Any) -> EngineHarness:
    """Build a harness in which ``chat`` failed three times."""
    harness = EngineHarness(alerts(**sections))
    harness.observe(bad, bad, bad)
    return harness


def restart_as_another_instance(harness: EngineHarness, **sections: Any) -> None:
    """Restart as another instance, with nothing else changed."""
    harness.configure(alerts(**sections), instance="elsewhere")
    harness.crash()
    harness.step(Started())


def test_alerts_of_the_former_instance_are_resolved() -> None:
    """Receivers get the resolve under the former key, and no alert of the former instance stays open."""
    harness = firing_harness()
    opened = harness.deliver()
    restart_as_another_instance(harness)
    resolve = harness.deliver()
    assert opened is not None
    assert resolve is not None
    assert (resolve.action, resolve.group, resolve.opened) == ("resolve", opened.group, opened.opened)
    assert resolve.members[0].resolve_reason == RENAMED
    assert ([], []) == (harness.open_incidents, [group for group in harness.state.groups.values() if group.is_firing])


def test_alert_that_still_fires_is_notified_under_the_new_instance() -> None:
    """An alert that still fires triggers under the new instance, with its own key and labels."""
    harness = firing_harness()
    harness.deliver_all()
    restart_as_another_instance(harness)
    harness.observe(bad, bad, bad)
    assert [("trigger", "Errors"), ("resolve", "Errors")] == harness.deliver_all()  # triggers are sent before resolves
    assert ["elsewhere"] == [incident.labels["instance"] for incident in harness.open_incidents]
    harness.observe(good, good, good)
    assert [("resolve", "Errors")] == harness.deliver_all()


def test_alert_of_the_former_instance_that_was_never_sent_sends_nothing() -> None:
    """An alert of the former instance that was never sent sends neither a trigger nor a resolve."""
    harness = firing_harness()
    restart_as_another_instance(harness)
    assert ([], {}) == (harness.deliver_all(), harness.state.notifications)


def test_state_receiver_gets_the_resolve_under_the_former_labels() -> None:
    """A state receiver gets the resolve under the former labels; Alertmanager would show the alert until it expires."""
    harness = firing_harness(receivers={"prom": PROM})
    restart_as_another_instance(harness, receivers={"prom": PROM})
    (resolve,) = active_alerts(harness.state, "prom", harness.now)
    assert ("default", harness.now, RENAMED) == (resolve.labels["instance"], resolve.resolved, resolve.resolve_reason)


def test_built_in_alerts_of_the_former_instance_are_resolved() -> None:
    """Built-in alerts of the former instance are resolved, because nothing else can resolve their keys."""
    hooks = {"hook": webhook_config(), "prom": PROM}
    harness = EngineHarness(alerts(receivers=hooks))
    harness.step(StateReceiverReported("prom", Refused("HTTP 400: bad label")))
    harness.step(StoreFailed("disk full"))
    assert [("trigger", "ReceiverFailing"), ("trigger", "StoreFailing")] == harness.deliver_all()
    restart_as_another_instance(harness, receivers=hooks)
    assert [("resolve", "ReceiverFailing"), ("resolve", "StoreFailing")] == harness.deliver_all()
    assert {RENAMED} == {incident.resolve_reason for incident in harness.state.incidents.values()}


def test_built_in_alerts_of_the_same_instance_stay_open() -> None:
    """A restart of the same instance resolves no built-in alert."""
    hooks = {"hook": webhook_config(), "prom": PROM}
    harness = EngineHarness(alerts(receivers=hooks))
    harness.step(StateReceiverReported("prom", Refused("HTTP 400: bad label")))
    harness.step(StoreFailed("disk full"))
    harness.deliver_all()
    harness.crash()
    harness.step(Started())
    assert (2, []) == (len(harness.open_incidents), harness.deliver_all())
    harness.step(StoreRecovered())
    assert [("resolve", "StoreFailing")] == harness.deliver_all()


def test_rows_of_the_former_instance_are_deleted_after_a_week() -> None:
    """The rows of the former instance are deleted a week after its alerts resolved."""
    harness = firing_harness()
    harness.deliver_all()
    restart_as_another_instance(harness)
    harness.deliver_all()
    harness.now += 8 * 86400
    harness.advance_one_minute()
    harness.stored_rows["reachability"].clear()
    assert {table: {} for table in harness.stored_rows} == harness.stored_rows
