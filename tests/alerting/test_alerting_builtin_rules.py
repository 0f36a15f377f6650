"""Rules that are there without being written: what they see, and how they are changed, switched off and routed."""

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from streamcanary.alerting.engine.inputs import RunFinished, Started, StateReceiverReported, StoreFailed, Tick
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Refused
from streamcanary.model.canary import Canary
from streamcanary.model.cron import Cron
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import BudgetState, Outcome, OutcomeKind
from support.alerting.builders import (
    CHAT,
    NOON,
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

TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}
PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
MISSED = 3 * 30 + 60 + 5  # seconds: three runs, what the last may take, and some slack


def watched(*canaries: Canary, **sections: Any) -> EngineHarness:
    """Build a world in which ``NoData`` is on, and the daemon has just started."""
    world = EngineHarness(alerts(rules={"NoData": {}, **sections.pop("rules", {})}, **sections), *canaries)
    world.step(Started())
    return world


def wait(world: EngineHarness, seconds: float, tick: float = 5.0) -> None:
    """Let time pass as it does."""
    end = world.now + seconds
    while world.now < end:
        world.now = min(end, world.now + tick)
        world.step(Tick())


def run(world: EngineHarness, outcome: Outcome, **changes: Any) -> None:
    """Let a run end now."""
    world.step(RunFinished(msgspec.structs.replace(outcome, started=world.now - 1, duration=1.0, **changes)))


def names(world: EngineHarness) -> list[str]:
    """Return the rules that fire."""
    return sorted(incident.rule for incident in world.open_incidents)


# ---- NoData


def test_a_canary_that_is_not_heard_of_for_three_runs_is_missed() -> None:
    """Not before the third may have ended; any sample ends it, good, bad or neutral."""
    for heard in (good, bad, neutral):
        world = watched()
        run(world, good())
        world.step(Tick())
        world.deliver_all()  # the first start cannot know that no store was lost
        wait(world, MISSED - 1)
        assert [] == world.open_incidents
        wait(world, 1)
        assert [("trigger", "NoData")] == world.deliver_all()
        (incident,) = world.open_incidents
        assert ("chat", 3, 3, NOON) == (
            incident.canary,
            incident.evidence.bad,
            incident.evidence.total,
            incident.evidence.since,
        )
        run(world, heard())
        assert [("resolve", "NoData")] == world.deliver_all()


def test_a_canary_that_was_never_heard_of_is_missed_from_the_start() -> None:
    """Of the daemon."""
    world = watched()
    wait(world, MISSED - 1)
    assert [] == world.open_incidents
    wait(world, 1)
    assert ["NoData"] == names(world)


@pytest.mark.parametrize("silent", [skipped, lambda number: a_run(number, OutcomeKind.INTERNAL_ERROR)])
def test_what_is_no_sample_is_silence(silent: Any) -> None:
    """A run that did not come about, or of which the probe broke; neither does it end one."""
    world = watched()
    run(world, good())
    for _ in range(4):
        wait(world, 30)
        run(world, silent(0))
    wait(world, 60)
    assert ["NoData"] == names(world)
    run(world, silent(0))
    assert ["NoData"] == names(world)


@pytest.mark.parametrize("reason", ["budget", "standby"])
def test_what_is_left_out_on_purpose_is_not_missed(reason: str) -> None:
    """It is known, and told of, why there is nothing; but it does not end a silence, either."""
    world = watched()
    for _ in range(20):
        wait(world, 30)
        run(world, a_run(0, OutcomeKind.SKIPPED), reason=reason)
    assert "NoData" not in names(world)
    wait(world, MISSED)
    assert "NoData" in names(world)
    run(world, a_run(0, OutcomeKind.SKIPPED), reason=reason)
    assert "NoData" in names(world)


@pytest.mark.parametrize("seconds", [86400.0, 3600.0, 31.0, -31.0, -3600.0, -86400.0 * 400])
def test_a_clock_that_jumps_is_no_silence_and_hides_none(seconds: float) -> None:
    """Counting begins anew: forward, the daemon may have slept; backward, it is not what it was."""
    world = watched()
    run(world, good())
    wait(world, 60)
    world.now += seconds
    world.step(Tick())
    wait(world, MISSED - 1)
    assert [] == world.open_incidents
    wait(world, 30)
    assert ["NoData"] == names(world)


def test_a_restart_begins_to_count_anew() -> None:
    """The daemon was away; what it was away for nobody was to see."""
    world = watched()
    run(world, good())
    wait(world, 100)
    world.now += 600
    world.crash()
    world.step(Started())
    wait(world, MISSED - 1)
    assert [] == world.open_incidents
    wait(world, 1)
    assert ["NoData"] == names(world)


