"""Test groups: simultaneous failures are one notification, changes are batched, and resolves are immediate."""

from streamcanary.alerting.engine.grouping.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import Started, StoreFailed
from streamcanary.alerting.notify.delivery.result import Refused, Retry
from streamcanary.model.alerts.incident import MAX_MEMBERS, Action
from support.alerting.builders import EngineHarness, alerts, good, webhook_config
from support.alerting.groups import (
    ONE_FAILURE,
    advance,
    finish_send,
    grouped_harness,
    make_canaries,
    notified_harness,
    run_canaries,
    summarize,
)

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}


# ---- the first notification


def test_simultaneous_failures_are_one_notification() -> None:
    """Failures within ``group_wait`` of the first failure are one trigger that lists all of them."""
    harness = grouped_harness()
    run_canaries(harness, "c0")
    advance(harness, 5)
    run_canaries(harness, "c1", "c2")
    assert harness.deliver() is None
    advance(harness, 4.9)
    assert harness.deliver() is None
    advance(harness, 0.1)
    assert ("trigger", {"c0": True, "c1": True, "c2": True}) == summarize(harness.deliver())
    assert harness.deliver() is None


def test_failure_shorter_than_group_wait_sends_nothing() -> None:
    """A failure that recovers within ``group_wait`` sends neither a trigger nor a resolve."""
    harness = grouped_harness()
    run_canaries(harness, "c0")
    advance(harness, 5)
    run_canaries(harness, "c0", run=good)
    advance(harness, 60)
    assert ({}, []) == (harness.state.notifications, harness.open_incidents)


def test_member_that_recovers_within_group_wait_is_not_in_the_trigger() -> None:
    """A member that recovers within ``group_wait`` is not in the trigger; the other members are."""
    harness = grouped_harness()
    run_canaries(harness, "c0", "c1")
    run_canaries(harness, "c0", run=good)
    advance(harness, 10)
    assert ("trigger", {"c1": True}) == summarize(harness.deliver())


def test_group_wait_survives_a_crash() -> None:
    """``group_wait`` ends at the same time after a crash."""
    harness = grouped_harness()
    run_canaries(harness, "c0")
    harness.crash()
    harness.step(Started())
    assert harness.state.notifications == {}
    advance(harness, 10)
    assert ("trigger", {"c0": True}) == summarize(harness.deliver())


def test_alerts_about_the_daemon_skip_group_wait() -> None:
    """An alert about the daemon is sent at once, because it is grouped with no other alert."""
    harness = grouped_harness()
    harness.step(StoreFailed("disk full"))
    assert harness.deliver_all() == [("trigger", "StoreFailing")]


def test_alerts_with_different_group_labels_are_separate_groups() -> None:
    """Alerts that differ in a ``group_by`` label are separate groups; a label that no alert has is ignored."""
    harness = grouped_harness(2, group_by=["canary", "no_such_label"])
    run_canaries(harness, "c0", "c1")
    advance(harness, 10)
    assert [{"canary": "c0"}, {"canary": "c1"}] == [group.labels for group in harness.state.groups.values()]
    assert [("trigger", "Errors")] * 2 == harness.deliver_all()


# ---- updates


def test_added_and_removed_members_are_one_update() -> None:
    """All members added and removed within ``group_interval`` of the last flush are one update."""
    harness = notified_harness(4, "c0", "c1")
    advance(harness, 20)
    run_canaries(harness, "c2")
    advance(harness, 20)
    run_canaries(harness, "c3")
    run_canaries(harness, "c0", run=good)
    advance(harness, 259)
    assert harness.deliver() is None
    advance(harness, 1)
    assert ("update", {"c1": True, "c2": True, "c3": True, "c0": False}) == summarize(harness.deliver())
    advance(harness, 3600)
    assert harness.deliver() is None


def test_member_added_and_removed_between_flushes_is_never_listed() -> None:
    """A member that fires and recovers between two flushes causes no update."""
    harness = notified_harness()
    run_canaries(harness, "c1")
    run_canaries(harness, "c1", run=good)
    advance(harness, 600)
    assert harness.deliver() is None


def test_member_removed_and_added_between_flushes_causes_no_update() -> None:
    """A member that recovers and fires again between two flushes causes no update, as receivers know it as firing."""
    harness = notified_harness()
    run_canaries(harness, "c0", "c1")
    run_canaries(harness, "c0", run=good)
    advance(harness, 30)
    run_canaries(harness, "c0")
    run_canaries(harness, "c1", run=good)
    advance(harness, 600)
    assert harness.deliver() is None


def test_firing_group_is_repeated_each_repeat_interval() -> None:
    """A firing group sends an update each ``repeat_interval``."""
    harness = notified_harness()
    for _ in range(3):
        advance(harness, 4 * 3600 - 1)
        assert harness.deliver() is None
        advance(harness, 1)
        assert ("update", {"c0": True}) == summarize(harness.deliver())


