"""Test inhibition: egress and rejection alerts mute the alerts that they inhibit."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.grouping.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import RunFinished, Tick
from streamcanary.alerting.notify.delivery.result import Refused, Retry
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import BudgetState, OutcomeKind
from support.alerting.builders import THREE_FAILURES_RULE, EngineHarness, a_fault, a_run, alerts, webhook_config

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}


def later(harness: EngineHarness, seconds: float) -> None:
    """Advance the clock and tick."""
    harness.now += seconds
    harness.step(Tick())


HOSTS = tuple(
    Canary(name=name, target=name, provider=name, interval=30.0, host=host)
    for name, host in (("a", "one"), ("b", "two"))
)


def run_all(harness: EngineHarness, kind: FaultKind | None, *names: str) -> None:
    """Run canaries now, all with the same fault or all good."""
    harness.now += 30
    for name in names or ("a", "b"):
        outcome = a_run(
            int(harness.now),
            OutcomeKind.FAILED if kind else OutcomeKind.OK,
            kind and a_fault(kind),
            started=harness.now - 1,
        )
        harness.step(RunFinished(msgspec.structs.replace(outcome, canary=name, duration=0.5)))


def egress_down_harness(**sections: Any) -> EngineHarness:
    """Build a harness in which two hosts were unreachable twice: only ``CanaryEgressDown`` fires."""
    harness = EngineHarness(alerts(**sections), *HOSTS)
    for _ in range(2):
        run_all(harness, FaultKind.CONNECT_FAILED)
    assert ["CanaryEgressDown"] == [incident.rule for incident in harness.open_incidents]
    return harness


def test_egress_down_is_one_notification() -> None:
    """``CanaryEgressDown`` inhibits the alerts that it covers once its trigger is accepted, also after it resolves."""
    harness = egress_down_harness()
    assert [("trigger", "CanaryEgressDown")] == harness.deliver_all()
    run_all(harness, FaultKind.CONNECT_FAILED)
    assert (3, []) == (len(harness.open_incidents), harness.deliver_all())
    run_all(harness, None, "a")
    harness.step(Tick())
    assert [("resolve", "CanaryEgressDown")] == harness.deliver_all()
    later(harness, 5)
    run_all(harness, None)
    run_all(harness, None)
    run_all(harness, None)
    assert ([], []) == (harness.open_incidents, harness.deliver_all())


def test_new_failure_after_egress_recovers_is_notified() -> None:
    """A failure after ``CanaryEgressDown`` resolved is notified, because egress is not its only cause."""
    harness = egress_down_harness()
    harness.deliver_all()
    run_all(harness, FaultKind.CONNECT_FAILED)
    run_all(harness, None, "a")
    harness.deliver_all()
    later(harness, 5)
    assert [] == harness.deliver_all()
    run_all(harness, FaultKind.STALLED, "b")
    later(harness, 5)
    notification = harness.deliver()
    assert notification is not None
    assert ("trigger", ["b"]) == (notification.action, [one.canary for one in notification.members])


@pytest.mark.parametrize("answer", [None, Retry(reason="no answer"), Refused("HTTP 400")])
def test_alert_inhibits_nothing_until_its_trigger_is_accepted(answer: Any) -> None:
    """An alert inhibits nothing while its own trigger is not accepted."""
    harness = egress_down_harness()
    if answer is not None:
        harness.deliver(answer=answer)
    run_all(harness, FaultKind.CONNECT_FAILED)
    assert 2 == sum(notification.members[0].rule == "Errors" for notification in harness.state.notifications.values())


def test_inhibition_needs_every_receiver_of_the_inhibited_alert() -> None:
    """An alert inhibits another only after all receivers of the inhibited alert accepted its trigger."""
    harness = egress_down_harness(receivers=TWO_HOOKS)
    harness.deliver_all("hook")
    run_all(harness, FaultKind.CONNECT_FAILED, "a")
    run_all(harness, FaultKind.CONNECT_FAILED, "a")
    assert [("trigger", "CanaryEgressDown"), ("trigger", "Errors")] == harness.deliver_all("other")
    run_all(harness, FaultKind.CONNECT_FAILED, "b")
    assert [] == harness.deliver_all("other")


def test_alert_routed_elsewhere_inhibits_nothing() -> None:
    """An alert that is routed to other receivers or to none inhibits nothing."""
    for routes in (
        [{"match": ['alert="Errors"'], "receivers": ["hook"]}, {"receivers": ["other"]}],
        [{"match": ['alert="Errors"'], "receivers": ["hook"]}],
    ):
        harness = egress_down_harness(receivers=TWO_HOOKS, routes=routes)
        harness.deliver_all("other")
        run_all(harness, FaultKind.CONNECT_FAILED)
        assert 2 == len(harness.deliver_all("hook"))


def test_state_receiver_without_the_inhibiting_alert_gets_the_inhibited_alerts() -> None:
    """A state receiver gets inhibited alerts unless the inhibiting alert is routed to it, too."""
    routes = [{"match": ['alert="Errors"'], "receivers": ["prom"]}, {"receivers": ["hook"]}]
    harness = egress_down_harness(receivers={"hook": webhook_config(), "prom": PROM}, routes=routes)
    harness.deliver_all()
    run_all(harness, FaultKind.CONNECT_FAILED)
    assert ["Errors", "Errors"] == [incident.rule for incident in active_alerts(harness.state, "prom", harness.now)]
    harness = egress_down_harness(receivers={"prom": PROM})
    run_all(harness, FaultKind.CONNECT_FAILED)
    assert ["CanaryEgressDown"] == [incident.rule for incident in active_alerts(harness.state, "prom", harness.now)]


def test_resolved_alert_that_was_never_accepted_inhibits_nothing() -> None:
    """An alert whose trigger was refused inhibits nothing after it resolved."""
    harness = egress_down_harness(group_wait=120)
    harness.deliver(answer=Refused("HTTP 400"))
    run_all(harness, FaultKind.CONNECT_FAILED)
    run_all(harness, None, "a")
    assert [] == harness.deliver_all()
    later(harness, 120)
    assert [("trigger", "Errors")] * 2 == harness.deliver_all()


def test_alert_resolved_in_the_future_inhibits_nothing() -> None:
    """An alert with a resolve time in the future (the clock was set back) inhibits nothing."""
    harness = egress_down_harness()
    harness.deliver_all()
    run_all(harness, None, "a")
    harness.deliver_all()
    harness.now -= 7200
    for _ in range(3):
        run_all(harness, FaultKind.STALLED, "b")
    later(harness, 5)
    assert [("trigger", "Errors")] == harness.deliver_all()


def test_pending_repeat_keeps_the_inhibition() -> None:
    """A repeat notification that is not delivered yet does not end the inhibition, because the trigger was accepted."""
    harness = egress_down_harness(repeat_interval="1h")
    harness.deliver_all()
    run_all(harness, FaultKind.CONNECT_FAILED)
    later(harness, 3600)
    assert [("CanaryEgressDown", "update")] == [
        (notification.members[0].rule, notification.action)
        for notification in harness.state.notifications.values()
        if notification.state == "pending"
    ]
    later(harness, 5)
    assert 2 == len(harness.state.notifications)


def test_alert_that_fired_before_egress_down_is_not_inhibited() -> None:
    """An alert that fired before ``CanaryEgressDown`` has another cause and is notified."""
    harness = EngineHarness(alerts(group_wait=300), *HOSTS)
    for _ in range(3):
        run_all(harness, FaultKind.STALLED, "a")
    for _ in range(2):
        run_all(harness, FaultKind.CONNECT_FAILED)
    assert [("trigger", "CanaryEgressDown")] == harness.deliver_all()
    later(harness, 300)
    notification = harness.deliver()
    assert notification is not None
    assert ("trigger", ["a"]) == (notification.action, [one.canary for one in notification.members])


def test_egress_down_needs_two_hosts_to_fail_twice_with_none_reachable() -> None:
    """``CanaryEgressDown`` needs repeated failures of two or more hosts, and no other host reached in the meantime."""
    harness = EngineHarness(alerts(), *HOSTS)
    run_all(harness, FaultKind.CONNECT_FAILED)
    assert [] == harness.open_incidents
    one_host = [msgspec.structs.replace(canary, host="same") for canary in HOSTS]
    harness = EngineHarness(alerts(rules={}), *one_host)
    for _ in range(5):
        run_all(harness, FaultKind.CONNECT_FAILED)
    assert [] == harness.open_incidents
    third = Canary(name="c", target="c", provider="c", interval=30.0, host="three")
    harness = EngineHarness(alerts(rules={}), *HOSTS, third)
    run_all(harness, FaultKind.CONNECT_FAILED, "a", "b")
    for _ in range(4):
        run_all(harness, FaultKind.STALLED, "c")  # the host answered, and then stalled
        assert [] == harness.open_incidents
        run_all(harness, FaultKind.CONNECT_FAILED, "a", "b")
        assert [] == harness.open_incidents
    run_all(harness, FaultKind.CONNECT_FAILED, "c")  # one failure: the host was reached shortly before
    assert [] == harness.open_incidents
    run_all(harness, FaultKind.CONNECT_FAILED, "c")
    assert ["CanaryEgressDown"] == [incident.rule for incident in harness.open_incidents]


def test_run_skipped_for_its_budget_says_nothing_about_egress() -> None:
    """A run skipped for its budget neither resolves ``CanaryEgressDown`` nor prevents it."""
    harness = egress_down_harness()
    skipped = a_run(99, OutcomeKind.SKIPPED, reason="budget", budget=BudgetState.EXHAUSTED, started=harness.now)
    third = Canary(name="c", target="c", provider="c", interval=30.0, host="three")
    harness.configure(alerts(), *HOSTS, third)
    harness.step(RunFinished(msgspec.structs.replace(skipped, canary="c")))
    assert "CanaryEgressDown" in {incident.rule for incident in harness.open_incidents}
    harness = EngineHarness(alerts(rules={}), *HOSTS, third)
    for _ in range(2):
        run_all(harness, FaultKind.CONNECT_FAILED)
        harness.step(RunFinished(msgspec.structs.replace(skipped, canary="c", started=harness.now)))
    assert "CanaryEgressDown" in {incident.rule for incident in harness.open_incidents}


def test_rejected_target_inhibits_other_alerts_of_its_canary() -> None:
    """``TargetRejected`` inhibits other alerts of the same canary, and of no other canary."""
    any_fault = {**THREE_FAILURES_RULE, "blame": ["config", "provider"]}
    harness = EngineHarness(alerts(rules={"Errors": any_fault, "TargetRejected": {}}), *HOSTS)
    run_all(harness, FaultKind.AUTH_FAILED, "a")
    run_all(harness, FaultKind.AUTH_FAILED, "a")
    assert [("trigger", "TargetRejected")] == harness.deliver_all()
    for _ in range(3):
        run_all(harness, FaultKind.AUTH_FAILED, "a")
        run_all(harness, FaultKind.STALLED, "b")
    notification = harness.deliver()
    assert notification is not None
    assert ("Errors", "b") == (notification.members[0].rule, notification.members[0].canary)
    assert [] == harness.deliver_all()
