"""The invariants of alerting that a pure engine can break; each test tries to."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import RunFinished, SendFinished, Started, StoreFailed, StoreRecovered, Tick
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Retry
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


def fired(**sections: Any) -> EngineHarness:
    """Build a world in which ``chat`` has failed three times."""
    world = EngineHarness(alerts(**sections))
    world.observe(bad, bad, bad)
    return world


# ---- 1: the ledger is a prefix of the outcomes


def test_a_page_outlives_a_crash_before_it_went_out() -> None:
    """Killed between the commit and the send, the next start sends it."""
    world = fired()
    world.crash()
    world.step(Started())
    assert world.deliver_all() == [("trigger", "Errors")]


def test_a_resolve_outlives_a_crash_before_it_went_out() -> None:
    """The same for the end of it."""
    world = fired()
    world.deliver_all()
    world.observe(good, good, good)
    world.crash()
    assert world.deliver_all() == [("resolve", "Errors")]


def test_a_row_of_failures_outlives_a_crash() -> None:
    """Two failures before a crash and one after are three in a row."""
    world = EngineHarness()
    world.observe(bad, bad)
    world.crash()
    world.observe(bad)
    assert len(world.open_incidents) == 1


def test_a_transition_that_was_lost_comes_again_under_the_same_ids() -> None:
    """A crash before the commit loses the run; the same run seen again makes the same notice."""
    world = EngineHarness()
    world.observe(bad, bad)
    lost = world.engine.step(world.state, RunFinished(bad(2)), world.now)[0]
    world.crash()
    world.now += 5
    world.step(RunFinished(bad(2)))
    assert list(world.state.notifications) == list(lost.notifications)
    assert list(world.state.incidents) == list(lost.incidents)


def test_all_rows_of_a_transition_come_from_one_step() -> None:
    """Detector, incident, group and notice are of one transaction: none can be there without the others."""
    world = fired()
    assert sorted(row.table for row in world.rows) == [
        "detectors",
        "groups",
        "incidents",
        "notifications",
        "reachability",
    ]


def test_a_step_leaves_the_state_it_starts_from() -> None:
    """The same state and input give the same result twice."""
    world = EngineHarness()
    world.observe(bad, bad)
    steps = [world.engine.step(world.state, RunFinished(bad(2)), world.now) for _ in range(2)]
    assert steps[0] == steps[1]


def test_a_store_that_fails_is_told_from_memory_and_resolved() -> None:
    """``StoreFailing`` opens, goes out like any page, and ends when the store is written again."""
    world = fired()
    world.step(StoreFailed("disk full"))
    world.step(StoreFailed("disk full"))
    assert world.deliver_all() == [("trigger", "Errors"), ("trigger", "StoreFailing")]
    world.step(StoreRecovered())
    assert world.deliver_all() == [("resolve", "StoreFailing")]


# ---- 2: one open incident, one open group, one id


def test_a_long_outage_is_one_incident() -> None:
    """A hundred failures page once."""
    world = fired()
    world.observe(*[bad] * 97)
    assert (len(world.open_incidents), world.deliver_all()) == (1, [("trigger", "Errors")])


def test_a_retry_has_the_id_and_the_content_of_the_first_try() -> None:
    """Whatever has become of the incident in between: an id never means two things."""
    world = fired()
    first = world.deliver(answer=Retry(reason="HTTP 500"))
    world.observe(good, good, good)
    second = world.deliver(answer=Retry(reason="HTTP 500"))
    assert first is not None
    assert second is not None
    assert (second.id, second.members) == (first.id, first.members)


def test_a_second_outage_has_ids_of_its_own() -> None:
    """Even when the clock was set back onto the first one."""
    world = fired()
    (first,) = world.state.notifications
    world.deliver_all()
    world.observe(good, good, good)
    world.deliver_all()
    for number in range(3):
        world.step(RunFinished(bad(number)))
    (second,) = world.state.notifications
    assert first != second


def test_each_canary_has_its_own_incident() -> None:
    """A rule watches every canary by itself."""
    canaries = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    world = EngineHarness(alerts(), *canaries)
    for number in range(3):
        world.observe(*[msgspec.structs.replace(bad(number), canary=name) for name in ("a", "b")])
    assert [incident.canary for incident in world.open_incidents] == ["a", "b"]


def test_keys_are_the_same_on_another_replica() -> None:
    """A replica that watches the same speaks of the same incident; another instance does not."""
    one, two = fired(), fired()
    assert list(one.state.groups) == list(two.state.groups)
    two.configure(alerts(), instance="elsewhere")
    assert two.engine.store_incident_key != one.engine.store_incident_key


# ---- 3: in order


def test_what_was_never_tried_is_never_told() -> None:
    """A trigger that is still waiting when the outage ends goes away, and so does its resolve."""
    world = fired()
    world.observe(good, good, good)
    assert (world.deliver_all(), world.state.notifications) == ([], {})


def test_what_was_tried_is_told_to_its_end() -> None:
    """A trigger whose answer was lost is tried until it is accepted, and only then comes the resolve."""
    world = fired()
    world.deliver(answer=Retry(reason="no answer"))
    world.observe(good, good, good)
    assert world.deliver_all() == [("trigger", "Errors"), ("resolve", "Errors")]


def test_a_try_that_a_crash_cut_off_counts_as_tried() -> None:
    """The receiver may have it: so it is told again, with the same id, and then that it is over."""
    world = fired()
    begun = world.start_send()
    world.crash()
    world.observe(good, good, good)
    assert begun is not None
    again = world.deliver()
    assert again is not None
    assert (again.id, again.attempts) == (begun.id, 2)
    assert world.deliver_all() == [("resolve", "Errors")]


def test_a_resolve_waits_for_its_trigger() -> None:
    """As long as the trigger is not accepted, nothing else of its group goes out."""
    world = fired()
    world.deliver(answer=Retry(reason="HTTP 500", retry_after=600.0))
    world.observe(good, good, good)
    assert world.deliver_all() == []
    world.now += 600
    assert world.deliver_all() == [("trigger", "Errors"), ("resolve", "Errors")]


def test_flapping_behind_a_dead_receiver_piles_nothing_up() -> None:
    """Outages that begin and end unheard cancel out; what is kept is bounded."""
    world = fired()
    for _ in range(20):
        world.observe(good, good, good, bad, bad, bad)
        world.start_send()  # it hangs, and is tried for ever
    assert len(world.state.notifications) <= 3


def test_another_outage_comes_after_the_end_of_the_first() -> None:
    """Trigger, resolve, trigger, resolve: in this order, although they were all waiting."""
    world = fired()
    world.deliver(answer=Retry(reason="no answer", retry_after=600.0))
    world.observe(good, good, good, bad, bad, bad)
    world.now += 600
    assert world.deliver_all() == [("trigger", "Errors"), ("resolve", "Errors"), ("trigger", "Errors")]


def test_another_group_does_not_wait() -> None:
    """Order is kept within a group; a notice that backs off holds up no other group."""
    canaries = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    world = EngineHarness(alerts(), *canaries)
    world.observe(*[msgspec.structs.replace(bad(number), canary="a") for number in range(3)])
    world.deliver(answer=Retry(reason="HTTP 500"))
    world.observe(*[msgspec.structs.replace(bad(number), canary="b") for number in range(3)])
    world.step(SendFinished("no such notice", Accepted(), 0.0))
    stuck, sent = world.deliver(answer=Retry(reason="HTTP 500")), world.deliver()
    assert stuck is not None
    assert sent is not None
    assert (stuck.members[0].canary, sent.members[0].canary) == ("a", "b")


# ---- 4: whoever was told that it fires is told that it is over


def test_a_rule_that_is_removed_resolves_what_it_opened() -> None:
    """At the next start, with the reason."""
    world = fired()
    world.deliver_all()
    world.configure(alerts(rules={"Other": THREE_FAILURES_RULE}))
    world.crash()
    world.step(Started())
    notice = world.deliver()
    assert notice is not None
    assert (notice.action, notice.members[0].resolve_reason) == (
        "resolve",
        "the rule was removed from the configuration",
    )
    assert world.state.detectors == {}


def test_a_canary_that_is_removed_resolves_what_it_opened() -> None:
    """The same, when the rule is still there."""
    world = fired()
    world.deliver_all()
    world.configure(alerts(), Canary(name="another", target="t", provider="p", interval=30.0))
    world.step(Started())
    assert world.deliver_all() == [("resolve", "Errors")]


def test_a_route_that_is_removed_still_ends_what_it_told() -> None:
    """The receiver that was told hears the end; the one that the new route names hears both."""
    world = fired(receivers=TWO_HOOKS, routes=[{"receivers": ["hook"]}])
    world.deliver_all()
    world.configure(alerts(receivers=TWO_HOOKS, routes=[{"receivers": ["other"]}]))
    world.step(Started())
    assert world.deliver_all("hook", "other") == [("trigger", "Errors")]
    world.observe(good, good, good)
    assert world.deliver_all("hook", "other") == [("resolve", "Errors"), ("resolve", "Errors")]


def test_a_receiver_that_is_removed_is_forgotten() -> None:
    """What waits for it can never be sent."""
    world = fired(receivers=TWO_HOOKS)
    world.configure(alerts())
    world.step(Started())
    assert [notice.receiver for notice in world.state.notifications.values()] == ["hook"]


def test_an_edited_rule_can_resolve_what_its_former_self_opened() -> None:
    """Another detector starts afresh, and the incident stays open until that one has seen enough."""
    world = fired()
    world.deliver_all()
    ratio = {"type": "ratio", "over": "10 runs", "threshold": "50%", "min_samples": 5}
    world.configure(alerts(rules={"Errors": {**THREE_FAILURES_RULE, "detector": ratio}}))
    world.crash()
    world.step(Started())
    world.observe(good, good, good, good)
    assert len(world.open_incidents) == 1
    world.observe(good)
    assert (world.open_incidents, world.deliver_all()) == ([], [("resolve", "Errors")])


# ---- 5: only good samples that were seen resolve


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
def test_what_says_nothing_resolves_nothing(run: Any) -> None:
    """Neutral runs, skipped ones, a broken prober and other canaries leave an incident as it is."""
    world = fired()
    world.deliver_all()
    world.observe(*[run] * 50)
    assert (len(world.open_incidents), world.deliver_all()) == (1, [])


def test_time_alone_resolves_nothing() -> None:
    """A month without a run, and restarts in it."""
    world = fired()
    world.deliver_all()
    for _ in range(30):
        world.now += 86400
        world.step(Tick())
        world.crash()
        world.step(Started())
    assert (len(world.open_incidents), world.deliver_all()) == (1, [])


# ---- 6: a restart with nothing changed says nothing


@pytest.mark.parametrize("runs", [[], [bad] * 2, [bad] * 3, [bad] * 3 + [good] * 2, [bad] * 3 + [good] * 3])
def test_a_restart_with_nothing_changed_sends_nothing(runs: list[Any]) -> None:
    """Before, during and after an outage: what was delivered stays delivered."""
    world = EngineHarness()
    world.observe(*runs)
    world.deliver_all()
    for _ in range(3):
        world.crash()
        world.step(Started())
    assert world.deliver_all() == []