def test_recovery_of_the_last_member_resolves_at_once() -> None:
    """The recovery of the last member sends the resolve without waiting, with all members."""
    harness = notified_harness(3, "c0", "c1")
    run_canaries(harness, "c0", "c1", run=good)
    assert ("resolve", {"c0": False, "c1": False}) == summarize(harness.deliver())
    assert harness.state.notifications == {}


# ---- receivers that are slow or refuse


def test_updates_that_wait_for_a_dead_receiver_are_merged() -> None:
    """Updates that wait for a dead receiver are merged into one with the current members."""
    harness = notified_harness(9)
    for number in range(1, 9):
        run_canaries(harness, f"c{number}")
        advance(harness, 300)
    assert ("update", {f"c{number}": True for number in range(9)}) == summarize(harness.deliver())
    assert harness.deliver() is None


def test_attempted_updates_do_not_accumulate() -> None:
    """Only the trigger and one update or the resolve are kept, whether updates are refused or get no answer."""
    for result in (
        Retry(reason="no answer"),
        Refused("HTTP 400"),
        Retry(reason="HTTP 429", is_definitely_undelivered=True),
    ):
        harness = notified_harness(
            9, receivers={"hook": webhook_config(), "other": webhook_config()}, routes=[{"receivers": ["hook"]}]
        )
        for number in range(1, 9):
            run_canaries(harness, f"c{number}")
            advance(harness, 300)
            harness.deliver(answer=result)
            mine = [
                notification for notification in harness.state.notifications.values() if notification.receiver == "hook"
            ]
            assert [Action.TRIGGER, Action.UPDATE] == [notification.action for notification in mine]
        run_canaries(harness, *(f"c{number}" for number in range(9)), run=good)
        mine = [
            notification for notification in harness.state.notifications.values() if notification.receiver == "hook"
        ]
        assert [Action.TRIGGER, Action.RESOLVE] == [notification.action for notification in mine]


def test_refused_trigger_is_retried_at_the_next_flush() -> None:
    """A refused trigger is retried at the next update or repeat, with the current members."""
    harness = grouped_harness()
    run_canaries(harness, "c0")
    advance(harness, 10)
    harness.deliver(answer=Refused("HTTP 404"))
    advance(harness, 100)
    run_canaries(harness, "c1")
    advance(harness, 200)
    assert ("trigger", {"c0": True, "c1": True}) == summarize(harness.deliver(answer=Refused("HTTP 404")))
    advance(harness, 4 * 3600)
    assert ("trigger", {"c0": True, "c1": True}) == summarize(harness.deliver())
    run_canaries(harness, "c0", "c1", run=good)
    assert "resolve" == summarize(harness.deliver())[0]


def harness_with_outdated_refused_trigger() -> EngineHarness:
    """Build a harness in which a trigger is refused after another member was added."""
    harness = grouped_harness()
    run_canaries(harness, "c0")
    advance(harness, 10)
    sent = harness.start_send()
    assert sent is not None
    run_canaries(harness, "c1")
    advance(harness, 300)
    finish_send(harness, sent, Refused("HTTP 404"))
    return harness


def test_refused_trigger_is_resent_at_a_start_with_the_members_of_the_last_flush() -> None:
    """A refused trigger is sent again at a start with the members of the last flush, not with its former ones."""
    harness = harness_with_outdated_refused_trigger()
    harness.crash()
    harness.step(Started())
    assert ("trigger", {"c0": True, "c1": True}) == summarize(harness.deliver())


def test_resent_trigger_does_not_include_changes_that_are_not_flushed() -> None:
    """A trigger sent again at a start omits a recovery that is not flushed yet; all receivers see one state."""
    harness = grouped_harness()
    run_canaries(harness, "c0", "c1")
    advance(harness, 10)
    assert harness.deliver(answer=Refused("HTTP 403")) is not None
    run_canaries(harness, "c0", run=good)
    harness.crash()
    harness.step(Started())
    assert ("trigger", {"c0": True, "c1": True}) == summarize(harness.deliver())
    advance(harness, 300)
    assert ("update", {"c0": False, "c1": True}) == summarize(harness.deliver())


def test_update_is_dropped_when_its_trigger_is_refused() -> None:
    """An update is dropped for a receiver that refused the trigger."""
    harness = harness_with_outdated_refused_trigger()
    assert [Action.TRIGGER] == [notification.action for notification in harness.state.notifications.values()]
    assert harness.deliver() is None


def test_retried_trigger_replaces_a_waiting_update() -> None:
    """A trigger that is retried with more members replaces the update that waits behind it."""
    harness = grouped_harness()
    run_canaries(harness, "c0")
    advance(harness, 10)
    sent = harness.start_send()
    assert sent is not None
    run_canaries(harness, "c1")
    advance(harness, 300)
    finish_send(harness, sent, Retry(reason="HTTP 429", is_definitely_undelivered=True))
    run_canaries(harness, "c2")
    advance(harness, 300)
    assert ("trigger", {"c0": True, "c1": True, "c2": True}) == summarize(harness.deliver())
    assert harness.deliver() is None


