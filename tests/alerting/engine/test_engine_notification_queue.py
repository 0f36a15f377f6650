"""Test retries, refusals and ``ReceiverFailing`` (invariant 7), and active alerts of state receivers."""

from typing import Any

import msgspec

from streamcanary.alerting.engine.grouping import notification_queue
from streamcanary.alerting.engine.grouping.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import SendFinished, SendStarted, Started, StateReceiverReported, Tick
from streamcanary.alerting.notify.delivery.result import Accepted, Refused, Retry
from streamcanary.model.alerts.incident import Action, NotificationState
from streamcanary.model.canary import Canary
from support.alerting.builders import CHAT, NOON, EngineHarness, alerts, bad, good, webhook_config

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}


def firing_harness(**sections: Any) -> EngineHarness:
    """Build a harness in which ``chat`` failed three times."""
    harness = EngineHarness(alerts(**sections))
    harness.observe(bad, bad, bad)
    return harness


# ---- 7: retries


def test_trigger_is_retried_while_the_alert_fires() -> None:
    """A trigger is retried with backoff up to once a minute, and is still delivered after two weeks."""
    harness = firing_harness()
    waits = []
    for _ in range(12):
        assert harness.deliver(answer=Retry(reason="no answer")) is not None
        (notification,) = harness.state.notifications.values()
        waits.append(notification.next_attempt - harness.now)
        harness.now = notification.next_attempt
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    harness.now += 14 * 86400
    harness.step(Tick())
    assert harness.deliver_all() == [("trigger", "Errors")]


def test_backoff_has_jitter() -> None:
    """Jitter shortens a backoff by up to half."""
    assert [notification_queue.backoff(4, jitter) for jitter in (0.0, 0.5, 1.0)] == [8.0, 6.0, 4.0]


def test_retry_after_applies_to_all_groups_of_the_receiver() -> None:
    """A ``Retry-After`` of 60 s delays the notifications of all groups to the receiver."""
    canaries = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    harness = EngineHarness(alerts(), *canaries)
    for name in ("a", "b"):
        harness.observe(*[msgspec.structs.replace(bad(number), canary=name) for number in range(3)])
    harness.deliver(answer=Retry(reason="HTTP 429", retry_after=60.0, is_definitely_undelivered=True))
    assert harness.deliver() is None
    harness.now += 60
    assert len(harness.deliver_all()) == 2


def test_backward_clock_step_does_not_delay_a_retry() -> None:
    """A backward clock step of an hour does not delay a retry."""
    harness = firing_harness()
    harness.deliver(answer=Retry(reason="no answer"))
    harness.now -= 3600
    assert harness.deliver_all() == [("trigger", "Errors")]


def test_refused_trigger_is_reported_to_the_other_receivers() -> None:
    """A refused trigger is parked with its error, and ``ReceiverFailing`` goes only to the other receivers."""
    harness = firing_harness(receivers=TWO_HOOKS, routes=[{"receivers": ["hook", "other"]}])
    harness.deliver(answer=Refused("HTTP 401: bad token"))
    parked = next(
        notification for notification in harness.state.notifications.values() if notification.receiver == "hook"
    )
    assert (parked.state, parked.last_error) == (NotificationState.PARKED, "HTTP 401: bad token")
    assert harness.deliver_all("hook") == []
    assert harness.deliver_all("other") == [("trigger", "Errors"), ("trigger", "ReceiverFailing")]
    (failing,) = [incident for incident in harness.open_incidents if incident.rule == "ReceiverFailing"]
    assert (failing.subject, failing.labels["severity"], failing.evidence.message) == (
        "hook",
        "page",
        "HTTP 401: bad token",
    )


def test_failing_receiver_alone_in_its_route_is_reported_to_all_others() -> None:
    """``ReceiverFailing`` about the only receiver of a route goes to all other receivers."""
    harness = firing_harness(receivers=TWO_HOOKS, routes=[{"receivers": ["hook"]}])
    harness.deliver(answer=Refused("HTTP 404"))
    assert harness.deliver_all("other") == [("trigger", "ReceiverFailing")]


