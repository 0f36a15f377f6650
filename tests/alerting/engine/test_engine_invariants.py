"""Test the invariants of alerting that the pure engine can break."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import RunFinished, SendFinished, Started, StoreFailed, StoreRecovered, Tick
from streamcanary.alerting.notify.delivery.result import Accepted, Retry
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import OutcomeKind
from support.alerting.builders import (
    THREE_FAILURES_RULE,
    EngineHarness,
    a_fault,
    a_run,
    alerts,
    bad,
    good,
    neutral,
    skipped,
    webhook_config,
)

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}


def firing_harness(**sections: Any) -> EngineHarness:
    """Build a harness in which ``chat`` failed three times."""
    harness = EngineHarness(alerts(**sections))
    harness.observe(bad, bad, bad)
    return harness


# ---- 1: the store is a prefix of the outcomes


def test_trigger_survives_a_crash_before_it_is_sent() -> None:
    """A trigger that is committed but not sent before a crash is sent after the next start."""
    harness = firing_harness()
    harness.crash()
    harness.step(Started())
    assert harness.deliver_all() == [("trigger", "Errors")]


def test_resolve_survives_a_crash_before_it_is_sent() -> None:
    """A resolve that is committed but not sent before a crash is sent afterwards."""
    harness = firing_harness()
    harness.deliver_all()
    harness.observe(good, good, good)
    harness.crash()
    assert harness.deliver_all() == [("resolve", "Errors")]


def test_consecutive_failures_survive_a_crash() -> None:
    """Two failures before a crash and one after it are three consecutive failures."""
    harness = EngineHarness()
    harness.observe(bad, bad)
    harness.crash()
    harness.observe(bad)
    assert len(harness.open_incidents) == 1


def test_lost_transition_is_repeated_with_the_same_ids() -> None:
    """A run that is lost in a crash before the commit creates the same notification when it is observed again."""
    harness = EngineHarness()
    harness.observe(bad, bad)
    lost = harness.engine.step(harness.state, RunFinished(bad(2)), harness.now)[0]
    harness.crash()
    harness.now += 5
    harness.step(RunFinished(bad(2)))
    assert list(harness.state.notifications) == list(lost.notifications)
    assert list(harness.state.incidents) == list(lost.incidents)


def test_all_rows_of_a_transition_are_in_one_step() -> None:
    """Detector, incident, group and notification rows of a transition are in one transaction."""
    harness = firing_harness()
    assert sorted(row.table for row in harness.rows) == [
        "detectors",
        "groups",
        "incidents",
        "notifications",
        "reachability",
    ]


def test_step_does_not_change_its_input_state() -> None:
    """Two steps from the same state and input give the same result."""
    harness = EngineHarness()
    harness.observe(bad, bad)
    steps = [harness.engine.step(harness.state, RunFinished(bad(2)), harness.now) for _ in range(2)]
    assert steps[0] == steps[1]


def test_failing_store_is_notified_from_memory_and_resolved() -> None:
    """``StoreFailing`` triggers like any alert, and resolves when the store is written again."""
    harness = firing_harness()
    harness.step(StoreFailed("disk full"))
    harness.step(StoreFailed("disk full"))
    assert harness.deliver_all() == [("trigger", "Errors"), ("trigger", "StoreFailing")]
    harness.step(StoreRecovered())
    assert harness.deliver_all() == [("resolve", "StoreFailing")]


# ---- 2: one open incident, one open group, one id


def test_long_outage_is_one_incident() -> None:
    """A hundred failures are one incident and one trigger."""
    harness = firing_harness()
    harness.observe(*[bad] * 97)
    assert (len(harness.open_incidents), harness.deliver_all()) == (1, [("trigger", "Errors")])


def test_retry_has_the_id_and_content_of_the_first_attempt() -> None:
    """A retry has the ID and the members of the first attempt, even if the incident has changed."""
    harness = firing_harness()
    first = harness.deliver(answer=Retry(reason="HTTP 500"))
    harness.observe(good, good, good)
    second = harness.deliver(answer=Retry(reason="HTTP 500"))
    assert first is not None
    assert second is not None
    assert (second.id, second.members) == (first.id, first.members)


def test_second_outage_has_its_own_ids() -> None:
    """A second outage has its own notification IDs, even if the clock was set back to the first one."""
    harness = firing_harness()
    (first,) = harness.state.notifications
    harness.deliver_all()
    harness.observe(good, good, good)
    harness.deliver_all()
    for number in range(3):
        harness.step(RunFinished(bad(number)))
    (second,) = harness.state.notifications
    assert first != second


def test_each_canary_has_its_own_incident() -> None:
    """A rule opens one incident for each failing canary."""
    canaries = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    harness = EngineHarness(alerts(), *canaries)
    for number in range(3):
        harness.observe(*[msgspec.structs.replace(bad(number), canary=name) for name in ("a", "b")])
    assert [incident.canary for incident in harness.open_incidents] == ["a", "b"]


def test_keys_are_the_same_on_another_replica() -> None:
    """Two replicas of one instance use the same keys; another instance uses different ones."""
    one, two = firing_harness(), firing_harness()
    assert list(one.state.groups) == list(two.state.groups)
    two.configure(alerts(), instance="elsewhere")
    assert two.engine.store_incident_key != one.engine.store_incident_key


# ---- 3: notifications of a group are in order


def test_trigger_that_was_never_attempted_is_dropped_with_its_resolve() -> None:
    """A trigger that waits when the outage ends is dropped, and so is its resolve."""
    harness = firing_harness()
    harness.observe(good, good, good)
    assert (harness.deliver_all(), harness.state.notifications) == ([], {})


def test_attempted_trigger_is_retried_before_its_resolve() -> None:
    """A trigger with a lost response is retried until it is accepted, then the resolve is sent."""
    harness = firing_harness()
    harness.deliver(answer=Retry(reason="no answer"))
    harness.observe(good, good, good)
    assert harness.deliver_all() == [("trigger", "Errors"), ("resolve", "Errors")]


def test_attempt_interrupted_by_a_crash_counts_as_attempted() -> None:
    """A trigger whose attempt a crash interrupted is sent again with the same ID, followed by its resolve."""
    harness = firing_harness()
    started = harness.start_send()
    harness.crash()
    harness.observe(good, good, good)
    assert started is not None
    again = harness.deliver()
    assert again is not None
    assert (again.id, again.attempts) == (started.id, 2)
    assert harness.deliver_all() == [("resolve", "Errors")]


def test_resolve_waits_for_its_trigger() -> None:
    """A resolve is not sent before its trigger is accepted."""
    harness = firing_harness()
    harness.deliver(answer=Retry(reason="HTTP 500", retry_after=600.0))
    harness.observe(good, good, good)
    assert harness.deliver_all() == []
    harness.now += 600
    assert harness.deliver_all() == [("trigger", "Errors"), ("resolve", "Errors")]


def test_flapping_with_a_dead_receiver_is_bounded() -> None:
    """Outages that start and end without a delivery cancel out, so the number of notifications is bounded."""
    harness = firing_harness()
    for _ in range(20):
        harness.observe(good, good, good, bad, bad, bad)
        harness.start_send()  # the attempt hangs
    assert len(harness.state.notifications) <= 3


def test_notifications_of_two_outages_are_sent_in_order() -> None:
    """Waiting notifications of two outages are sent in order: trigger, resolve, trigger."""
    harness = firing_harness()
    harness.deliver(answer=Retry(reason="no answer", retry_after=600.0))
    harness.observe(good, good, good, bad, bad, bad)
    harness.now += 600
    assert harness.deliver_all() == [("trigger", "Errors"), ("resolve", "Errors"), ("trigger", "Errors")]


def test_backoff_of_one_group_does_not_delay_another() -> None:
    """A notification that backs off delays no notification of another group."""
    canaries = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    harness = EngineHarness(alerts(), *canaries)
    harness.observe(*[msgspec.structs.replace(bad(number), canary="a") for number in range(3)])
    harness.deliver(answer=Retry(reason="HTTP 500"))
    harness.observe(*[msgspec.structs.replace(bad(number), canary="b") for number in range(3)])
    harness.step(SendFinished("no such notification", Accepted(), 0.0))
    stuck, sent = harness.deliver(answer=Retry(reason="HTTP 500")), harness.deliver()
    assert stuck is not None
    assert sent is not None
    assert (stuck.members[0].canary, sent.members[0].canary) == ("a", "b")


# ---- 4: each notified receiver gets the resolve


def test_removed_rule_resolves_its_alerts() -> None:
    """A removed rule resolves its alerts at the next start, with the reason."""
    harness = firing_harness()
    harness.deliver_all()
    harness.configure(alerts(rules={"Other": THREE_FAILURES_RULE}))
    harness.crash()
    harness.step(Started())
    notification = harness.deliver()
    assert notification is not None
    assert (notification.action, notification.members[0].resolve_reason) == (
        "resolve",
        "the rule was removed from the configuration",
    )
    assert harness.state.detectors == {}


def test_removed_canary_resolves_its_alerts() -> None:
    """A removed canary resolves its alerts at the next start, although the rule stays."""
    harness = firing_harness()
    harness.deliver_all()
    harness.configure(alerts(), Canary(name="another", target="t", provider="p", interval=30.0))
    harness.step(Started())
    assert harness.deliver_all() == [("resolve", "Errors")]


def test_receiver_of_a_removed_route_gets_the_resolve() -> None:
    """The receiver of a removed route gets the resolve; the receiver of the new route gets trigger and resolve."""
    harness = firing_harness(receivers=TWO_HOOKS, routes=[{"receivers": ["hook"]}])
    harness.deliver_all()
    harness.configure(alerts(receivers=TWO_HOOKS, routes=[{"receivers": ["other"]}]))
    harness.step(Started())
    assert harness.deliver_all("hook", "other") == [("trigger", "Errors")]
    harness.observe(good, good, good)
    assert harness.deliver_all("hook", "other") == [("resolve", "Errors"), ("resolve", "Errors")]


def test_notifications_of_a_removed_receiver_are_deleted() -> None:
    """Notifications that wait for a removed receiver are deleted."""
    harness = firing_harness(receivers=TWO_HOOKS)
    harness.configure(alerts())
    harness.step(Started())
    assert [notification.receiver for notification in harness.state.notifications.values()] == ["hook"]


def test_edited_rule_resolves_the_alert_of_its_former_version() -> None:
    """An edited rule starts with an empty detector, and resolves the open incident after enough samples."""
    harness = firing_harness()
    harness.deliver_all()
    ratio = {"type": "ratio", "over": "10 runs", "threshold": "50%", "min_samples": 5}
    harness.configure(alerts(rules={"Errors": {**THREE_FAILURES_RULE, "detector": ratio}}))
    harness.crash()
    harness.step(Started())
    harness.observe(good, good, good, good)
    assert len(harness.open_incidents) == 1
    harness.observe(good)
    assert (harness.open_incidents, harness.deliver_all()) == ([], [("resolve", "Errors")])


# ---- 5: only observed good samples resolve


@pytest.mark.parametrize(
    "run",
    [
        neutral,
        skipped,
        lambda number: a_run(number, OutcomeKind.INTERNAL_ERROR),
        lambda number: a_run(number, OutcomeKind.FAILED_OVER, a_fault(FaultKind.AUTH_FAILED)),
        lambda number: msgspec.structs.replace(good(number), canary="another"),
    ],
)
def test_runs_that_are_not_good_samples_resolve_nothing(run: Any) -> None:
    """Neutral runs, skipped runs, internal errors and runs of other canaries do not resolve an incident."""
    harness = firing_harness()
    harness.deliver_all()
    harness.observe(*[run] * 50)
    assert (len(harness.open_incidents), harness.deliver_all()) == (1, [])


def test_time_alone_resolves_nothing() -> None:
    """A month without a run and with daily restarts does not resolve an incident."""
    harness = firing_harness()
    harness.deliver_all()
    for _ in range(30):
        harness.now += 86400
        harness.step(Tick())
        harness.crash()
        harness.step(Started())
    assert (len(harness.open_incidents), harness.deliver_all()) == (1, [])


# ---- 6: a restart without changes sends nothing


@pytest.mark.parametrize("runs", [[], [bad] * 2, [bad] * 3, [bad] * 3 + [good] * 2, [bad] * 3 + [good] * 3])
def test_restart_without_changes_sends_nothing(runs: list[Any]) -> None:
    """A restart without changes before, during or after an outage sends nothing."""
    harness = EngineHarness()
    harness.observe(*runs)
    harness.deliver_all()
    for _ in range(3):
        harness.crash()
        harness.step(Started())
    assert harness.deliver_all() == []