def test_refused_resolves_do_not_accumulate() -> None:
    """The trigger of a new outage replaces the refused resolve of the previous outage."""
    harness = notified_harness(
        1, receivers={"hook": webhook_config(), "other": webhook_config()}, routes=[{"receivers": ["hook"]}]
    )
    for _ in range(5):
        run_canaries(harness, "c0", run=good)
        harness.deliver(answer=Refused("HTTP 400"))
        advance(harness, 30)
        run_canaries(harness, "c0")
        advance(harness, 10)
        assert "trigger" == summarize(harness.deliver())[0]
    assert 1 == sum(notification.receiver == "hook" for notification in harness.state.notifications.values())


def test_trigger_and_resolve_of_a_long_outage_are_kept_for_a_week() -> None:
    """A receiver that is dead for a whole outage gets trigger and resolve in order, up to a week after its end."""
    harness = grouped_harness()
    run_canaries(harness, "c0")
    advance(harness, 10)
    harness.deliver(answer=Retry(reason="no answer"))
    advance(harness, 14 * 86400)
    run_canaries(harness, "c0", run=good)
    advance(harness, 86400)
    assert ["trigger", "resolve"] == [summarize(harness.deliver())[0], summarize(harness.deliver())[0]]


# ---- membership


def test_alert_that_fires_again_after_a_grouping_change_is_notified_once() -> None:
    """An alert stays in the group that receivers know it from until its recovery is sent, then joins its new group."""
    harness = notified_harness(2, "c0", "c1")
    harness.configure(alerts(rules={"Errors": ONE_FAILURE}, group_by=["canary"], group_wait=10), *make_canaries(2))
    harness.step(Started())
    run_canaries(harness, "c0", run=good)
    advance(harness, 300)
    assert ("update", {"c1": True, "c0": False}) == summarize(harness.deliver())
    run_canaries(harness, "c0")
    advance(harness, 300)
    assert ("trigger", {"c0": True}) == summarize(harness.deliver())
    assert harness.deliver() is None


def test_receiver_that_becomes_an_event_receiver_gets_the_firing_alerts() -> None:
    """A state receiver that is reconfigured as an event receiver gets the trigger of each firing group."""
    harness = notified_harness(1, receivers={"hook": webhook_config(), "other": PROM})
    harness.configure(
        alerts(rules={"Errors": ONE_FAILURE}, receivers={"hook": webhook_config(), "other": webhook_config()}),
        *make_canaries(1),
    )
    harness.crash()
    harness.step(Started())
    assert ("trigger", {"c0": True}) == summarize(harness.deliver("other"))


def test_state_receiver_does_not_wait_for_the_group() -> None:
    """A state receiver gets each alert at once, because it groups by itself."""
    harness = grouped_harness(2, receivers={"prom": PROM})
    run_canaries(harness, "c0")
    assert ["c0"] == [incident.canary for incident in active_alerts(harness.state, "prom", harness.now)]
    run_canaries(harness, "c1")
    run_canaries(harness, "c0", run=good)
    now = active_alerts(harness.state, "prom", harness.now)
    assert [("c0", False), ("c1", True)] == [(incident.canary, incident.is_firing) for incident in now]


def test_large_group_is_a_bounded_notification() -> None:
    """A notification of a large group lists at most ``MAX_MEMBERS`` members and has the count of all."""
    harness = grouped_harness(120)
    run_canaries(harness, *(f"c{number}" for number in range(120)))
    advance(harness, 10)
    notification = harness.deliver()
    assert notification is not None
    assert (MAX_MEMBERS, 120) == (len(notification.members), notification.member_count)
    run_canaries(harness, *(f"c{number}" for number in range(120)), run=good)
    notification = harness.deliver()
    assert notification is not None
    assert (Action.RESOLVE, MAX_MEMBERS, 120) == (
        notification.action,
        len(notification.members),
        notification.member_count,
    )


def test_recoveries_within_group_wait_of_the_resolve_send_no_update() -> None:
    """Members that recover one after the other within ``group_wait`` send one resolve and no update."""
    harness = notified_harness(3, "c0", "c1", "c2")
    advance(harness, 400)
    run_canaries(harness, "c0", run=good)
    advance(harness, 5)
    assert harness.deliver() is None
    run_canaries(harness, "c1", "c2", run=good)
    assert "resolve" == summarize(harness.deliver())[0]
    assert harness.deliver() is None


def test_partial_recovery_is_an_update_after_group_wait() -> None:
    """A partial recovery sends an update after ``group_wait``."""
    harness = notified_harness(2, "c0", "c1")
    advance(harness, 400)
    run_canaries(harness, "c0", run=good)
    advance(harness, 10)
    assert ("update", {"c0": False, "c1": True}) == summarize(harness.deliver())
