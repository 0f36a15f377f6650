"""Who hears of a group later than others: through another route, another label, or after a silence."""

from typing import Any

import msgspec

from streamcanary.alerting.engine.inputs import SilenceCreated, SilenceDeleted, Started, Tick
from streamcanary.alerting.notify.receivers.delivery_result import Refused, Retry
from streamcanary.model.alerts.silence import Silence
from support.alerting.builders import CHAT, NOON, THREE_FAILURES_RULE, EngineHarness, alerts, bad, good, webhook_config
from support.alerting.groups import advance, make_canaries, run_canaries

TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}
TO_ONE, TO_OTHER = [{"receivers": ["hook"]}], [{"receivers": ["other"]}]
TO_BOTH = [{"receivers": ["hook", "other"]}]
BUSY = Retry(reason="HTTP 429", is_definitely_undelivered=True)


def fired(**sections: Any) -> EngineHarness:
    """Build a world in which ``chat`` has failed three times."""
    world = EngineHarness(alerts(receivers=TWO_HOOKS, **sections))
    world.observe(bad, bad, bad)
    return world


def silence(world: EngineHarness) -> None:
    """Mute everything for an hour."""
    world.step(SilenceCreated(Silence(id="s", match=('canary=~".*"',), starts=NOON, until=world.now + 3600)))


def restart(world: EngineHarness, *canaries: Any, **sections: Any) -> None:
    """Start again, with another configuration."""
    world.configure(alerts(receivers=TWO_HOOKS, **sections), *canaries)
    world.crash()
    world.step(Started())


def test_who_is_routed_to_in_a_silence_hears_when_it_ends() -> None:
    """Not before, and not only at the next repetition."""
    world = fired(routes=TO_ONE)
    assert [("trigger", "Errors")] == world.deliver_all("hook")
    silence(world)
    restart(world, routes=TO_BOTH)
    advance(world, 60)
    assert [] == world.deliver_all("hook", "other")
    world.step(SilenceDeleted("s"))
    assert [("trigger", "Errors")] == world.deliver_all("hook", "other")
    world.observe(good, good, good)
    assert [("resolve", "Errors")] * 2 == world.deliver_all("hook", "other")


def test_a_refused_page_is_not_tried_again_in_a_silence() -> None:
    """A start is no reason to wake anybody."""
    world = fired(routes=TO_ONE)
    world.deliver("hook", Refused("HTTP 403"))
    silence(world)
    restart(world, routes=TO_ONE)
    advance(world, 60)
    assert [] == world.deliver_all("hook")


def test_who_has_not_heard_of_it_before_a_silence_is_spared() -> None:
    """What certainly did not arrive is taken back, and told when the silence ends."""
    world = fired(routes=TO_BOTH)
    world.deliver("hook", BUSY)
    assert [("trigger", "Errors")] == world.deliver_all("other")
    silence(world)
    advance(world, 60)
    assert [] == world.deliver_all("hook", "other")
    world.step(SilenceDeleted("s"))
    assert [("trigger", "Errors")] == world.deliver_all("hook", "other")


def test_who_is_spared_is_not_told_of_changes_either() -> None:
    """One of two recovers in the silence: whoever knows of the page hears of it, and nobody else."""
    one_failure = {"Errors": {"detector": {"type": "consecutive", "failures": 1}}}
    world = EngineHarness(alerts(rules=one_failure, group_by=["alert"], receivers=TWO_HOOKS), *make_canaries(2))
    run_canaries(world, "c0", "c1")
    advance(world, 300)
    world.deliver("hook", Refused("HTTP 403"))
    silence(world)
    run_canaries(world, "c0", run=good)
    advance(world, 300)
    assert [] == world.deliver_all("hook")


