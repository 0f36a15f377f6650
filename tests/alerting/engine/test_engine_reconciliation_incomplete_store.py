"""Test reconciliation with an incomplete store, where notifications sent from memory are lost in a kill."""

from copy import deepcopy
from typing import Any

import pytest

from streamcanary.alerting.engine.inputs import RunFinished, Started, StoreFailed, StoreRecovered, Tick
from streamcanary.alerting.engine.recovery.reconciliation import RECONCILED_REASON
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
    pagerduty_config,
    skipped,
)

RECONCILED_RULES = ["BudgetExhausted", "CanaryEgressDown", "Errors", "ReloadFailed", "StoreFailing"]
"""The rules that reconciliation resolves once everything is observed healthy."""


def reconciling_harness(**sections: Any) -> EngineHarness:
    """Create an engine with a PagerDuty receiver ``hook``."""
    return EngineHarness(alerts(**{"receivers": {"hook": pagerduty_config()}, **sections}))


def tick(harness: EngineHarness) -> None:
    """Advance the clock by 5 s and tick."""
    harness.now += 5
    harness.step(Tick())


def restart_from(harness: EngineHarness, stored_rows: Any) -> None:
    """Restart from ``stored_rows``, after which nothing could be saved."""
    harness.stored_rows = deepcopy(stored_rows)
    harness.crash()
    harness.now += 5
    harness.step(Started(may_be_incomplete=True))


def reconciled_rules(harness: EngineHarness) -> list[str]:
    """Deliver everything that is due, assert that it is only resolves, and return the rules."""
    sent = harness.deliver_all()
    assert {action for action, _ in sent} <= {"resolve"}
    return sorted(rule for _, rule in sent)


def test_notification_from_memory_is_reconciled_when_its_rule_resolves() -> None:
    """A notification sent from memory is resolved once, under its own key, once its rule would have resolved it.

    Good samples from before the restart do not count.
    """
    harness = reconciling_harness()
    harness.observe(good, good)
    stored = deepcopy(harness.stored_rows)
    harness.observe(bad, bad, bad)
    trigger = harness.deliver()
    restart_from(harness, stored)
    tick(harness)
    assert ["ReloadFailed", "StoreFailing"] == reconciled_rules(harness)
    harness.observe(good, good)
    tick(harness)
    assert ["BudgetExhausted", "CanaryEgressDown"] == reconciled_rules(harness)
    harness.observe(good)
    tick(harness)
    by_rule = {notification.members[0].rule: notification for notification in harness.state.notifications.values()}
    assert trigger is not None
    assert (trigger.group, RECONCILED_REASON) == (by_rule["Errors"].group, by_rule["Errors"].members[0].resolve_reason)
    assert ["Errors"] == reconciled_rules(harness)
    harness.crash()
    harness.step(Started())
    harness.observe(good, good)
    tick(harness)
    assert [] == reconciled_rules(harness)


@pytest.mark.parametrize("run", [bad, neutral, skipped, lambda number: a_run(number, OutcomeKind.INTERNAL_ERROR)])
def test_only_a_good_sample_reconciles(run: Any) -> None:
    """Samples from before the restart and runs that are not good do not reconcile an alert."""
    rule = {**THREE_FAILURES_RULE, "detector": {"type": "consecutive", "failures": 9, "resolve_after": 2}}
    harness = reconciling_harness(rules={"Errors": rule})
    harness.observe(good, good)
    restart_from(harness, harness.stored_rows)
    harness.observe(run, run)
    tick(harness)
    assert "Errors" not in reconciled_rules(harness)


def test_alert_that_still_fires_is_notified_again_and_resolves_normally() -> None:
    """The detector continues from its stored state, so an alert that still fires triggers again and then resolves."""
    harness = reconciling_harness()
    harness.observe(good, bad, bad)
    stored = deepcopy(harness.stored_rows)
    harness.observe(bad)
    harness.deliver_all()
    restart_from(harness, stored)
    harness.observe(bad)
    assert ("trigger", "Errors") in harness.deliver_all()
    harness.observe(good, good, good)
    tick(harness)
    assert "Errors" in reconciled_rules(harness)
    assert [] == harness.open_incidents


