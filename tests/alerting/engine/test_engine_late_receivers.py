"""Test receivers that are notified of a group late: after a route change, a label change or a silence."""

from typing import Any

import msgspec

from streamcanary.alerting.engine.inputs import SilenceCreated, SilenceDeleted, Started, Tick
from streamcanary.alerting.notify.delivery.result import Refused, Retry
from streamcanary.model.alerts.silence import Silence
from support.alerting.builders import CHAT, NOON, THREE_FAILURES_RULE, EngineHarness, alerts, bad, good, webhook_config
from support.alerting.groups import advance, make_canaries, run_canaries

TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}
TO_ONE, TO_OTHER = [{"receivers": ["hook"]}], [{"receivers": ["other"]}]
TO_BOTH = [{"receivers": ["hook", "other"]}]
BUSY = Retry(reason="HTTP 429", is_definitely_undelivered=True)


def firing_harness(**sections: Any) -> EngineHarness:
    """Build a harness in which ``chat`` failed three times."""
    harness = EngineHarness(alerts(receivers=TWO_HOOKS, **sections))
    harness.observe(bad, bad, bad)
    return harness


def silence(harness: EngineHarness) -> None:
    """Mute everything for an hour."""
    harness.step(SilenceCreated(Silence(id="s", match=('canary=~".*"',), starts=NOON, until=harness.now + 3600)))


def restart(harness: EngineHarness, *canaries: Any, **sections: Any) -> None:
    """Restart with another configuration."""
    harness.configure(alerts(receivers=TWO_HOOKS, **sections), *canaries)
    harness.crash()
    harness.step(Started())


def test_receiver_added_in_a_silence_is_notified_when_it_ends() -> None:
    """A receiver that a route adds during a silence is notified when the silence ends, not at the next repeat."""
    harness = firing_harness(routes=TO_ONE)
    assert [("trigger", "Errors")] == harness.deliver_all("hook")
    silence(harness)
    restart(harness, routes=TO_BOTH)
    advance(harness, 60)
    assert [] == harness.deliver_all("hook", "other")
    harness.step(SilenceDeleted("s"))
    assert [("trigger", "Errors")] == harness.deliver_all("hook", "other")
    harness.observe(good, good, good)
    assert [("resolve", "Errors")] * 2 == harness.deliver_all("hook", "other")


def test_refused_trigger_is_not_retried_in_a_silence() -> None:
    """A start during a silence does not retry a refused trigger."""
    harness = firing_harness(routes=TO_ONE)
    harness.deliver("hook", Refused("HTTP 403"))
    silence(harness)
    restart(harness, routes=TO_ONE)
    advance(harness, 60)
    assert [] == harness.deliver_all("hook")


def test_undelivered_trigger_is_held_back_in_a_silence() -> None:
    """A trigger that was definitely not delivered is held back in a silence and sent when it ends."""
    harness = firing_harness(routes=TO_BOTH)
    harness.deliver("hook", BUSY)
    assert [("trigger", "Errors")] == harness.deliver_all("other")
    silence(harness)
    advance(harness, 60)
    assert [] == harness.deliver_all("hook", "other")
    harness.step(SilenceDeleted("s"))
    assert [("trigger", "Errors")] == harness.deliver_all("hook", "other")


def test_receiver_without_the_trigger_gets_no_update_in_a_silence() -> None:
    """A receiver that refused the trigger gets no update when a member recovers during a silence."""
    one_failure = {"Errors": {"detector": {"type": "consecutive", "failures": 1}}}
    harness = EngineHarness(alerts(rules=one_failure, group_by=["alert"], receivers=TWO_HOOKS), *make_canaries(2))
    run_canaries(harness, "c0", "c1")
    advance(harness, 300)
    harness.deliver("hook", Refused("HTTP 403"))
    silence(harness)
    run_canaries(harness, "c0", run=good)
    advance(harness, 300)
    assert [] == harness.deliver_all("hook")


def test_receiver_without_the_trigger_gets_nothing_if_the_alert_resolves_in_a_silence() -> None:
    """A receiver without the trigger gets neither trigger nor resolve if the alert resolves during the silence."""
    harness = firing_harness(routes=TO_BOTH)
    harness.deliver("hook", BUSY)
    harness.deliver_all("other")
    silence(harness)
    advance(harness, 60)
    harness.observe(good, good, good)
    advance(harness, 60)
    assert ([], [("resolve", "Errors")]) == (harness.deliver_all("hook"), harness.deliver_all("other"))