def test_a_silence_outlives_restarts_and_sleep() -> None:
    """Only being heard of ends it."""
    world = watched()
    wait(world, MISSED)
    for _ in range(3):
        world.now += 3600
        world.crash()
        world.step(Started())
        world.step(Tick())
    assert [("trigger", "NoData")] == world.deliver_all()
    assert ["NoData"] == names(world)


def test_a_canary_is_missed_by_its_own_schedule() -> None:
    """Nobody expects it at night."""
    hourly = msgspec.structs.replace(CHAT, cron=Cron.parse("0 9-17 * * *", "Europe/Berlin"), interval=3600.0)
    world = watched(hourly)
    world.now = NOON - NOON % 86400 + 16 * 3600 + 60  # its last run of the day was at five in the afternoon
    world.step(Started())
    run(world, good())
    wait(world, 18 * 3600, tick=30.0)
    assert [] == world.open_incidents
    wait(world, 1800, tick=30.0)
    assert ["NoData"] == names(world)


def test_a_canary_that_no_other_rule_looks_at_is_heard_of() -> None:
    """What it answers is nobody's sample, and still no silence."""
    world = watched(rules={})
    wait(world, MISSED)
    assert ["NoData"] == names(world)
    run(world, good())
    assert [] == world.open_incidents


def test_a_rule_of_ones_own_can_look_for_silence() -> None:
    """Sooner than the built-in one, and it is as little missed under a budget."""
    world = watched(rules={"Quiet": {"detector": {"type": "no_data", "runs": 1}}})
    wait(world, 30 + 65)
    assert ["Quiet"] == names(world)


# ---- BudgetExhausted


def test_a_spent_budget_is_told_once_and_ends_when_canaries_run_again() -> None:
    """However many runs it costs."""
    world = EngineHarness(alerts(rules={}))
    for number in range(5):
        run(world, a_run(number, OutcomeKind.SKIPPED), reason="budget", budget=BudgetState.EXHAUSTED)
    assert [("trigger", "BudgetExhausted")] == world.deliver_all()
    run(world, skipped())
    run(world, a_run(9, OutcomeKind.INTERNAL_ERROR))
    assert ["BudgetExhausted"] == names(world)
    run(world, a_run(10, OutcomeKind.SKIPPED), reason="budget", budget=BudgetState.SLOWED)
    run(world, good(10), budget=BudgetState.EXEMPT)
    under_way = msgspec.structs.replace(good(11), started=world.now - 10, duration=10.0)
    world.step(RunFinished(msgspec.structs.replace(under_way, budget=BudgetState.WITHIN)))
    assert [] == world.deliver_all()
    world.now += 30
    run(world, good(12), budget=BudgetState.WITHIN)
    assert [("resolve", "BudgetExhausted")] == world.deliver_all()


# ---- TargetRejected


def test_a_rejected_key_is_told_by_its_own_rule() -> None:
    """And not by rules about providers, which it says nothing to."""
    world = EngineHarness(alerts(rules={"Errors": THREE_FAILURES_RULE, "TargetRejected": {}}))
    world.observe(neutral, neutral, neutral, neutral)
    assert [("trigger", "TargetRejected")] == world.deliver_all()
    world.observe(good, good)
    assert [("resolve", "TargetRejected")] == world.deliver_all()


# ---- ReceiverFailing


def test_a_receiver_that_refuses_is_told_to_the_others_of_its_route() -> None:
    """Or if it has none, to all others; to itself never."""
    three = {**TWO_HOOKS, "third": webhook_config()}
    for routes, heard in (
        ([{"receivers": ["hook", "other"]}], {"other"}),
        ([{"receivers": ["hook"]}], {"other", "third"}),
        ([], {"other", "third"}),
    ):
        world = EngineHarness(alerts(receivers=three, routes=routes))
        world.step(StateReceiverReported("hook", Refused("HTTP 404")))
        assert heard == {notice.receiver for notice in world.state.notifications.values()}
    world = EngineHarness(alerts())
    world.step(StateReceiverReported("hook", Refused("HTTP 404")))
    assert (["ReceiverFailing"], {}) == (names(world), world.state.notifications)


def refuse_all(world: EngineHarness) -> None:
    """Have both webhooks refuse whatever is due."""
    for receiver in TWO_HOOKS:
        while world.deliver(receiver, Refused("HTTP 404")):
            pass


