"""Test that renamed canaries and rules keep their keys."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import ConfigReloaded, Started, Tick
from streamcanary.alerting.engine.step import Engine
from streamcanary.model.canary import Canary
from support.alerting.builders import CHAT, THREE_FAILURES_RULE, EngineHarness, alerts, bad, good, webhook_config

RENAMED = msgspec.structs.replace(CHAT, name="talk", renamed_from="chat")
NEW_RULE = {"Faults": {**THREE_FAILURES_RULE, "renamed_from": "Errors"}}


def notified_harness(**sections: Any) -> EngineHarness:
    """Build a harness in which ``chat`` failed three times and the trigger was delivered."""
    harness = EngineHarness(alerts(**sections))
    harness.observe(bad, bad, bad)
    harness.deliver_all()
    return harness


def restart(harness: EngineHarness, canary: Canary, **sections: Any) -> None:
    """Restart with another configuration."""
    harness.configure(alerts(**sections), canary)
    harness.crash()
    harness.step(Started())
    harness.now += 5
    harness.step(Tick())


def reload(harness: EngineHarness, canary: Canary, **sections: Any) -> None:
    """Reload another configuration."""
    harness.configure(alerts(**sections), canary)
    harness.step(ConfigReloaded(frozenset()))
    harness.now += 5
    harness.step(Tick())


def run_of(canary: Canary, run: Any) -> Any:
    """Return a function that builds a run of ``canary``."""
    return lambda number: msgspec.structs.replace(run(number), canary=canary.name)


@pytest.mark.parametrize(
    ("canary", "rules"), [(RENAMED, {"Errors": THREE_FAILURES_RULE}), (CHAT, NEW_RULE), (RENAMED, NEW_RULE)]
)
def test_alert_of_a_former_name_is_resolved_under_its_key(canary: Canary, rules: dict[str, Any]) -> None:
    """A rename sends nothing at the start, and the resolve has the key of the trigger."""
    harness = notified_harness()
    (trigger,) = harness.state.notifications.values()
    restart(harness, canary, rules=rules)
    assert [] == harness.deliver_all()
    harness.observe(*[run_of(canary, good)] * 3)
    resolve = harness.deliver()
    assert resolve is not None
    assert (trigger.group, "resolve", trigger.members[0].key) == (resolve.group, resolve.action, resolve.members[0].key)


@pytest.mark.parametrize("group_by", [["alert", "canary"], ["alert"], ["canary"], ["provider"], []])
def test_new_outage_has_the_former_key_and_the_new_name(group_by: list[str]) -> None:
    """A new outage has the former key and the new name, for any ``group_by``."""
    harness = notified_harness(group_by=group_by)
    (trigger,) = harness.state.notifications.values()
    restart(harness, RENAMED, rules=NEW_RULE, group_by=group_by)
    harness.observe(*[run_of(RENAMED, good)] * 3)
    harness.deliver_all()
    harness.observe(*[run_of(RENAMED, bad)] * 3)
    again = harness.deliver()
    assert again is not None
    assert (trigger.group, "trigger") == (again.group, again.action)
    (member,) = again.members
    assert (trigger.members[0].key, "Faults", "talk") == (member.key, member.rule, member.canary)


def test_consecutive_failures_continue_under_the_new_name() -> None:
    """Two failures before a rename and one after it are three consecutive failures."""
    harness = EngineHarness()
    harness.observe(bad, bad)
    restart(harness, RENAMED, rules=NEW_RULE)
    harness.observe(run_of(RENAMED, bad))
    assert ["Faults"] == [incident.rule for incident in harness.open_incidents]


def test_new_name_without_renamed_from_is_another_canary() -> None:
    """A new name without ``renamed_from`` is another canary, and the alert of the former one resolves."""
    harness = notified_harness()
    restart(harness, msgspec.structs.replace(CHAT, name="talk"))
    assert [("resolve", "Errors")] == harness.deliver_all()


def test_rename_can_be_reverted() -> None:
    """A canary or rule that gets its former name back keeps its key."""
    harness = notified_harness()
    restart(harness, RENAMED, rules=NEW_RULE)
    restart(harness, CHAT)
    assert [] == harness.deliver_all()
    harness.observe(good, good, good)
    assert [("resolve", "Errors")] == harness.deliver_all()


def test_canary_named_store_does_not_change_the_key_of_store_failing() -> None:
    """A canary called ``store`` does not change the key of ``StoreFailing``."""
    harness = EngineHarness(
        alerts(receivers={"hook": webhook_config()}), msgspec.structs.replace(CHAT, name="store", renamed_from="chat")
    )
    assert harness.engine.store_incident_key == EngineHarness().engine.store_incident_key


TALK = msgspec.structs.replace(CHAT, name="talk")
FAULTS = {"Faults": THREE_FAILURES_RULE}


@pytest.mark.parametrize("how", [restart, reload])
@pytest.mark.parametrize(
    ("canary", "rules", "later", "later_rules"),
    [
        (RENAMED, NEW_RULE, TALK, FAULTS),
        (RENAMED, {"Errors": THREE_FAILURES_RULE}, TALK, {"Errors": THREE_FAILURES_RULE}),
        (TALK, {"Errors": THREE_FAILURES_RULE}, RENAMED, {"Errors": THREE_FAILURES_RULE}),
        (
            CHAT,
            {"Errors": {**THREE_FAILURES_RULE, "per": "all"}},
            CHAT,
            {"Faults": NEW_RULE["Faults"] | {"per": "all"}},
        ),
        (
            CHAT,
            {"Faults": NEW_RULE["Faults"] | {"per": "provider"}},
            CHAT,
            {"Faults": THREE_FAILURES_RULE | {"per": "provider"}},
        ),
    ],
)
def test_an_open_alert_outlives_the_removal_of_renamed_from(
    how: Callable[..., None], canary: Canary, rules: dict[str, Any], later: Canary, later_rules: dict[str, Any]
) -> None:
    """It neither resolves nor is it notified again; its resolve has its key. The next alert has another."""
    harness = EngineHarness(alerts(rules=rules), canary)
    harness.observe(*[run_of(canary, bad)] * 3)
    trigger = harness.deliver()
    assert trigger is not None
    for _ in range(2):
        how(harness, later, rules=later_rules)
        assert ([], 1) == (harness.deliver_all(), len(harness.open_incidents))
    harness.observe(*[run_of(later, good)] * 3)
    harness.advance_one_minute()
    resolve = harness.deliver()
    assert resolve is not None
    assert (trigger.group, "resolve", trigger.members[0].key) == (resolve.group, resolve.action, resolve.members[0].key)
    how(harness, later, rules=later_rules)
    harness.observe(*[run_of(later, bad)] * 3)
    harness.deliver_all()
    [again] = harness.open_incidents
    expected = Engine(alerts(rules=later_rules), "default", [later])
    assert again.key in expected.bindings


def test_a_new_canary_of_the_former_name_has_that_key() -> None:
    """The key of an open alert belongs to the canary that has it in the new configuration."""
    harness = EngineHarness(alerts(), RENAMED)
    harness.observe(*[run_of(RENAMED, bad)] * 3)
    harness.deliver_all()
    harness.configure(alerts(), TALK, CHAT)
    harness.step(ConfigReloaded(frozenset()))
    assert ["chat"] == [incident.subject for incident in harness.open_incidents]