def test_refused_receiver_failing_creates_no_further_notification() -> None:
    """Two receivers that refuse everything do not create an endless sequence of ``ReceiverFailing``."""
    harness = firing_harness(receivers=TWO_HOOKS, routes=[{"receivers": ["hook", "other"]}])
    for _ in range(50):
        for receiver in TWO_HOOKS:
            harness.deliver(receiver, Refused("HTTP 400"))
    assert sorted(incident.subject for incident in harness.open_incidents) == ["chat", "hook", "other"]
    assert len(harness.state.notifications) == 4


def test_receiver_that_refuses_only_receiver_failing_is_not_reported() -> None:
    """A receiver that refuses only ``ReceiverFailing`` about another is not reported to the failing one."""
    harness = firing_harness(receivers=TWO_HOOKS, routes=[{"receivers": ["hook", "other"]}])
    harness.deliver("other")
    harness.deliver("hook", Refused("HTTP 400"))
    harness.deliver("other", Refused("HTTP 400"))
    assert sorted(incident.subject for incident in harness.open_incidents) == ["chat", "hook"]


def test_accepted_notification_resolves_receiver_failing() -> None:
    """The next notification that a failing receiver accepts resolves ``ReceiverFailing``."""
    harness = firing_harness(receivers=TWO_HOOKS, routes=[{"receivers": ["hook", "other"]}])
    harness.deliver(answer=Refused("HTTP 400"))
    harness.deliver_all("other")
    harness.observe(good, good, good)
    harness.observe(bad, bad, bad)
    harness.deliver("hook")
    assert ("resolve", "ReceiverFailing") in harness.deliver_all("other")


def test_refusing_state_receiver_is_reported_to_the_others() -> None:
    """A state receiver that refuses is reported to the other receivers until it accepts again."""
    harness = firing_harness(receivers={"hook": webhook_config(), "prom": PROM})
    harness.step(StateReceiverReported("prom", Refused("HTTP 400: bad label")))
    assert harness.deliver_all() == [("trigger", "Errors"), ("trigger", "ReceiverFailing")]
    harness.step(StateReceiverReported("prom", Accepted()))
    assert harness.deliver_all() == [("resolve", "ReceiverFailing")]


def test_refused_trigger_is_not_followed_by_a_resolve() -> None:
    """A trigger that was definitely refused at each attempt is not followed by a resolve."""
    harness = firing_harness()
    harness.deliver(answer=Retry(reason="HTTP 429", is_definitely_undelivered=True))
    harness.now += 60
    harness.deliver(answer=Refused("HTTP 400"))
    harness.observe(good, good, good)
    assert (harness.deliver_all(), harness.state.notifications) == ([], {})


def test_trigger_with_a_lost_response_is_followed_by_a_resolve() -> None:
    """A trigger that was refused after a lost response is followed by a resolve, because it may have been accepted."""
    harness = firing_harness()
    harness.deliver(answer=Retry(reason="no answer"))
    harness.now += 60
    harness.deliver(answer=Refused("HTTP 400"))
    harness.observe(good, good, good)
    assert harness.deliver_all() == [("resolve", "Errors")]


def test_waiting_resolve_is_dropped_when_its_trigger_is_refused() -> None:
    """A resolve that waits for its trigger is dropped when the trigger is refused."""
    harness = firing_harness()
    harness.deliver(answer=Retry(reason="HTTP 429", is_definitely_undelivered=True, retry_after=600.0))
    harness.observe(good, good, good)
    harness.now += 600
    harness.deliver(answer=Refused("HTTP 400"))
    assert (harness.deliver_all(), harness.state.notifications) == ([], {})


def test_undelivered_notifications_of_a_resolved_alert_are_kept_for_a_week() -> None:
    """Undelivered notifications of a resolved alert are kept for a week, then all its rows are deleted."""
    harness = firing_harness()
    harness.deliver(answer=Retry(reason="no answer"))
    harness.observe(good, good, good)
    harness.now = NOON + 7 * 86400
    harness.step(Tick())
    assert len(harness.state.notifications) == 2
    harness.now += 86400
    harness.advance_one_minute()
    assert (harness.state.notifications, harness.state.incidents, harness.state.groups) == ({}, {}, {})


