"""Tests of the built-in rules: when they fire and resolve, and how they are overridden, disabled and routed."""

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from streamcanary.alerting.engine.inputs import RunFinished, Started, StateReceiverReported, StoreFailed, Tick
from streamcanary.alerting.notify.delivery.result import Accepted, Refused
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import BudgetState, Outcome, OutcomeKind
from streamcanary.model.schedules.cron import Cron
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
MISSED = 3 * 30 + 60 + 5  # seconds: three intervals, the timeout of the last run, and the grace time


def start_engine(*canaries: Canary, **sections: Any) -> EngineHarness:
    """Return a started engine in which ``NoData`` is enabled."""
    harness = EngineHarness(alerts(rules={"NoData": {}, **sections.pop("rules", {})}, **sections), *canaries)
    harness.step(Started())
    return harness


def advance(harness: EngineHarness, seconds: float, tick: float = 5.0) -> None:
    """Advance the clock by ``seconds``, with a tick every ``tick`` seconds."""
    end = harness.now + seconds
    while harness.now < end:
        harness.now = min(end, harness.now + tick)
        harness.step(Tick())


def finish_run(harness: EngineHarness, outcome: Outcome, **changes: Any) -> None:
    """Apply a run that ends now."""
    harness.step(RunFinished(msgspec.structs.replace(outcome, started=harness.now - 1, duration=1.0, **changes)))


def firing_rules(harness: EngineHarness) -> list[str]:
    """Return the sorted names of the firing rules."""
    return sorted(incident.rule for incident in harness.open_incidents)


# ---- NoData


def test_no_data_fires_after_three_missing_runs_and_resolves_on_any_sample() -> None:
    """``NoData`` fires once the third run must have ended, and a good, bad or neutral sample resolves it."""
    for sample in (good, bad, neutral):
        harness = start_engine()
        finish_run(harness, good())
        harness.step(Tick())
        harness.deliver_all()  # the first start reconciles, as the store may have been lost
        advance(harness, MISSED - 1)
        assert [] == harness.open_incidents
        advance(harness, 1)
        assert [("trigger", "NoData")] == harness.deliver_all()
        (incident,) = harness.open_incidents
        assert ("chat", 3, 3, NOON) == (
            incident.canary,
            incident.evidence.bad,
            incident.evidence.total,
            incident.evidence.since,
        )
        finish_run(harness, sample())
        assert [("resolve", "NoData")] == harness.deliver_all()


def test_no_data_counts_from_the_start_of_the_daemon_without_any_run() -> None:
    """A canary that never reported a result is missing from the start of the daemon."""
    harness = start_engine()
    advance(harness, MISSED - 1)
    assert [] == harness.open_incidents
    advance(harness, 1)
    assert ["NoData"] == firing_rules(harness)


@pytest.mark.parametrize("without_sample", [skipped, lambda number: a_run(number, OutcomeKind.INTERNAL_ERROR)])
def test_runs_without_a_sample_count_as_missing(without_sample: Any) -> None:
    """Skipped runs and runs with an internal error neither prevent nor resolve ``NoData``."""
    harness = start_engine()
    finish_run(harness, good())
    for _ in range(4):
        advance(harness, 30)
        finish_run(harness, without_sample(0))
    advance(harness, 60)
    assert ["NoData"] == firing_rules(harness)
    finish_run(harness, without_sample(0))
    assert ["NoData"] == firing_rules(harness)


@pytest.mark.parametrize("reason", ["budget", "standby"])
def test_runs_skipped_for_budget_or_standby_are_not_missing(reason: str) -> None:
    """A run that is skipped on purpose prevents ``NoData``, but does not resolve it."""
    harness = start_engine()
    for _ in range(20):
        advance(harness, 30)
        finish_run(harness, a_run(0, OutcomeKind.SKIPPED), reason=reason)
    assert "NoData" not in firing_rules(harness)
    advance(harness, MISSED)
    assert "NoData" in firing_rules(harness)
    finish_run(harness, a_run(0, OutcomeKind.SKIPPED), reason=reason)
    assert "NoData" in firing_rules(harness)


@pytest.mark.parametrize("seconds", [86400.0, 3600.0, 31.0, -31.0, -3600.0, -86400.0 * 400])
def test_no_data_counts_again_after_a_clock_jump(seconds: float) -> None:
    """A clock jump does not fire ``NoData``, and counting starts again at the new time."""
    harness = start_engine()
    finish_run(harness, good())
    advance(harness, 60)
    harness.now += seconds
    harness.step(Tick())
    advance(harness, MISSED - 1)
    assert [] == harness.open_incidents
    advance(harness, 30)
    assert ["NoData"] == firing_rules(harness)


def test_no_data_counts_again_after_a_restart() -> None:
    """The time in which the daemon was down does not count as missing runs."""
    harness = start_engine()
    finish_run(harness, good())
    advance(harness, 100)
    harness.now += 600
    harness.crash()
    harness.step(Started())
    advance(harness, MISSED - 1)
    assert [] == harness.open_incidents
    advance(harness, 1)
    assert ["NoData"] == firing_rules(harness)


