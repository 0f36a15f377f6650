"""A daemon that is given another ``instance``: what the former one opened is brought to its end."""

from typing import Any

from streamcanary.alerting.engine.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import Started, StateReceiverReported, StoreFailed, StoreRecovered
from streamcanary.alerting.notify.receivers.delivery_result import Refused
from support.alerting.builders import EngineHarness, alerts, bad, good, webhook_config

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
RENAMED = "the instance is now called elsewhere"


def fired(**sections: Any) -> EngineHarness:
    """Build a world in which ``chat`` has failed three times."""
    world = EngineHarness(alerts(**sections))
    world.observe(bad, bad, bad)
    return world


def rename(world: EngineHarness, **sections: Any) -> None:
    """Restart as another instance, with nothing else changed."""
    world.configure(alerts(**sections), instance="elsewhere")
    world.crash()
    world.step(Started())


def test_what_another_instance_told_is_called_off() -> None:
    """Its receivers hear under the old key that it is over, and nothing of it fires any longer."""
    world = fired()
    opened = world.deliver()
    rename(world)
    ended = world.deliver()
    assert opened is not None
    assert ended is not None
    assert (ended.action, ended.group, ended.opened) == ("resolve", opened.group, opened.opened)
    assert ended.members[0].resolve_reason == RENAMED
    assert ([], []) == (world.open_incidents, [group for group in world.state.groups.values() if group.is_firing])


def test_what_still_fails_is_told_under_the_new_name() -> None:
    """The two have different keys and labels."""
    world = fired()
    world.deliver_all()
    rename(world)
    world.observe(bad, bad, bad)
    assert [("trigger", "Errors"), ("resolve", "Errors")] == world.deliver_all()  # what fires goes first
    assert ["elsewhere"] == [incident.labels["instance"] for incident in world.open_incidents]
    world.observe(good, good, good)
    assert [("resolve", "Errors")] == world.deliver_all()


def test_what_another_instance_never_told_is_not_told() -> None:
    """Neither that it fires nor that it is over."""
    world = fired()
    rename(world)
    assert ([], {}) == (world.deliver_all(), world.state.notifications)


def test_a_level_receiver_hears_the_end_under_the_old_labels() -> None:
    """Or Alertmanager would show it until it ends by itself."""
    world = fired(receivers={"prom": PROM})
    rename(world, receivers={"prom": PROM})
    (ended,) = active_alerts(world.state, "prom", world.now)
    assert ("default", world.now, RENAMED) == (ended.labels["instance"], ended.resolved, ended.resolve_reason)


def test_the_built_in_alerts_of_another_instance_are_called_off() -> None:
    """Nothing would ever resolve them: a receiver that accepts is well under its new key only."""
    hooks = {"hook": webhook_config(), "prom": PROM}
    world = EngineHarness(alerts(receivers=hooks))
    world.step(StateReceiverReported("prom", Refused("HTTP 400: bad label")))
    world.step(StoreFailed("disk full"))
    assert [("trigger", "ReceiverFailing"), ("trigger", "StoreFailing")] == world.deliver_all()
    rename(world, receivers=hooks)
    assert [("resolve", "ReceiverFailing"), ("resolve", "StoreFailing")] == world.deliver_all()
    assert {RENAMED} == {incident.resolve_reason for incident in world.state.incidents.values()}


def test_the_built_in_alerts_of_this_instance_stay() -> None:
    """A restart mends neither a receiver nor a store."""
    hooks = {"hook": webhook_config(), "prom": PROM}
    world = EngineHarness(alerts(receivers=hooks))
    world.step(StateReceiverReported("prom", Refused("HTTP 400: bad label")))
    world.step(StoreFailed("disk full"))
    world.deliver_all()
    world.crash()
    world.step(Started())
    assert (2, []) == (len(world.open_incidents), world.deliver_all())
    world.step(StoreRecovered())
    assert [("resolve", "StoreFailing")] == world.deliver_all()


def test_nothing_of_another_instance_is_kept_for_ever() -> None:
    """A week after its end its rows are gone."""
    world = fired()
    world.deliver_all()
    rename(world)
    world.deliver_all()
    world.now += 8 * 86400
    world.advance_one_minute()
    world.stored_rows["reachability"].clear()
    assert {table: {} for table in world.stored_rows} == world.stored_rows