def test_alert_that_is_stored_as_firing_is_not_reconciled() -> None:
    """An alert that the store knows as firing is resolved only when it recovers."""
    harness = reconciling_harness()
    harness.observe(bad, bad, bad)
    harness.deliver_all()
    restart_from(harness, harness.stored_rows)
    harness.observe(good)
    tick(harness)
    assert [rule for rule in RECONCILED_RULES if rule != "Errors"] == reconciled_rules(harness)
    harness.observe(good, good)
    tick(harness)
    assert ["Errors"] == reconciled_rules(harness)


def test_alert_stored_as_resolved_is_reconciled_because_it_may_have_fired_again() -> None:
    """An alert that is stored as resolved is reconciled, because a later incident may be missing from the store."""
    harness = reconciling_harness()
    harness.observe(bad, bad, bad, good, good, good)
    tick(harness)
    harness.deliver_all()
    stored = deepcopy(harness.stored_rows)
    harness.observe(bad, bad, bad)
    again = harness.deliver()
    restart_from(harness, stored)
    harness.observe(good, good, good)
    tick(harness)
    assert RECONCILED_RULES == reconciled_rules(harness)
    assert again is not None
    assert harness.state.groups[again.group].resolved is not None


def test_store_that_still_fails_triggers_and_is_not_reconciled() -> None:
    """``StoreFailing`` triggers if the store still fails after the start, which is known only after the first write."""
    harness = reconciling_harness()
    harness.observe(good)
    restart_from(harness, harness.stored_rows)
    harness.step(StoreFailed("database or disk is full"))
    assert [("trigger", "StoreFailing")] == harness.deliver_all()
    tick(harness)
    assert ["ReloadFailed"] == reconciled_rules(harness)
    harness.step(StoreRecovered())
    assert ["StoreFailing"] == reconciled_rules(harness)


def test_egress_and_budget_alerts_are_reconciled_after_a_run_reaches_a_host() -> None:
    """A run that reaches a host reconciles egress and budget alerts; a run skipped for its budget does not."""
    harness = reconciling_harness(rules={})
    harness.observe(good)
    restart_from(harness, harness.stored_rows)
    tick(harness)
    reconciled_rules(harness)
    harness.observe(lambda number: a_run(number, OutcomeKind.SKIPPED, reason="budget", budget=BudgetState.EXHAUSTED))
    assert [("trigger", "BudgetExhausted")] == harness.deliver_all()
    tick(harness)
    assert [] == reconciled_rules(harness)
    harness.observe(neutral)
    tick(harness)
    assert ["BudgetExhausted", "CanaryEgressDown"] == reconciled_rules(harness)


def test_receiver_failing_is_reconciled_when_the_receiver_accepts_a_notification() -> None:
    """Other receivers get the resolve of ``ReceiverFailing`` after the receiver accepts those of other rules."""
    harness = EngineHarness(alerts(receivers={"hook": pagerduty_config(), "other": pagerduty_config()}))
    harness.observe(good)
    restart_from(harness, harness.stored_rows)
    tick(harness)
    notified_rules = []
    for _ in range(3):
        notified_rules.append({rule for _, rule in harness.deliver_all("hook", "other")})
        tick(harness)
    assert [{"ReloadFailed", "StoreFailing"}, {"ReceiverFailing"}, {"ReceiverFailing"}] == notified_rules


def test_two_incomplete_restarts_list_each_member_once() -> None:
    """A second restart before anything is saved does not add a member to its reconciliation group twice."""
    fleet = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    harness = EngineHarness(reconciling_harness(group_by=["alert"]).config, *fleet)
    harness.step(RunFinished(good()))
    restart_from(harness, harness.stored_rows)
    restart_from(harness, harness.stored_rows)
    (group,) = [group for group in harness.state.groups.values() if len(group.assumed_members) > 1]
    assert 2 == len(group.assumed_members)
