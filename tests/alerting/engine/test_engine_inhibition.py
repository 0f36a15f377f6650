"""Alerts that explain others: whoever knows that nobody can be reached is not told of each who cannot."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import RunFinished, Tick
from streamcanary.alerting.notify.receivers.delivery_result import Refused, Retry
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import BudgetState, OutcomeKind
from support.alerting.builders import THREE_FAILURES_RULE, EngineHarness, a_fault, a_run, alerts, webhook_config

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}


def later(world: EngineHarness, seconds: float) -> None:
    """Let time pass."""
    world.now += seconds
    world.step(Tick())


HOSTS = tuple(
    Canary(name=name, target=name, provider=name, interval=30.0, host=host)
    for name, host in (("a", "one"), ("b", "two"))
)


def run_all(world: EngineHarness, kind: FaultKind | None, *names: str) -> None:
    """Let canaries run now, each with the same fault, or well."""
    world.now += 30
    for name in names or ("a", "b"):
        outcome = a_run(
            int(world.now),
            OutcomeKind.FAILED if kind else OutcomeKind.OK,
            kind and a_fault(kind),
            started=world.now - 1,
        )
        world.step(RunFinished(msgspec.structs.replace(outcome, canary=name, duration=0.5)))


def cut_off(**sections: Any) -> EngineHarness:
    """Build a world in which two hosts were lost twice: ``CanaryEgressDown`` fires, and nothing else yet."""
    world = EngineHarness(alerts(**sections), *HOSTS)
    for _ in range(2):
        run_all(world, FaultKind.CONNECT_FAILED)
    assert ["CanaryEgressDown"] == [incident.rule for incident in world.open_incidents]
    return world


def test_no_way_out_is_one_page_for_all() -> None:
    """Once its page was accepted, what it explains is told to nobody, as long as it fires and after."""
    world = cut_off()
    assert [("trigger", "CanaryEgressDown")] == world.deliver_all()
    run_all(world, FaultKind.CONNECT_FAILED)
    assert (3, []) == (len(world.open_incidents), world.deliver_all())
    run_all(world, None, "a")
    world.step(Tick())
    assert [("resolve", "CanaryEgressDown")] == world.deliver_all()
    later(world, 5)
    run_all(world, None)
    run_all(world, None)
    run_all(world, None)
    assert ([], []) == (world.open_incidents, world.deliver_all())


def test_a_further_failure_after_it_is_news() -> None:
    """It was not the way out after all, or not it alone."""
    world = cut_off()
    world.deliver_all()
    run_all(world, FaultKind.CONNECT_FAILED)
    run_all(world, None, "a")
    world.deliver_all()
    later(world, 5)
    assert [] == world.deliver_all()
    run_all(world, FaultKind.STALLED, "b")
    later(world, 5)
    notice = world.deliver()
    assert notice is not None
    assert ("trigger", ["b"]) == (notice.action, [one.canary for one in notice.members])


@pytest.mark.parametrize("answer", [None, Retry(reason="no answer"), Refused("HTTP 400")])
def test_nothing_is_explained_to_who_has_not_heard_of_it(answer: Any) -> None:
    """If the page about the way out does not get through, the others go out."""
    world = cut_off()
    if answer is not None:
        world.deliver(answer=answer)
    run_all(world, FaultKind.CONNECT_FAILED)
    assert 2 == sum(notice.members[0].rule == "Errors" for notice in world.state.notifications.values())


def test_each_receiver_of_what_is_explained_must_have_heard() -> None:
    """One of two is not enough; the second makes it so."""
    world = cut_off(receivers=TWO_HOOKS)
    world.deliver_all("hook")
    run_all(world, FaultKind.CONNECT_FAILED, "a")
    run_all(world, FaultKind.CONNECT_FAILED, "a")
    assert [("trigger", "CanaryEgressDown"), ("trigger", "Errors")] == world.deliver_all("other")
    run_all(world, FaultKind.CONNECT_FAILED, "b")
    assert [] == world.deliver_all("other")


def test_nothing_is_explained_by_what_was_told_elsewhere() -> None:
    """The page about the way out goes to another receiver, or to none."""
    for routes in (
        [{"match": ['alert="Errors"'], "receivers": ["hook"]}, {"receivers": ["other"]}],
        [{"match": ['alert="Errors"'], "receivers": ["hook"]}],
    ):
        world = cut_off(receivers=TWO_HOOKS, routes=routes)
        world.deliver_all("other")
        run_all(world, FaultKind.CONNECT_FAILED)
        assert 2 == len(world.deliver_all("hook"))


def test_a_level_receiver_that_is_not_told_of_the_one_is_told_of_the_others() -> None:
    """One that is told of both is told of the one."""
    routes = [{"match": ['alert="Errors"'], "receivers": ["prom"]}, {"receivers": ["hook"]}]
    world = cut_off(receivers={"hook": webhook_config(), "prom": PROM}, routes=routes)
    world.deliver_all()
    run_all(world, FaultKind.CONNECT_FAILED)
    assert ["Errors", "Errors"] == [incident.rule for incident in active_alerts(world.state, "prom", world.now)]
    world = cut_off(receivers={"prom": PROM})
    run_all(world, FaultKind.CONNECT_FAILED)
    assert ["CanaryEgressDown"] == [incident.rule for incident in active_alerts(world.state, "prom", world.now)]


def test_what_nobody_was_told_of_explains_nothing_once_it_is_over() -> None:
    """It was refused, and then over: nobody could have made sense of the silence."""
    world = cut_off(group_wait=120)
    world.deliver(answer=Refused("HTTP 400"))
    run_all(world, FaultKind.CONNECT_FAILED)
    run_all(world, None, "a")
    assert [] == world.deliver_all()
    later(world, 120)
    assert [("trigger", "Errors")] * 2 == world.deliver_all()


def test_what_seems_to_be_over_tomorrow_explains_nothing() -> None:
    """The clock was set back: which came first nobody can tell."""
    world = cut_off()
    world.deliver_all()
    run_all(world, None, "a")
    world.deliver_all()
    world.now -= 7200
    for _ in range(3):
        run_all(world, FaultKind.STALLED, "b")
    later(world, 5)
    assert [("trigger", "Errors")] == world.deliver_all()


def test_a_repetition_that_does_not_get_through_explains_no_less() -> None:
    """The receiver knows since the first page; and the way out is what it is waiting for."""
    world = cut_off(repeat_interval="1h")
    world.deliver_all()
    run_all(world, FaultKind.CONNECT_FAILED)
    later(world, 3600)
    assert [("CanaryEgressDown", "update")] == [
        (notice.members[0].rule, notice.action)
        for notice in world.state.notifications.values()
        if notice.state == "pending"
    ]
    later(world, 5)
    assert 2 == len(world.state.notifications)


def test_what_fired_before_the_way_out_was_lost_is_not_explained_by_it() -> None:
    """It failed for a reason of its own, and its page goes out, whatever else is down by then."""
    world = EngineHarness(alerts(group_wait=300), *HOSTS)
    for _ in range(3):
        run_all(world, FaultKind.STALLED, "a")
    for _ in range(2):
        run_all(world, FaultKind.CONNECT_FAILED)
    assert [("trigger", "CanaryEgressDown")] == world.deliver_all()
    later(world, 300)
    notice = world.deliver()
    assert notice is not None
    assert ("trigger", ["a"]) == (notice.action, [one.canary for one in notice.members])


def test_one_glitch_is_no_blackout() -> None:
    """Nor is one host alone, whatever the number of its canaries, nor two when a third was reached meanwhile."""
    world = EngineHarness(alerts(), *HOSTS)
    run_all(world, FaultKind.CONNECT_FAILED)
    assert [] == world.open_incidents
    one_host = [msgspec.structs.replace(canary, host="same") for canary in HOSTS]
    world = EngineHarness(alerts(rules={}), *one_host)
    for _ in range(5):
        run_all(world, FaultKind.CONNECT_FAILED)
    assert [] == world.open_incidents
    third = Canary(name="c", target="c", provider="c", interval=30.0, host="three")
    world = EngineHarness(alerts(rules={}), *HOSTS, third)
    run_all(world, FaultKind.CONNECT_FAILED, "a", "b")
    for _ in range(4):
        run_all(world, FaultKind.STALLED, "c")  # somebody answered, and then stalled
        assert [] == world.open_incidents
        run_all(world, FaultKind.CONNECT_FAILED, "a", "b")
        assert [] == world.open_incidents
    run_all(world, FaultKind.CONNECT_FAILED, "c")  # it was reached a moment ago
    assert [] == world.open_incidents
    run_all(world, FaultKind.CONNECT_FAILED, "c")
    assert ["CanaryEgressDown"] == [incident.rule for incident in world.open_incidents]


def test_a_run_that_the_budget_forbade_reaches_nobody() -> None:
    """It neither ends a blackout nor hides one."""
    world = cut_off()
    skipped = a_run(99, OutcomeKind.SKIPPED, reason="budget", budget=BudgetState.EXHAUSTED, started=world.now)
    third = Canary(name="c", target="c", provider="c", interval=30.0, host="three")
    world.configure(alerts(), *HOSTS, third)
    world.step(RunFinished(msgspec.structs.replace(skipped, canary="c")))
    assert "CanaryEgressDown" in {incident.rule for incident in world.open_incidents}
    world = EngineHarness(alerts(rules={}), *HOSTS, third)
    for _ in range(2):
        run_all(world, FaultKind.CONNECT_FAILED)
        world.step(RunFinished(msgspec.structs.replace(skipped, canary="c", started=world.now)))
    assert "CanaryEgressDown" in {incident.rule for incident in world.open_incidents}


def test_a_rejected_target_explains_what_else_its_canary_shows() -> None:
    """And of no other canary."""
    any_fault = {**THREE_FAILURES_RULE, "blame": ["config", "provider"]}
    world = EngineHarness(alerts(rules={"Errors": any_fault, "TargetRejected": {}}), *HOSTS)
    run_all(world, FaultKind.AUTH_FAILED, "a")
    run_all(world, FaultKind.AUTH_FAILED, "a")
    assert [("trigger", "TargetRejected")] == world.deliver_all()
    for _ in range(3):
        run_all(world, FaultKind.AUTH_FAILED, "a")
        run_all(world, FaultKind.STALLED, "b")
    notice = world.deliver()
    assert notice is not None
    assert ("Errors", "b") == (notice.members[0].rule, notice.members[0].canary)
    assert [] == world.deliver_all()
