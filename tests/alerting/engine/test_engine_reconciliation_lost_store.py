"""Test reconciliation after a lost store: receivers that may have been notified of firing get a resolve."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.grouping.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import RunFinished, SilenceCreated, Started, StoreFailed, Tick
from streamcanary.alerting.engine.recovery.reconciliation import RECONCILED_REASON
from streamcanary.alerting.engine.state import TABLES, State
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import BudgetState, OutcomeKind
from support.alerting.builders import (
    CHAT,
    NOON,
    THREE_FAILURES_RULE,
    EngineHarness,
    a_run,
    alerts,
    bad,
    good,
    neutral,
    pagerduty_config,
    skipped,
    webhook_config,
)

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}


def start_with_lost_store(harness: EngineHarness) -> EngineHarness:
    """Start with an empty store."""
    harness.state = State()
    harness.stored_rows = {table: {} for table in TABLES}
    harness.step(Started())
    return harness


def reconciling_harness(**sections: Any) -> EngineHarness:
    """Create an engine with a PagerDuty receiver ``hook``."""
    return EngineHarness(alerts(**{"receivers": {"hook": pagerduty_config()}, **sections}))


def observe_canary(harness: EngineHarness, name: str, *runs: Any) -> None:
    """Process runs of the canary ``name``, each followed by a tick."""
    for run in runs:
        harness.run_count += 1
        harness.now = NOON + 30 * harness.run_count + 2
        harness.step(RunFinished(msgspec.structs.replace(run(harness.run_count), canary=name)))
        harness.step(Tick())


def tick(harness: EngineHarness) -> None:
    """Advance the clock by 5 s and tick."""
    harness.now += 5
    harness.step(Tick())


def test_forgotten_trigger_is_resolved_once_when_its_rule_would_have_resolved_it() -> None:
    """A trigger that is missing from the store is resolved once, under its own key, after three good samples."""
    harness = reconciling_harness()
    harness.observe(bad, bad, bad)
    trigger = harness.deliver()
    start_with_lost_store(harness)
    tick(harness)
    assert [] == harness.deliver_all()
    harness.observe(good, good, bad, good, good)
    tick(harness)
    assert [] == harness.deliver_all()
    harness.observe(good)
    tick(harness)
    resolve = harness.deliver()
    assert trigger is not None
    assert resolve is not None
    assert (trigger.group, "resolve", RECONCILED_REASON) == (
        resolve.group,
        resolve.action,
        resolve.members[0].resolve_reason,
    )
    harness.observe(good, good)
    tick(harness)
    harness.crash()
    harness.step(Started())
    assert [] == harness.deliver_all()


def test_what_an_answer_does_not_show_keeps_no_group_open() -> None:
    """A canary over plain HTTP has no certificate: the rules about it do not hold back the resolve of its group."""
    rules = {"Errors": THREE_FAILURES_RULE, "CertificateExpiring": {"enabled": True}}
    harness = start_with_lost_store(reconciling_harness(rules=rules, group_by=["canary"]))
    harness.observe(bad, bad, bad)
    assert "trigger" == getattr(harness.deliver(), "action", None)
    harness.observe(good, good, good, good, good)
    tick(harness)
    assert "resolve" == getattr(harness.deliver(), "action", None)


@pytest.mark.parametrize("run", [bad, neutral, skipped, lambda number: a_run(number, OutcomeKind.INTERNAL_ERROR)])
def test_only_a_good_sample_reconciles(run: Any) -> None:
    """Runs that are not good samples do not reconcile an alert."""
    rule = {**THREE_FAILURES_RULE, "detector": {"type": "consecutive", "failures": 9, "resolve_after": 2}}
    harness = start_with_lost_store(reconciling_harness(rules={"Errors": rule}))
    harness.observe(run, run)
    tick(harness)
    assert [] == harness.deliver_all()


def test_group_is_reconciled_when_all_members_have_recovered() -> None:
    """A group is reconciled after every member would have resolved; one of two is not enough."""
    fleet = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    harness = EngineHarness(reconciling_harness(group_by=["alert"]).config, *fleet)
    start_with_lost_store(harness)
    observe_canary(harness, "a", good, good, good)
    assert [] == harness.deliver_all()
    observe_canary(harness, "b", good, good, good)
    notification = harness.deliver()
    assert notification is not None
    assert ("resolve", ["a", "b"]) == (notification.action, [one.canary for one in notification.members])


def test_alert_that_still_fires_triggers_again_and_resolves_once() -> None:
    """An alert that still fires triggers again and is resolved once, without a second resolve by reconciliation."""
    harness = reconciling_harness()
    harness.observe(bad, bad, bad)
    harness.deliver_all()
    start_with_lost_store(harness)
    harness.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == harness.deliver_all()
    harness.observe(good, good, good)
    tick(harness)
    assert [("resolve", "Errors")] == harness.deliver_all()


def test_pending_reconciliation_survives_a_restart() -> None:
    """A reconciliation that waits for good samples is stored and continues after a restart."""
    harness = start_with_lost_store(reconciling_harness())
    harness.observe(good, good)
    harness.crash()
    harness.step(Started())
    harness.observe(good)
    tick(harness)
    assert [("resolve", "Errors")] == harness.deliver_all()


def test_pending_reconciliation_of_an_earlier_version_continues() -> None:
    """A reconciling group as an earlier version stored it, with its receivers in ``receivers``, is resolved as well."""
    harness = start_with_lost_store(reconciling_harness())
    ((key, group),) = harness.state.groups.items()
    former = msgspec.structs.replace(group, receivers=group.possibly_notified, possibly_notified=())
    harness.stored_rows["groups"][key] = msgspec.json.encode(former)
    harness.stored_rows["detectors"].clear()
    harness.crash()
    harness.step(Started())
    harness.observe(good, good)
    tick(harness)
    assert [] == harness.deliver_all()
    harness.observe(good)
    tick(harness)
    assert [("resolve", "Errors")] == harness.deliver_all()


def test_alert_of_a_removed_rule_is_reconciled_at_the_start() -> None:
    """An alert of a removed rule is reconciled at the start, because it will never have another sample."""
    harness = start_with_lost_store(
        reconciling_harness(rules={"Errors": THREE_FAILURES_RULE, "Others": THREE_FAILURES_RULE})
    )
    harness.configure(reconciling_harness().config)
    harness.crash()
    harness.step(Started())
    assert [("resolve", "Others")] == harness.deliver_all()


def test_state_receiver_needs_no_reconciliation() -> None:
    """A state receiver gets no resolve, because alerts that are no longer sent expire there."""
    harness = start_with_lost_store(EngineHarness(alerts(receivers={"prom": PROM})))
    assert {} == harness.state.groups
    harness.observe(good)
    tick(harness)
    assert {} == harness.state.notifications


def test_no_data_is_reconciled_after_an_observed_run() -> None:
    """``NoData`` is reconciled after an observed run; a run skipped for its budget does not count."""
    harness = reconciling_harness(rules={"NoData": {}})
    start_with_lost_store(harness)
    harness.observe(lambda number: a_run(number, OutcomeKind.SKIPPED, reason="budget", budget=BudgetState.EXHAUSTED))
    tick(harness)
    assert [("trigger", "BudgetExhausted")] == harness.deliver_all()
    harness.observe(neutral)
    tick(harness)
    assert [("resolve", "BudgetExhausted"), ("resolve", "NoData")] == harness.deliver_all()
    assert {} == harness.state.detectors


def test_store_with_any_row_is_not_a_lost_store() -> None:
    """A store that contains any row starts no reconciliation."""
    harness = reconciling_harness()
    harness.step(SilenceCreated(Silence(id="s", match=('canary="x"',), starts=NOON, until=NOON + 60)))
    harness.step(Started())
    assert {} == harness.state.groups


def test_removed_and_added_receivers_get_no_reconciliation() -> None:
    """Receivers that were removed or added since the start get no resolve."""
    harness = start_with_lost_store(
        EngineHarness(alerts(receivers={"hook": pagerduty_config(), "other": pagerduty_config()}))
    )
    harness.configure(alerts(receivers={"hook": pagerduty_config(), "third": pagerduty_config()}), CHAT)
    harness.crash()
    harness.step(Started())
    harness.observe(good, good, good)
    tick(harness)
    assert ["hook"] == [notification.receiver for notification in harness.state.notifications.values()]


def test_pending_reconciliation_expires_after_a_week() -> None:
    """A reconciliation without a sample is dropped after a week."""
    harness = start_with_lost_store(reconciling_harness())
    harness.now += 8 * 86400
    harness.advance_one_minute()
    assert {} == harness.state.groups


def test_alert_that_resolves_before_its_trigger_is_sent_is_still_reconciled() -> None:
    """An alert that resolves within ``group_wait`` is reconciled, as receivers may know an earlier incident."""
    harness = start_with_lost_store(reconciling_harness(group_wait=60))
    harness.observe(bad, bad, bad)
    harness.observe(good, good, good)
    tick(harness)
    resolve = harness.deliver()
    assert resolve is not None
    assert ("resolve", RECONCILED_REASON) == (resolve.action, resolve.members[0].resolve_reason)
    tick(harness)
    assert [] == harness.deliver_all()


def test_only_receivers_without_the_new_trigger_get_the_reconciling_resolve() -> None:
    """Receivers that accepted the new trigger get its own resolve; the others get the reconciling resolve."""
    harness = start_with_lost_store(
        EngineHarness(alerts(receivers={"hook": pagerduty_config(), "other": pagerduty_config()}))
    )
    harness.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == harness.deliver_all("hook")
    harness.observe(good, good, good)
    tick(harness)
    assert [("resolve", "Errors")] == harness.deliver_all("hook")
    resolve = harness.deliver("other")
    assert resolve is not None
    assert ("resolve", RECONCILED_REASON) == (resolve.action, resolve.members[0].resolve_reason)
    assert [] == harness.deliver_all("hook", "other")


def test_stored_resolve_is_dropped_if_memory_has_a_newer_incident() -> None:
    """A resolve from a store that is read late is not sent while a newer incident of the same key fires."""
    harness = EngineHarness(alerts(rules={"Errors": THREE_FAILURES_RULE, "StoreFailing": {"enabled": False}}))
    harness.observe(bad, bad, bad)
    harness.deliver()
    harness.observe(good, good, good)
    stored, harness.state = harness.state, State()
    harness.stored_rows = {table: {} for table in TABLES}
    harness.step(StoreFailed("cannot be read"))
    harness.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == harness.deliver_all()
    harness.state = harness.state.merge(stored)
    harness.step(Started())
    assert ([], ["Errors"]) == (harness.deliver_all(), [incident.rule for incident in harness.open_incidents])


def test_webhook_can_enable_reconciliation() -> None:
    """A webhook gets the reconciling resolve only with ``recall: true``, and the resolve of each accepted trigger."""
    with_reconciliation = webhook_config(recall=True)  # codespell:ignore recall
    receivers = {"hook": webhook_config(), "other": with_reconciliation}
    harness = start_with_lost_store(EngineHarness(alerts(receivers=receivers)))
    harness.observe(good, good, good)
    tick(harness)
    assert ([], [("resolve", "Errors")]) == (harness.deliver_all("hook"), harness.deliver_all("other"))
    harness.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == harness.deliver_all("hook")
    harness.observe(good, good, good)
    assert [("resolve", "Errors")] == harness.deliver_all("hook")


def test_former_receiver_gets_a_resolve_when_the_route_changes_after_the_store_loss() -> None:
    """A former receiver gets the reconciling resolve if the next incident is routed to another receiver."""
    receivers = {"hook": pagerduty_config(), "other": pagerduty_config()}
    harness = start_with_lost_store(EngineHarness(alerts(receivers=receivers)))
    harness.configure(alerts(receivers=receivers, routes=[{"receivers": ["other"]}]))
    harness.crash()
    harness.step(Started())
    harness.observe(bad, bad, bad)
    assert ([], [("trigger", "Errors")]) == (harness.deliver_all("hook"), harness.deliver_all("other"))
    harness.observe(good, good, good)
    tick(harness)
    assert [("resolve", "Errors")] * 2 == harness.deliver_all("hook", "other")


def test_receiver_notified_before_the_store_became_unreadable_gets_the_resolve() -> None:
    """A receiver notified before the store became unreadable gets the resolve, also if memory notified another."""
    receivers = {"hook": pagerduty_config(), "other": pagerduty_config()}
    harness = EngineHarness(alerts(receivers=receivers))
    harness.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == harness.deliver_all("hook")
    stored, harness.state = harness.state, State()
    harness.stored_rows = {table: {} for table in TABLES}
    harness.configure(alerts(receivers=receivers, routes=[{"receivers": ["other"]}]))
    harness.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == harness.deliver_all("other")
    harness.state = harness.state.merge(stored)
    harness.step(Started())
    harness.observe(good, good, good)
    tick(harness)
    assert [("resolve", "Errors")] * 2 == harness.deliver_all("hook", "other")


def test_resolve_that_is_still_owed_survives_a_second_start_without_the_store() -> None:
    """A receiver that was marked as possibly notified is still sent the resolve if the store fails once more."""
    receivers = {"hook": pagerduty_config(), "other": pagerduty_config()}
    harness = start_with_lost_store(EngineHarness(alerts(receivers=receivers)))
    harness.configure(alerts(receivers=receivers, routes=[{"receivers": ["other"]}]))
    harness.crash()
    harness.step(Started())
    stored, harness.state = harness.state, State()
    harness.stored_rows = {table: {} for table in TABLES}
    harness.step(StoreFailed("cannot be read"))
    harness.observe(bad, bad, bad)
    assert ([], ["trigger"]) == (
        harness.deliver_all("hook"),
        [action for action, rule in harness.deliver_all("other") if rule == "Errors"],
    )
    harness.state = harness.state.merge(stored)
    harness.step(Started())
    harness.observe(good, good, good)
    tick(harness)
    assert ("resolve", "Errors") in harness.deliver_all("hook")


def test_state_receiver_is_not_sent_a_silenced_alert_that_was_assumed_to_fire() -> None:
    """A silenced alert that may have fired before a data loss does not reach a state receiver through its group."""
    receivers = {"hook": pagerduty_config(), "prom": PROM}
    two = (CHAT, msgspec.structs.replace(CHAT, name="other"))
    config = alerts(receivers=receivers, group_by=["alert"], group_wait=60)
    harness = start_with_lost_store(EngineHarness(config, *two))
    observe_canary(harness, "chat", bad, bad, bad)
    assert ["chat"] == [incident.subject for incident in active_alerts(harness.state, "prom", harness.now)]
    silence = Silence(id="s", match=('alert="Errors"',), starts=harness.now, until=NOON + 3600)
    harness.step(SilenceCreated(silence))
    tick(harness)
    observe_canary(harness, "other", bad, bad, bad)
    assert [] == [
        incident.subject
        for incident in active_alerts(harness.state, "prom", harness.now)
        if incident.subject == "other"
    ]