def test_route_change_during_group_wait_notifies_only_the_new_receiver() -> None:
    """A route change during ``group_wait`` notifies only the new receiver."""
    harness = firing_harness(routes=TO_ONE, group_wait="1m")
    restart(harness, routes=TO_OTHER, group_wait="1m")
    advance(harness, 60)
    assert ([], [("trigger", "Errors")]) == (harness.deliver_all("hook"), harness.deliver_all("other"))


def test_former_receiver_gets_the_resolve_but_no_repeat() -> None:
    """A receiver that is no longer routed to gets changes and the resolve, but no repeat notification."""
    harness = firing_harness(routes=TO_ONE, repeat_interval="1h")
    harness.deliver_all("hook")
    restart(harness, routes=TO_OTHER, repeat_interval="1h")
    assert ([], [("trigger", "Errors")]) == (harness.deliver_all("hook"), harness.deliver_all("other"))
    advance(harness, 3600)
    assert ([], [("update", "Errors")]) == (harness.deliver_all("hook"), harness.deliver_all("other"))
    harness.observe(good, good, good)
    assert [("resolve", "Errors")] * 2 == harness.deliver_all("hook", "other")


def test_severity_change_of_a_firing_rule_notifies_the_new_route() -> None:
    """A firing alert with a new severity triggers at its new receiver; the former receiver gets the resolve."""
    routes = [{"match": ['severity="page"'], "receivers": ["other"]}, {"receivers": ["hook"]}]
    rules = [{"Errors": {**THREE_FAILURES_RULE, "labels": {"severity": severity}}} for severity in ("ticket", "page")]
    harness = firing_harness(routes=routes, rules=rules[0])
    assert [("trigger", "Errors")] == harness.deliver_all("hook", "other")
    restart(harness, routes=routes, rules=rules[1])
    trigger = harness.deliver("other")
    assert trigger is not None
    assert ("trigger", "page") == (trigger.action, trigger.members[0].labels["severity"])
    harness.observe(good, good, good)
    assert [("resolve", "Errors")] * 2 == harness.deliver_all("hook", "other")


def test_canary_renamed_while_firing_has_its_new_name_and_former_key() -> None:
    """A canary that is renamed while it fires resolves with its new name, under its former key."""
    harness = firing_harness()
    trigger = harness.deliver("hook")
    restart(harness, msgspec.structs.replace(CHAT, name="talk", renamed_from="chat"))
    harness.observe(*(lambda number: msgspec.structs.replace(good(number), canary="talk") for _ in range(3)))
    resolve = harness.deliver("hook")
    assert trigger is not None
    assert resolve is not None
    assert (trigger.group, "talk", "talk") == (
        resolve.group,
        resolve.members[0].subject,
        resolve.members[0].labels["canary"],
    )


def test_alerts_of_a_group_muted_by_a_silence_are_one_notification() -> None:
    """All alerts of a group that a silence muted are one trigger when it ends."""
    one_failure = {"Errors": {"detector": {"type": "consecutive", "failures": 1}}}
    harness = EngineHarness(alerts(rules=one_failure, group_by=["alert"], group_wait=10), *make_canaries(40))
    silence(harness)
    run_canaries(harness, *(f"c{number}" for number in range(40)))
    advance(harness, 3600)
    trigger = harness.deliver()
    assert trigger is not None
    assert (40, None) == (trigger.member_count, harness.deliver())


def test_group_that_fires_in_a_long_silence_is_kept() -> None:
    """A group that state receivers know is kept while it fires, even after a week of silence."""
    prom = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
    harness = EngineHarness(alerts(receivers={"prom": prom, "hook": webhook_config()}, group_wait=60))
    harness.observe(bad, bad, bad)
    harness.step(SilenceCreated(Silence(id="s", match=('canary=~".*"',), starts=NOON, until=NOON + 30 * 86400)))
    harness.step(Tick())
    group = next(iter(harness.state.groups.values()))
    harness.now += 8 * 86400
    harness.advance_one_minute()
    assert group.key in harness.state.groups
