"""After a store that missed something: pages went out from memory, the daemon was killed, and nobody remembers them."""

from copy import deepcopy
from typing import Any

import pytest

from streamcanary.alerting.engine.inputs import RunFinished, Started, StoreFailed, StoreRecovered, Tick
from streamcanary.alerting.engine.reconciliation import RECONCILED_REASON
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import BudgetState, OutcomeKind
from support.alerting.builders import (
    THREE_FAILURES_RULE,
    EngineHarness,
    a_run,
    alerts,
    bad,
    good,
    neutral,
    skipped,
    webhook_config,
)

WELL = ["BudgetExhausted", "CanaryEgressDown", "Errors", "StoreFailing"]
"""What is called off once all is seen to be well."""


def tick(world: EngineHarness) -> None:
    """Let time pass."""
    world.now += 5
    world.step(Tick())


def forget(world: EngineHarness, ledger: Any) -> None:
    """Start again from ``ledger``, which the daemon could not save anything to since."""
    world.stored_rows = deepcopy(ledger)
    world.crash()
    world.now += 5
    world.step(Started(may_be_incomplete=True))


def called_off(world: EngineHarness) -> list[str]:
    """Deliver all that is due, which is to be nothing but resolves; return the rules."""
    sent = world.deliver_all()
    assert {action for action, _ in sent} <= {"resolve"}
    return sorted(rule for _, rule in sent)


def test_a_page_from_memory_is_called_off_once_the_canary_is_seen_to_be_well() -> None:
    """Under the key it was told, and once; that the canary was well before is not enough."""
    world = EngineHarness()
    world.observe(good, good)
    stored = deepcopy(world.stored_rows)
    world.observe(bad, bad, bad)
    told = world.deliver()
    forget(world, stored)
    tick(world)
    assert ["StoreFailing"] == called_off(world)
    world.observe(good)
    tick(world)
    notices = {notice.members[0].rule: notice for notice in world.state.notifications.values()}
    assert told is not None
    assert (told.group, RECONCILED_REASON) == (notices["Errors"].group, notices["Errors"].members[0].resolve_reason)
    assert [rule for rule in WELL if rule != "StoreFailing"] == called_off(world)
    world.crash()
    world.step(Started())
    world.observe(good, good)
    tick(world)
    assert [] == called_off(world)


@pytest.mark.parametrize("run", [bad, neutral, skipped, lambda number: a_run(number, OutcomeKind.INTERNAL_ERROR)])
def test_only_a_good_sample_calls_off(run: Any) -> None:
    """What was seen before counts as little as what says nothing."""
    world = EngineHarness(
        alerts(rules={"Errors": {**THREE_FAILURES_RULE, "detector": {"type": "consecutive", "failures": 9}}})
    )
    world.observe(good, good)
    forget(world, world.stored_rows)
    world.observe(run, run)
    tick(world)
    assert "Errors" not in called_off(world)


def test_what_is_still_bad_is_told_anew_and_then_ends_as_ever() -> None:
    """The detector goes on from what it had."""
    world = EngineHarness()
    world.observe(good, bad, bad)
    stored = deepcopy(world.stored_rows)
    world.observe(bad)
    world.deliver_all()
    forget(world, stored)
    world.observe(bad)
    assert ("trigger", "Errors") in world.deliver_all()
    world.observe(good, good, good)
    tick(world)
    assert "Errors" in called_off(world)
    assert [] == world.open_incidents


def test_what_is_known_to_fire_is_not_called_off() -> None:
    """Its end is told when it ends."""
    world = EngineHarness()
    world.observe(bad, bad, bad)
    world.deliver_all()
    forget(world, world.stored_rows)
    world.observe(good)
    tick(world)
    assert [rule for rule in WELL if rule != "Errors"] == called_off(world)
    world.observe(good, good)
    tick(world)
    assert ["Errors"] == called_off(world)


def test_an_alert_that_was_over_may_have_come_back_since() -> None:
    """The store knows of the one before."""
    world = EngineHarness()
    world.observe(bad, bad, bad, good, good, good)
    tick(world)
    world.deliver_all()
    stored = deepcopy(world.stored_rows)
    world.observe(bad, bad, bad)
    again = world.deliver()
    forget(world, stored)
    world.observe(good)
    tick(world)
    assert WELL == called_off(world)
    assert again is not None
    assert world.state.groups[again.group].resolved is not None


def test_a_store_that_still_fails_is_not_called_off_but_told_of() -> None:
    """Whether it can be written is known only after the start."""
    world = EngineHarness()
    world.observe(good)
    forget(world, world.stored_rows)
    world.step(StoreFailed("database or disk is full"))
    assert [("trigger", "StoreFailing")] == world.deliver_all()
    tick(world)
    assert [] == called_off(world)
    world.step(StoreRecovered())
    assert ["StoreFailing"] == called_off(world)


def test_the_way_out_and_the_budget_are_called_off_once_a_run_reaches_somebody() -> None:
    """A turn that is left out says that the budget is spent indeed."""
    world = EngineHarness(alerts(rules={}))
    world.observe(good)
    forget(world, world.stored_rows)
    tick(world)
    called_off(world)
    world.observe(lambda number: a_run(number, OutcomeKind.SKIPPED, reason="budget", budget=BudgetState.EXHAUSTED))
    assert [("trigger", "BudgetExhausted")] == world.deliver_all()
    tick(world)
    assert [] == called_off(world)
    world.observe(neutral)
    tick(world)
    assert ["BudgetExhausted", "CanaryEgressDown"] == called_off(world)


def test_a_receiver_that_failed_is_called_off_at_the_others_when_it_takes_what_it_is_sent() -> None:
    """Something is: that the store is well."""
    world = EngineHarness(alerts(receivers={"hook": webhook_config(), "other": webhook_config()}))
    world.observe(good)
    forget(world, world.stored_rows)
    tick(world)
    told = []
    for _ in range(3):
        told.append({rule for _, rule in world.deliver_all("hook", "other")})
        tick(world)
    assert [{"StoreFailing"}, {"ReceiverFailing"}, {"ReceiverFailing"}] == told


def test_what_is_suspected_twice_is_called_off_once() -> None:
    """The daemon is killed again, and starts again, before it could save anything."""
    fleet = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    world = EngineHarness(alerts(group_by=["alert"]), *fleet)
    world.step(RunFinished(good()))
    forget(world, world.stored_rows)
    forget(world, world.stored_rows)
    (group,) = [group for group in world.state.groups.values() if len(group.members) > 1]
    assert 2 == len(group.members)