def restarted(harness: EngineHarness) -> EngineHarness:
    """Kill the daemon and restart it with the same configuration."""
    harness.crash()
    harness.step(Started())
    return harness


def test_refused_trigger_is_retried_at_the_next_start() -> None:
    """A refused trigger is retried at a start; if it is accepted, ``ReceiverFailing`` resolves."""
    harness = firing_harness(receivers=TWO_HOOKS)
    refused = harness.deliver(answer=Refused("HTTP 404"))
    harness.deliver_all("other")
    again = restarted(harness).deliver()
    assert refused is not None
    assert again is not None
    assert (refused.id, refused.members, 2) == (again.id, again.members, again.attempts)
    assert [("resolve", "ReceiverFailing")] == harness.deliver_all("hook", "other")
    harness.observe(good, good, good)
    assert [("resolve", "Errors")] == harness.deliver_all("hook")


def test_receiver_that_still_refuses_is_tried_once_per_start() -> None:
    """A refused trigger is retried once per start, and the other receivers get no further notification."""
    harness = firing_harness(receivers=TWO_HOOKS)
    harness.deliver(answer=Refused("HTTP 404"))
    harness.deliver_all("other")
    for _ in range(3):
        assert restarted(harness).deliver(answer=Refused("HTTP 404")) is not None
        assert [] == harness.deliver_all("hook", "other")
    harness.observe(good, good, good)
    assert [] == harness.deliver_all("hook")


def test_possibly_accepted_trigger_is_not_retried_at_a_start() -> None:
    """A trigger with a lost response before its refusal is not retried at a start, to avoid a duplicate."""
    harness = firing_harness()
    harness.deliver(answer=Retry(reason="no answer"))
    harness.now += 60
    harness.deliver(answer=Refused("HTTP 400"))
    assert [] == restarted(harness).deliver_all()


def test_refused_trigger_of_a_resolved_alert_is_not_retried() -> None:
    """A refused trigger of a resolved alert is not retried at a start."""
    harness = firing_harness()
    harness.deliver(answer=Refused("HTTP 400"))
    harness.observe(good, good, good)
    assert [] == restarted(harness).deliver_all()


def test_refused_resolve_is_retried_at_the_next_start() -> None:
    """A refused resolve is retried at a start and delivered once, because the receiver accepted the trigger."""
    harness = firing_harness()
    harness.deliver()
    harness.observe(good, good, good)
    refused = harness.deliver(answer=Refused("HTTP 403"))
    assert [] == harness.deliver_all()
    again = restarted(harness).deliver()
    assert refused is not None
    assert again is not None
    assert (refused.id, "resolve") == (again.id, again.action)
    assert [] == restarted(harness).deliver_all()


def test_possibly_accepted_resolve_is_not_retried_at_a_start() -> None:
    """A resolve with a lost response before its refusal is not retried at a start, to avoid a duplicate."""
    harness = firing_harness()
    harness.deliver()
    harness.observe(good, good, good)
    harness.deliver(answer=Retry(reason="no answer"))
    harness.now += 60
    harness.deliver(answer=Refused("HTTP 400"))
    assert [] == restarted(harness).deliver_all()


def test_new_outage_replaces_the_refused_resolve_of_the_last() -> None:
    """The trigger of a new outage replaces the refused resolve of the last one, also after a restart."""
    harness = firing_harness()
    harness.deliver()
    harness.observe(good, good, good)
    harness.deliver(answer=Refused("HTTP 403"))
    harness.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == harness.deliver_all()
    assert [] == restarted(harness).deliver_all()


def test_refused_trigger_is_not_retried_for_a_receiver_without_a_route() -> None:
    """A refused trigger is not retried at a receiver that the route no longer names."""
    harness = firing_harness(receivers=TWO_HOOKS, routes=[{"receivers": ["hook"]}])
    harness.deliver(answer=Refused("HTTP 400"))
    harness.deliver_all("other")
    harness.configure(alerts(receivers=TWO_HOOKS, routes=[{"receivers": ["other"]}]))
    restarted(harness)
    assert ([], [("trigger", "Errors")]) == (harness.deliver_all("hook"), harness.deliver_all("other"))