def test_open_no_data_survives_restarts_and_suspends() -> None:
    """Only a sample resolves ``NoData``; restarts and long gaps do not."""
    harness = start_engine()
    advance(harness, MISSED)
    for _ in range(3):
        harness.now += 3600
        harness.crash()
        harness.step(Started())
        harness.step(Tick())
    assert [("trigger", "NoData")] == harness.deliver_all()
    assert ["NoData"] == firing_rules(harness)


def test_no_data_follows_the_cron_schedule_of_a_canary() -> None:
    """``NoData`` does not fire in hours in which no run is scheduled."""
    hourly = msgspec.structs.replace(CHAT, cron=Cron.parse("0 9-17 * * *", "Europe/Berlin"), interval=3600.0)
    harness = start_engine(hourly)
    harness.now = NOON - NOON % 86400 + 16 * 3600 + 60  # its last run of the day was at five in the afternoon
    harness.step(Started())
    finish_run(harness, good())
    advance(harness, 18 * 3600, tick=30.0)
    assert [] == harness.open_incidents
    advance(harness, 1800, tick=30.0)
    assert ["NoData"] == firing_rules(harness)


def test_no_data_watches_a_canary_without_other_rules() -> None:
    """A run resolves ``NoData`` even if no other rule evaluates its sample."""
    harness = start_engine(rules={})
    advance(harness, MISSED)
    assert ["NoData"] == firing_rules(harness)
    finish_run(harness, good())
    assert [] == harness.open_incidents


def test_a_custom_rule_can_use_the_no_data_detector() -> None:
    """A custom rule with ``no_data`` fires after its own number of missing runs."""
    harness = start_engine(rules={"Quiet": {"detector": {"type": "no_data", "runs": 1}}})
    advance(harness, 30 + 65)
    assert ["Quiet"] == firing_rules(harness)


# ---- BudgetExhausted


def test_a_spent_budget_notifies_once_and_resolves_when_canaries_run_again() -> None:
    """``BudgetExhausted`` sends one trigger for many skipped runs, and resolves on a run within the budget."""
    harness = EngineHarness(alerts(rules={}))
    for number in range(5):
        finish_run(harness, a_run(number, OutcomeKind.SKIPPED), reason="budget", budget=BudgetState.EXHAUSTED)
    assert [("trigger", "BudgetExhausted")] == harness.deliver_all()
    finish_run(harness, skipped())
    finish_run(harness, a_run(9, OutcomeKind.INTERNAL_ERROR))
    assert ["BudgetExhausted"] == firing_rules(harness)
    finish_run(harness, a_run(10, OutcomeKind.SKIPPED), reason="budget", budget=BudgetState.SLOWED)
    finish_run(harness, good(10), budget=BudgetState.EXEMPT)
    already_running = msgspec.structs.replace(good(11), started=harness.now - 10, duration=10.0)
    harness.step(RunFinished(msgspec.structs.replace(already_running, budget=BudgetState.WITHIN)))
    assert [] == harness.deliver_all()
    harness.now += 30
    finish_run(harness, good(12), budget=BudgetState.WITHIN)
    assert [("resolve", "BudgetExhausted")] == harness.deliver_all()


# ---- TargetRejected


def test_a_rejected_key_fires_target_rejected_only() -> None:
    """Faults with blame ``config`` fire ``TargetRejected`` and no rule about providers."""
    harness = EngineHarness(alerts(rules={"Errors": THREE_FAILURES_RULE, "TargetRejected": {}}))
    harness.observe(neutral, neutral, neutral, neutral)
    assert [("trigger", "TargetRejected")] == harness.deliver_all()
    harness.observe(good, good)
    assert [("resolve", "TargetRejected")] == harness.deliver_all()


# ---- ReceiverFailing


def test_receiver_failing_notifies_the_other_receivers_of_its_route() -> None:
    """Without other receivers in the route it notifies all other receivers, and never the failing one."""
    three = {**TWO_HOOKS, "third": webhook_config()}
    for routes, expected in (
        ([{"receivers": ["hook", "other"]}], {"other"}),
        ([{"receivers": ["hook"]}], {"other", "third"}),
        ([], {"other", "third"}),
    ):
        harness = EngineHarness(alerts(receivers=three, routes=routes))
        harness.step(StateReceiverReported("hook", Refused("HTTP 404")))
        assert expected == {notification.receiver for notification in harness.state.notifications.values()}
    harness = EngineHarness(alerts())
    harness.step(StateReceiverReported("hook", Refused("HTTP 404")))
    assert (["ReceiverFailing"], {}) == (firing_rules(harness), harness.state.notifications)


def refuse_all(harness: EngineHarness) -> None:
    """Make both webhooks refuse every notification that is due."""
    for receiver in TWO_HOOKS:
        while harness.deliver(receiver, Refused("HTTP 404")):
            pass


