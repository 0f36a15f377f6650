"""Test ``ReceiverFailing``, and the delivery of parked notifications after the receiver recovers."""

from streamcanary.alerting.engine.grouping import notification_queue
from streamcanary.alerting.engine.inputs import SendFinished, Started
from streamcanary.alerting.notify.delivery.result import Accepted, Refused, Retry
from support.alerting.builders import EngineHarness, alerts, bad, good, webhook_config
from support.alerting.groups import advance, grouped_harness, run_canaries

TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}
DOWN = Retry(reason="no answer within 10s")
BUSY = Retry(reason="HTTP 429", retry_after=600.0, is_definitely_undelivered=True)


def firing_harness(**sections) -> EngineHarness:
    """Build a harness in which ``chat`` failed three times."""
    harness = EngineHarness(alerts(**sections))
    harness.observe(bad, bad, bad)
    return harness


def fail_sends_for(harness: EngineHarness, seconds: float) -> None:
    """Let all sends to ``hook`` time out for ``seconds``."""
    end = harness.now + seconds
    while harness.now < end:
        harness.deliver("hook", DOWN)
        advance(harness, 10)


def test_receiver_that_accepts_nothing_for_five_minutes_is_reported() -> None:
    """A receiver that accepts nothing for five minutes is reported to the others once; a shorter delay is not."""
    harness = firing_harness(receivers=TWO_HOOKS)
    assert [("trigger", "Errors")] == harness.deliver_all("other")
    fail_sends_for(harness, notification_queue.FAILING_AFTER - 20)
    assert [] == harness.deliver_all("other")
    fail_sends_for(harness, 120)
    assert [("trigger", "ReceiverFailing")] == harness.deliver_all("other")
    fail_sends_for(harness, 600)
    assert [] == harness.deliver_all("other")
    harness.now += 60
    harness.deliver("hook")
    assert [("resolve", "ReceiverFailing")] == harness.deliver_all("other")


def test_clock_step_does_not_make_a_receiver_fail() -> None:
    """A clock step of two hours between two failed attempts does not count as time in which the receiver failed."""
    harness = firing_harness(receivers=TWO_HOOKS)
    harness.deliver("hook", DOWN)
    harness.now += 7200
    harness.deliver("hook", DOWN)
    assert [("trigger", "Errors")] == harness.deliver_all("other")


def test_receiver_failing_without_pending_notifications_is_not_repeated() -> None:
    """``ReceiverFailing`` is not repeated while no notification waits for the receiver."""
    harness = firing_harness(receivers=TWO_HOOKS, repeat_interval="1h")
    harness.deliver("hook", Refused("HTTP 403"))
    assert [("trigger", "Errors"), ("trigger", "ReceiverFailing")] == harness.deliver_all("other")
    advance(harness, 3600)
    assert [("update", "Errors"), ("update", "ReceiverFailing")] == harness.deliver_all("other")
    harness.deliver("hook", Refused("HTTP 403"))
    harness.observe(good, good, good)
    harness.now += 3600
    assert [("resolve", "Errors")] == harness.deliver_all("other")
    for _ in range(5):
        advance(harness, 3600)
        assert [] == harness.deliver_all("other")


def test_refused_notification_is_retried_after_the_receiver_accepts_another() -> None:
    """A refused notification is retried as soon as the receiver accepts another, without a repeat or a start."""
    harness = grouped_harness(2, group_by=["canary"], receivers=TWO_HOOKS)
    run_canaries(harness, "c0")
    advance(harness, 10)
    harness.deliver("hook", Refused("HTTP 403"))
    assert harness.deliver("hook") is None
    run_canaries(harness, "c1")
    advance(harness, 10)
    trigger, kept = harness.deliver("hook"), harness.deliver("hook")
    assert trigger is not None
    assert kept is not None
    assert [["c1"], ["c0"]] == [[one.canary for one in notification.members] for notification in (trigger, kept)]


def test_retries_of_a_refused_notification_are_bounded() -> None:
    """A notification that is always refused is not retried each time the receiver accepts another."""
    harness = grouped_harness(30, group_by=["canary"], receivers=TWO_HOOKS)
    run_canaries(harness, "c0")
    advance(harness, 10)
    tries = 0
    for number in range(1, 30):
        run_canaries(harness, f"c{number}")
        advance(harness, 10)
        while notification := harness.start_send("hook"):
            mine = notification.members[0].canary == "c0"
            tries += mine
            harness.step(SendFinished(notification.id, Refused("HTTP 400") if mine else Accepted(), 0.0))
    assert 3 == tries


def test_retry_after_applies_to_later_notifications() -> None:
    """``Retry-After`` applies to the receiver, including notifications that are created later."""
    harness = grouped_harness(2, group_by=["canary"])
    run_canaries(harness, "c0")
    advance(harness, 10)
    harness.deliver("hook", BUSY)
    run_canaries(harness, "c1")
    advance(harness, 599)
    assert harness.deliver() is None
    advance(harness, 1)
    assert ["trigger", "trigger"] == [action for action, _ in harness.deliver_all()]


def test_alert_that_resolves_before_its_trigger_is_accepted_sends_nothing() -> None:
    """An alert that resolves before any attempt could be accepted sends nothing."""
    harness = firing_harness()
    harness.deliver(answer=BUSY)
    harness.observe(good, good, good)
    harness.now += 700
    assert [] == harness.deliver_all()


def test_receiver_failing_resolves_at_a_start_if_the_receiver_accepts() -> None:
    """A refused trigger is retried at a start, and its acceptance resolves ``ReceiverFailing``."""
    harness = firing_harness(receivers=TWO_HOOKS)
    harness.deliver("hook", Refused("HTTP 403"))
    assert [("trigger", "Errors"), ("trigger", "ReceiverFailing")] == harness.deliver_all("other")
    harness.crash()
    harness.step(Started())
    assert [("trigger", "Errors")] == harness.deliver_all("hook")
    assert [("resolve", "ReceiverFailing")] == harness.deliver_all("other")