def test_duplicate_delivery_result_is_ignored() -> None:
    """A delivery result for a notification that is settled or deleted changes nothing."""
    harness = firing_harness()
    sent = harness.deliver()
    assert sent is not None
    before = harness.state
    for late in (Refused("HTTP 400"), Retry(reason="late"), Accepted()):
        harness.step(SendFinished(sent.id, late, 0.0))
    harness.step(SendStarted(sent.id))
    assert harness.state == before


# ---- state receivers


def test_state_receiver_gets_firing_and_recently_resolved_alerts() -> None:
    """A state receiver gets firing alerts, and resolved alerts for 15 minutes (900 s)."""
    harness = firing_harness(receivers={"prom": PROM})
    assert harness.state.notifications == {}
    assert [incident.resolved for incident in active_alerts(harness.state, "prom", harness.now)] == [None]
    assert active_alerts(harness.state, "another", harness.now) == ()
    harness.observe(good, good, good)
    harness.crash()
    (resolve,) = active_alerts(harness.state, "prom", harness.now)
    assert resolve.resolved == NOON + 30 * 5 + 1
    assert active_alerts(harness.state, "prom", resolve.resolved + 899) == (resolve,)
    assert active_alerts(harness.state, "prom", resolve.resolved + 900) == ()


def test_refused_resolve_is_dropped_if_the_next_trigger_waits() -> None:
    """A refused resolve is dropped if the trigger of the next outage waits, and is not sent at a start."""
    harness = firing_harness()
    harness.deliver()
    harness.observe(good, good, good)
    end = harness.start_send()
    harness.observe(bad, bad, bad)
    assert end is not None
    harness.step(SendFinished(end.id, Refused("HTTP 403"), 0.0))
    assert [("trigger", "Errors")] == harness.deliver_all()
    assert [] == restarted(harness).deliver_all()


def test_refused_trigger_without_firing_members_waits_for_the_next_flush() -> None:
    """A refused trigger whose members all recovered is not sent at a start; the group triggers at its next flush."""
    fleet = [CHAT, msgspec.structs.replace(CHAT, name="other")]
    harness = EngineHarness(alerts(group_by=["alert"], group_interval=300), *fleet)
    harness.observe(bad, bad, bad)
    harness.deliver(answer=Refused("HTTP 400"))
    for number in range(3, 6):
        harness.observe(msgspec.structs.replace(bad(number), canary="other"))
    harness.observe(good, good, good)
    assert [] == restarted(harness).deliver_all()
    harness.now += 300
    harness.step(Tick())
    trigger = harness.deliver()
    assert trigger is not None
    assert ("trigger", [("other", True), ("chat", False)]) == (
        trigger.action,
        [(one.canary, one.is_firing) for one in trigger.members],
    )


def test_an_update_marks_what_no_delivered_notification_had() -> None:
    """New alerts come first; one stays new until an update that has it was delivered, and no repeat has any."""
    canaries = [Canary(name=name, target="t", provider="p", interval=30.0) for name in "abc"]
    harness = EngineHarness(alerts(group_by=["target"], group_interval="1m", repeat_interval="1h"), *canaries)

    def fail(name: str) -> None:
        harness.observe(*[msgspec.structs.replace(bad(number), canary=name) for number in range(3)])
        harness.now += 120
        harness.step(Tick())

    def new_and_others() -> tuple[list[str | None], list[str | None]]:
        (update,) = (one for one in harness.state.notifications.values() if one.action is Action.UPDATE)
        names = [member.canary for member in update.members]
        return names[: update.new_count], names[update.new_count :]

    fail("a")
    harness.deliver_all()
    fail("b")
    assert (["b"], ["a"]) == new_and_others()
    harness.deliver(answer=Retry(reason="no answer"))
    fail("c")
    assert (["b", "c"], ["a"]) == new_and_others()
    harness.deliver_all()
    harness.now += 3600
    harness.step(Tick())
    assert ([], ["a", "b", "c"]) == new_and_others()