def test_word_of_a_failing_receiver_begets_no_word() -> None:
    """Not when it is refused, not when it is repeated, and not at its end."""
    world = EngineHarness(alerts(receivers=TWO_HOOKS, repeat_interval=60))
    world.step(StateReceiverReported("hook", Refused("HTTP 404")))
    world.deliver("other")
    for _ in range(10):
        wait(world, 65)
        refuse_all(world)
    assert ["hook"] == [incident.subject for incident in world.open_incidents]
    world.step(StateReceiverReported("hook", Accepted()))
    refuse_all(world)
    assert [] == world.open_incidents


def test_two_that_refuse_everything_are_told_of_to_each_other_and_no_further() -> None:
    """Three groups there are then, for ever; and both are well again when they accept."""
    world = EngineHarness(alerts(receivers=TWO_HOOKS, repeat_interval=60))
    world.observe(bad, bad, bad)
    for _ in range(10):
        refuse_all(world)
        wait(world, 65)
    assert ["Errors", "ReceiverFailing", "ReceiverFailing"] == names(world)
    assert 3 == len({notice.group for notice in world.state.notifications.values()})
    world.deliver_all("hook", "other")
    assert ["Errors"] == names(world)


# ---- changed, switched off, routed


def test_a_built_in_rule_pages_unless_told_otherwise() -> None:
    """It is routed by its labels, like any other."""
    routes = [{"match": ['severity="page"'], "receivers": ["other"]}, {"receivers": ["hook"]}]
    world = EngineHarness(alerts(receivers=TWO_HOOKS, routes=routes))
    world.step(StoreFailed("disk full"))
    assert ["other"] == [notice.receiver for notice in world.state.notifications.values()]
    ticket = {"StoreFailing": {"labels": {"severity": "ticket"}, "annotations": {"runbook_url": "https://r/"}}}
    world = EngineHarness(alerts(rules=ticket, receivers=TWO_HOOKS, routes=routes))
    world.step(StoreFailed("disk full"))
    (notice,) = world.state.notifications.values()
    assert ("hook", "https://r/") == (notice.receiver, notice.members[0].annotations["runbook_url"])
    assert "summary" in notice.members[0].annotations


@pytest.mark.parametrize(
    "rule", ["CanaryEgressDown", "TargetRejected", "BudgetExhausted", "NoData", "ReceiverFailing", "StoreFailing"]
)
def test_each_built_in_rule_can_be_switched_off(rule: str) -> None:
    """Then it says nothing; and what it had said is over."""

    def everything(world: EngineHarness) -> None:
        world.step(Started())
        for _ in range(2):
            run(world, neutral(), canary="c")
        world.now += 5
        for name in ("a", "b", "a", "b"):
            run(world, a_run(0, OutcomeKind.FAILED, a_fault(FaultKind.CONNECT_FAILED)), canary=name)
        run(world, a_run(0, OutcomeKind.SKIPPED), reason="budget", budget=BudgetState.EXHAUSTED, canary="d")
        world.step(StateReceiverReported("hook", Refused("HTTP 404")))
        world.step(StoreFailed("disk full"))
        wait(world, 300)

    fleet = [
        Canary(name=name, target=name, provider=name, interval=30.0, host=name, timeout=10.0)
        for name in ("a", "b", "c", "d")
    ]
    on = {"NoData": {}, "TargetRejected": {}}
    world = EngineHarness(alerts(rules=on, receivers=TWO_HOOKS), *fleet)
    everything(world)
    assert rule in names(world)
    world.configure(alerts(rules={**on, rule: {"enabled": False}}, receivers=TWO_HOOKS), *fleet)
    world.crash()
    world.step(Started())
    assert rule not in names(world)
    world = EngineHarness(alerts(rules={**on, rule: {"enabled": False}}, receivers=TWO_HOOKS), *fleet)
    everything(world)
    assert rule not in names(world)
    assert 5 == len(set(names(world)))


def test_what_looks_at_canaries_can_be_pointed_at_some() -> None:
    """And have its detector changed; what is about the daemon has neither."""
    rules = {"NoData": {"match": ['tier="prod"'], "detector": {"type": "no_data", "runs": 1}}}
    world = EngineHarness(alerts(rules=rules), CHAT, Canary(name="lab", target="t", provider="p", interval=30.0))
    world.step(Started())
    wait(world, 30 + 65)
    assert ["chat"] == [incident.canary for incident in world.open_incidents]
    with pytest.raises(ValidationError, match="means nothing for the built-in StoreFailing"):
        alerts(rules={"StoreFailing": {"match": ['tier="prod"']}})