def test_a_refused_notification_of_receiver_failing_opens_no_further_incident() -> None:
    """Refusing the trigger, the repeats and the resolve of ``ReceiverFailing`` opens no other ``ReceiverFailing``."""
    harness = EngineHarness(alerts(receivers=TWO_HOOKS, repeat_interval=60))
    harness.step(StateReceiverReported("hook", Refused("HTTP 404")))
    harness.deliver("other")
    for _ in range(10):
        advance(harness, 65)
        refuse_all(harness)
    assert ["hook"] == [incident.subject for incident in harness.open_incidents]
    harness.step(StateReceiverReported("hook", Accepted()))
    refuse_all(harness)
    assert [] == harness.open_incidents


def test_two_refusing_receivers_open_one_incident_each() -> None:
    """The number of groups stays at three, and both incidents resolve when the receivers accept notifications."""
    harness = EngineHarness(alerts(receivers=TWO_HOOKS, repeat_interval=60))
    harness.observe(bad, bad, bad)
    for _ in range(10):
        refuse_all(harness)
        advance(harness, 65)
    assert ["Errors", "ReceiverFailing", "ReceiverFailing"] == firing_rules(harness)
    assert 3 == len({notification.group for notification in harness.state.notifications.values()})
    harness.deliver_all("hook", "other")
    assert ["Errors"] == firing_rules(harness)


# ---- overrides, disabling and routing


def test_a_built_in_rule_is_routed_by_its_labels() -> None:
    """A built-in rule has ``severity: page`` unless an override sets another label."""
    routes = [{"match": ['severity="page"'], "receivers": ["other"]}, {"receivers": ["hook"]}]
    harness = EngineHarness(alerts(receivers=TWO_HOOKS, routes=routes))
    harness.step(StoreFailed("disk full"))
    assert ["other"] == [notification.receiver for notification in harness.state.notifications.values()]
    ticket = {"StoreFailing": {"labels": {"severity": "ticket"}, "annotations": {"runbook_url": "https://r/"}}}
    harness = EngineHarness(alerts(rules=ticket, receivers=TWO_HOOKS, routes=routes))
    harness.step(StoreFailed("disk full"))
    (notification,) = harness.state.notifications.values()
    assert ("hook", "https://r/") == (notification.receiver, notification.members[0].annotations["runbook_url"])
    assert "summary" in notification.members[0].annotations


@pytest.mark.parametrize(
    "rule", ["CanaryEgressDown", "TargetRejected", "BudgetExhausted", "NoData", "ReceiverFailing", "StoreFailing"]
)
def test_each_built_in_rule_can_be_disabled(rule: str) -> None:
    """A disabled rule does not fire, and its open incident resolves at the next start."""

    def fail_everything(harness: EngineHarness) -> None:
        harness.step(Started())
        for _ in range(2):
            finish_run(harness, neutral(), canary="c")
        harness.now += 5
        for name in ("a", "b", "a", "b"):
            finish_run(harness, a_run(0, OutcomeKind.FAILED, a_fault(FaultKind.CONNECT_FAILED)), canary=name)
        finish_run(harness, a_run(0, OutcomeKind.SKIPPED), reason="budget", budget=BudgetState.EXHAUSTED, canary="d")
        harness.step(StateReceiverReported("hook", Refused("HTTP 404")))
        harness.step(StoreFailed("disk full"))
        advance(harness, 300)

    fleet = [
        Canary(name=name, target=name, provider=name, interval=30.0, host=name, timeout=10.0)
        for name in ("a", "b", "c", "d")
    ]
    on = {"NoData": {}, "TargetRejected": {}}
    harness = EngineHarness(alerts(rules=on, receivers=TWO_HOOKS), *fleet)
    fail_everything(harness)
    assert rule in firing_rules(harness)
    harness.configure(alerts(rules={**on, rule: {"enabled": False}}, receivers=TWO_HOOKS), *fleet)
    harness.crash()
    harness.step(Started())
    assert rule not in firing_rules(harness)
    harness = EngineHarness(alerts(rules={**on, rule: {"enabled": False}}, receivers=TWO_HOOKS), *fleet)
    fail_everything(harness)
    assert rule not in firing_rules(harness)
    assert 5 == len(set(firing_rules(harness)))


def test_match_and_detector_can_be_overridden_for_canary_rules_only() -> None:
    """``NoData`` accepts ``match`` and ``detector``; a rule about the daemon rejects them."""
    rules = {"NoData": {"match": ['tier="prod"'], "detector": {"type": "no_data", "runs": 1}}}
    harness = EngineHarness(alerts(rules=rules), CHAT, Canary(name="lab", target="t", provider="p", interval=30.0))
    harness.step(Started())
    advance(harness, 30 + 65)
    assert ["chat"] == [incident.canary for incident in harness.open_incidents]
    with pytest.raises(ValidationError, match="has no effect on the built-in StoreFailing"):
        alerts(rules={"StoreFailing": {"match": ['tier="prod"']}})
