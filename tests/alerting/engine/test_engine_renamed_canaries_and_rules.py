"""Canaries and rules that are given another name: what they told stays theirs."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import Started, Tick
from streamcanary.model.canary import Canary
from support.alerting.builders import CHAT, THREE_FAILURES_RULE, EngineHarness, alerts, bad, good, webhook_config

RENAMED = msgspec.structs.replace(CHAT, name="talk", renamed_from="chat")
NEW_RULE = {"Faults": {**THREE_FAILURES_RULE, "renamed_from": "Errors"}}


def fired(**sections: Any) -> EngineHarness:
    """Build a world in which ``chat`` has failed three times, and the page was delivered."""
    world = EngineHarness(alerts(**sections))
    world.observe(bad, bad, bad)
    world.deliver_all()
    return world


def restart(world: EngineHarness, canary: Canary, **sections: Any) -> None:
    """Start again with another configuration."""
    world.configure(alerts(**sections), canary)
    world.crash()
    world.step(Started())
    world.now += 5
    world.step(Tick())


def of(canary: Canary, run: Any) -> Any:
    """Return what makes a run of ``canary``."""
    return lambda number: msgspec.structs.replace(run(number), canary=canary.name)


@pytest.mark.parametrize(
    ("canary", "rules"), [(RENAMED, {"Errors": THREE_FAILURES_RULE}), (CHAT, NEW_RULE), (RENAMED, NEW_RULE)]
)
def test_what_was_told_under_a_former_name_is_ended_by_the_new(canary: Canary, rules: dict[str, Any]) -> None:
    """Nothing is said at the start, and the end is told under the key of the page."""
    world = fired()
    (page,) = world.state.notifications.values()
    restart(world, canary, rules=rules)
    assert [] == world.deliver_all()
    world.observe(*[of(canary, good)] * 3)
    ended = world.deliver()
    assert ended is not None
    assert (page.group, "resolve", page.members[0].key) == (ended.group, ended.action, ended.members[0].key)


@pytest.mark.parametrize("group_by", [["alert", "canary"], ["alert"], ["canary"], ["provider"], []])
def test_a_new_outage_has_the_former_key_and_the_new_name(group_by: list[str]) -> None:
    """Whatever alerts are grouped by."""
    world = fired(group_by=group_by)
    (page,) = world.state.notifications.values()
    restart(world, RENAMED, rules=NEW_RULE, group_by=group_by)
    world.observe(*[of(RENAMED, good)] * 3)
    world.deliver_all()
    world.observe(*[of(RENAMED, bad)] * 3)
    again = world.deliver()
    assert again is not None
    assert (page.group, "trigger") == (again.group, again.action)
    (member,) = again.members
    assert (page.members[0].key, "Faults", "talk") == (member.key, member.rule, member.canary)


def test_a_row_of_failures_goes_on_under_the_new_name() -> None:
    """Two before and one after are three."""
    world = EngineHarness()
    world.observe(bad, bad)
    restart(world, RENAMED, rules=NEW_RULE)
    world.observe(of(RENAMED, bad))
    assert ["Faults"] == [incident.rule for incident in world.open_incidents]


def test_without_a_word_about_it_a_new_name_is_another_canary() -> None:
    """What the former one told is over."""
    world = fired()
    restart(world, msgspec.structs.replace(CHAT, name="talk"))
    assert [("resolve", "Errors")] == world.deliver_all()


def test_a_name_can_be_given_back() -> None:
    """And the key is still the same."""
    world = fired()
    restart(world, RENAMED, rules=NEW_RULE)
    restart(world, CHAT)
    assert [] == world.deliver_all()
    world.observe(good, good, good)
    assert [("resolve", "Errors")] == world.deliver_all()


def test_a_canary_that_is_called_like_a_part_of_the_daemon_changes_no_key_of_that() -> None:
    """``StoreFailing`` is about the store, and not about a canary called store."""
    world = EngineHarness(
        alerts(receivers={"hook": webhook_config()}), msgspec.structs.replace(CHAT, name="store", renamed_from="chat")
    )
    assert world.engine.store_incident_key == EngineHarness().engine.store_incident_key