def test_who_is_spared_hears_nothing_if_it_is_over_by_then() -> None:
    """Neither the page nor the end."""
    world = fired(routes=TO_BOTH)
    world.deliver("hook", BUSY)
    world.deliver_all("other")
    silence(world)
    advance(world, 60)
    world.observe(good, good, good)
    advance(world, 60)
    assert ([], [("resolve", "Errors")]) == (world.deliver_all("hook"), world.deliver_all("other"))


def test_a_route_that_changes_before_anything_is_said_pages_the_new_receiver_only() -> None:
    """The former knows of nothing."""
    world = fired(routes=TO_ONE, group_wait="1m")
    restart(world, routes=TO_OTHER, group_wait="1m")
    advance(world, 60)
    assert ([], [("trigger", "Errors")]) == (world.deliver_all("hook"), world.deliver_all("other"))


def test_who_is_no_longer_routed_to_hears_of_changes_and_not_that_there_are_none() -> None:
    """The end above all; a repetition is for those who are in charge now."""
    world = fired(routes=TO_ONE, repeat_interval="1h")
    world.deliver_all("hook")
    restart(world, routes=TO_OTHER, repeat_interval="1h")
    assert ([], [("trigger", "Errors")]) == (world.deliver_all("hook"), world.deliver_all("other"))
    advance(world, 3600)
    assert ([], [("update", "Errors")]) == (world.deliver_all("hook"), world.deliver_all("other"))
    world.observe(good, good, good)
    assert [("resolve", "Errors")] * 2 == world.deliver_all("hook", "other")


def test_a_rule_that_is_made_to_page_while_it_fires_pages() -> None:
    """Its new labels are routed; whoever was told before hears of the end."""
    routes = [{"match": ['severity="page"'], "receivers": ["other"]}, {"receivers": ["hook"]}]
    rules = [{"Errors": {**THREE_FAILURES_RULE, "labels": {"severity": severity}}} for severity in ("ticket", "page")]
    world = fired(routes=routes, rules=rules[0])
    assert [("trigger", "Errors")] == world.deliver_all("hook", "other")
    restart(world, routes=routes, rules=rules[1])
    page = world.deliver("other")
    assert page is not None
    assert ("trigger", "page") == (page.action, page.members[0].labels["severity"])
    world.observe(good, good, good)
    assert [("resolve", "Errors")] * 2 == world.deliver_all("hook", "other")


def test_a_canary_that_is_renamed_while_it_fires_goes_by_its_new_name() -> None:
    """Under its former key."""
    world = fired()
    told = world.deliver("hook")
    restart(world, msgspec.structs.replace(CHAT, name="talk", renamed_from="chat"))
    world.observe(*(lambda number: msgspec.structs.replace(good(number), canary="talk") for _ in range(3)))
    ended = world.deliver("hook")
    assert told is not None
    assert ended is not None
    assert (told.group, "talk", "talk") == (ended.group, ended.members[0].subject, ended.members[0].labels["canary"])


def test_all_that_a_silence_held_back_is_one_page() -> None:
    """As it would have been without."""
    one_failure = {"Errors": {"detector": {"type": "consecutive", "failures": 1}}}
    world = EngineHarness(alerts(rules=one_failure, group_by=["alert"], group_wait=10), *make_canaries(40))
    silence(world)
    run_canaries(world, *(f"c{number}" for number in range(40)))
    advance(world, 3600)
    page = world.deliver()
    assert page is not None
    assert (40, None) == (page.member_count, world.deliver())


def test_what_fires_in_a_long_silence_stays_with_level_receivers() -> None:
    """Told before the silence began, it is not forgotten a week later while it still fires."""
    prom = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
    world = EngineHarness(alerts(receivers={"prom": prom, "hook": webhook_config()}, group_wait=60))
    world.observe(bad, bad, bad)
    world.step(SilenceCreated(Silence(id="s", match=('canary=~".*"',), starts=NOON, until=NOON + 30 * 86400)))
    world.step(Tick())
    group = next(iter(world.state.groups.values()))
    world.now += 8 * 86400
    world.advance_one_minute()
    assert group.key in world.state.groups
