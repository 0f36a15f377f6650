"""Test starts with rows that cannot be read: nobody misses a resolve, and nothing resolves without good runs."""

from collections.abc import Callable
from typing import Any

import pytest

from streamcanary.alerting.engine.inputs import SilenceCreated, Started, Tick
from streamcanary.alerting.engine.keys import notification_id
from streamcanary.alerting.engine.recovery.reconciliation import RECONCILED_REASON
from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.alerting.notify.delivery.result import Retry
from streamcanary.model.alerts.incident import Action
from streamcanary.model.alerts.silence import Silence
from support.alerting.builders import EngineHarness, alerts, bad, good, pagerduty_config, webhook_config

RECEIVERS = {"hook": webhook_config(), "oncall": pagerduty_config()}


def harness_with(**sections: Any) -> EngineHarness:
    """Create an engine with a webhook ``hook`` and PagerDuty ``oncall``, after its first start."""
    harness = EngineHarness(alerts(receivers=RECEIVERS, **sections))
    harness.step(Started())
    harness.observe(good, good, good)
    tick(harness)
    harness.deliver_all("oncall")
    return harness


def tick(harness: EngineHarness) -> None:
    """Advance the clock by 5 s and tick."""
    harness.now += 5
    harness.step(Tick())


def restart_without(harness: EngineHarness, table: Any, *keys: str) -> None:
    """Restart with rows of ``table`` that cannot be read: those of ``keys``, or all."""
    for key in keys or tuple(harness.stored_rows[table]):
        harness.stored_rows[table][key] = b"\xff"
    harness.state, unreadable = read_state(harness.stored_rows)
    assert unreadable
    harness.now += 5
    harness.step(Started(unreadable_rows=tuple((row.table, row.key) for row in unreadable)))
    tick(harness)


def deliver(harness: EngineHarness) -> dict[str, list[str]]:
    """Deliver everything that is due, and return the actions by receiver."""
    return {name: [action for action, _ in harness.deliver_all(name)] for name in RECEIVERS}


NOTHING: dict[str, list[str]] = {"hook": [], "oncall": []}
RESOLVED = {"hook": ["resolve"], "oncall": ["resolve"]}


def test_a_lost_trigger_is_sent_again_with_its_id_and_resolved() -> None:
    """A trigger that cannot be read counts as not sent: with the same id, receivers recognise the repetition."""
    harness = harness_with()
    harness.observe(bad, bad, bad)
    first = harness.deliver("hook")
    harness.deliver_all("oncall")
    restart_without(harness, "notifications")
    second = harness.deliver("hook")
    assert first is not None
    assert second is not None
    assert (first.id, "trigger") == (second.id, second.action)
    harness.deliver_all("oncall")
    harness.observe(good, good, good)
    assert RESOLVED == deliver(harness)


def test_a_lost_trigger_of_a_silenced_alert_is_resolved() -> None:
    """A receiver that may have got a trigger which cannot be read gets the resolve, although it is not sent again."""
    harness = harness_with()
    harness.observe(bad, bad, bad)
    deliver(harness)
    silence = Silence(id="s", match=('alert="Errors"',), starts=harness.now, until=harness.now + 9999)
    harness.step(SilenceCreated(silence))
    restart_without(harness, "notifications")
    assert NOTHING == deliver(harness)
    harness.observe(good, good, good)
    tick(harness)
    assert RESOLVED == deliver(harness)
    tick(harness)
    assert NOTHING == deliver(harness)


def test_a_lost_resolve_is_sent_again_with_its_id() -> None:
    """A resolve that cannot be read is sent at the next start, to the receivers that had not accepted it."""
    harness = harness_with()
    harness.observe(bad, bad, bad)
    deliver(harness)
    harness.observe(good, good, good)
    lost = harness.deliver("hook", answer=Retry(reason="HTTP 503"))
    harness.deliver_all("oncall")
    assert lost is not None
    restart_without(harness, "notifications", lost.id)
    again = harness.deliver("hook")
    assert again is not None
    assert (lost.id, "resolve") == (again.id, again.action)
    assert NOTHING == deliver(harness)


def test_a_lost_group_of_a_firing_alert_keeps_its_notifications() -> None:
    """A group that cannot be read is opened again with the same time, so that no second trigger is sent."""
    harness = harness_with()
    harness.observe(bad, bad, bad)
    deliver(harness)
    restart_without(harness, "groups")
    assert "trigger" not in {action for sent in deliver(harness).values() for action in sent}
    harness.observe(good, good, good)
    assert RESOLVED == deliver(harness)


def test_a_lost_group_of_a_reconciliation_is_reconciled() -> None:
    """A group whose alert may have fired before an earlier data loss is resolved at PagerDuty, when its rule would."""
    harness = EngineHarness(alerts(receivers=RECEIVERS))
    harness.step(Started())
    restart_without(harness, "groups")
    harness.observe(good, good)
    tick(harness)
    assert NOTHING == deliver(harness)
    harness.observe(good)
    tick(harness)
    resolve = harness.deliver("oncall")
    assert resolve is not None
    assert ("resolve", RECONCILED_REASON) == (resolve.action, resolve.members[0].resolve_reason)
    assert NOTHING == deliver(harness)


@pytest.mark.parametrize("runs", [(), (good, good)], ids=["no runs", "two runs"])
def test_a_lost_detector_state_starts_an_assumption_again(runs: tuple[Callable[..., Any], ...]) -> None:
    """A reconciliation whose detector state cannot be read waits for all good runs again."""
    harness = EngineHarness(alerts(receivers=RECEIVERS))
    harness.step(Started())
    harness.observe(*runs)
    restart_without(harness, "detectors")
    harness.observe(good, good)
    tick(harness)
    assert NOTHING == deliver(harness)
    harness.observe(good)
    tick(harness)
    assert {"hook": [], "oncall": ["resolve"]} == deliver(harness)


def test_a_lost_detector_state_resolves_nothing() -> None:
    """An open incident whose detector state cannot be read resolves when its rule resolves it."""
    harness = harness_with()
    harness.observe(bad, bad, bad)
    deliver(harness)
    restart_without(harness, "detectors")
    harness.observe(good, good)
    assert NOTHING == deliver(harness)
    harness.observe(good)
    assert RESOLVED == deliver(harness)


@pytest.mark.parametrize("table", ["silences", "reachability"])
def test_other_lost_rows_send_nothing(table: str) -> None:
    """A silence or a reachability that cannot be read changes no alert that is well."""
    harness = harness_with()
    harness.step(SilenceCreated(Silence(id="s", match=('alert="x"',), starts=harness.now, until=harness.now + 9999)))
    restart_without(harness, table)
    harness.observe(good)
    tick(harness)
    assert NOTHING == deliver(harness)


def test_rows_that_belong_to_no_group_are_ignored() -> None:
    """An unreadable notification of a group that is gone is dropped."""
    harness = harness_with()
    harness.stored_rows["notifications"][notification_id("hook", "gone", 1.0, Action.TRIGGER)] = b""
    restart_without(harness, "notifications")
    harness.observe(good)
    assert NOTHING == deliver(harness)
