"""After a store that was lost: whoever may have been told that something fires is told that it does not."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import RunFinished, SilenceCreated, Started, StoreFailed, Tick
from streamcanary.alerting.engine.reconciliation import RECONCILED_REASON
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
    skipped,
    webhook_config,
)

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}


def lost(world: EngineHarness) -> EngineHarness:
    """Lose the store, and start."""
    world.state = State()
    world.stored_rows = {table: {} for table in TABLES}
    world.step(Started())
    return world


def tick(world: EngineHarness) -> None:
    """Let time pass."""
    world.now += 5
    world.step(Tick())


def test_a_page_that_nobody_remembers_is_called_off() -> None:
    """Once, under the key it was told, as soon as the canary is seen to be well."""
    world = EngineHarness()
    world.observe(bad, bad, bad)
    told = world.deliver()
    lost(world)
    tick(world)
    assert [] == world.deliver_all()
    world.observe(good)
    tick(world)
    ended = world.deliver()
    assert told is not None
    assert ended is not None
    assert (told.group, "resolve", RECONCILED_REASON) == (ended.group, ended.action, ended.members[0].resolve_reason)
    world.observe(good, good)
    tick(world)
    world.crash()
    world.step(Started())
    assert [] == world.deliver_all()


@pytest.mark.parametrize("run", [bad, neutral, skipped, lambda number: a_run(number, OutcomeKind.INTERNAL_ERROR)])
def test_only_a_good_sample_calls_off(run: Any) -> None:
    """As it alone resolves."""
    world = EngineHarness(
        alerts(rules={"Errors": {**THREE_FAILURES_RULE, "detector": {"type": "consecutive", "failures": 9}}})
    )
    lost(world)
    world.observe(run, run)
    tick(world)
    assert [] == world.deliver_all()


def test_a_group_is_called_off_when_all_of_it_is_well() -> None:
    """One of two is not enough."""
    fleet = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    world = lost(EngineHarness(alerts(group_by=["alert"]), *fleet))
    world.step(RunFinished(msgspec.structs.replace(good(), canary="a")))
    tick(world)
    assert [] == world.deliver_all()
    world.step(RunFinished(msgspec.structs.replace(good(), canary="b")))
    tick(world)
    notice = world.deliver()
    assert notice is not None
    assert ("resolve", ["a", "b"]) == (notice.action, [one.canary for one in notice.members])


def test_what_is_still_bad_is_told_anew_and_then_ends_as_ever() -> None:
    """No second end is told."""
    world = EngineHarness()
    world.observe(bad, bad, bad)
    world.deliver_all()
    lost(world)
    world.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == world.deliver_all()
    world.observe(good, good, good)
    tick(world)
    assert [("resolve", "Errors")] == world.deliver_all()


def test_what_is_suspected_outlives_a_restart() -> None:
    """The daemon may be killed before the canary has run."""
    world = lost(EngineHarness())
    world.crash()
    world.step(Started())
    world.observe(good)
    tick(world)
    assert [("resolve", "Errors")] == world.deliver_all()


def test_what_is_no_longer_watched_is_called_off_at_once() -> None:
    """Nothing will ever be seen of it."""
    world = lost(EngineHarness(alerts(rules={"Errors": THREE_FAILURES_RULE, "Others": THREE_FAILURES_RULE})))
    world.configure(alerts())
    world.crash()
    world.step(Started())
    assert [("resolve", "Others")] == world.deliver_all()


def test_a_level_receiver_needs_no_word() -> None:
    """What it is no longer told of ends by itself."""
    world = lost(EngineHarness(alerts(receivers={"prom": PROM})))
    assert {} == world.state.groups
    world.observe(good)
    tick(world)
    assert {} == world.state.notifications


def test_a_silent_canary_is_well_once_it_was_heard_of() -> None:
    """Left out for want of budget, it was not."""
    world = EngineHarness(alerts(rules={"NoData": {}}))
    lost(world)
    world.observe(lambda number: a_run(number, OutcomeKind.SKIPPED, reason="budget", budget=BudgetState.EXHAUSTED))
    tick(world)
    assert [("trigger", "BudgetExhausted")] == world.deliver_all()
    world.observe(neutral)
    tick(world)
    assert [("resolve", "BudgetExhausted"), ("resolve", "NoData")] == world.deliver_all()


def test_a_store_that_is_not_empty_is_not_lost() -> None:
    """Whatever is in it."""
    world = EngineHarness()
    world.step(SilenceCreated(Silence(id="s", match=('canary="x"',), starts=NOON, until=NOON + 60)))
    world.step(Started())
    assert {} == world.state.groups


def test_a_receiver_that_is_gone_is_not_told() -> None:
    """Nor is one that was added since."""
    world = lost(EngineHarness(alerts(receivers={"hook": webhook_config(), "other": webhook_config()})))
    world.configure(alerts(receivers={"hook": webhook_config(), "third": webhook_config()}), CHAT)
    world.crash()
    world.step(Started())
    world.observe(good)
    tick(world)
    assert ["hook"] == [notice.receiver for notice in world.state.notifications.values()]


def test_suspicion_ends_after_a_week() -> None:
    """Nothing was seen of it."""
    world = lost(EngineHarness())
    world.now += 8 * 86400
    world.advance_one_minute()
    assert {} == world.state.groups


def test_an_alert_that_comes_and_goes_before_it_is_told_of_is_called_off_nevertheless() -> None:
    """Nobody heard of this opening, and some may know of one from before the store was lost."""
    world = lost(EngineHarness(alerts(group_wait=60)))
    world.observe(bad, bad, bad)
    world.observe(good, good, good)
    tick(world)
    ended = world.deliver()
    assert ended is not None
    assert ("resolve", RECONCILED_REASON) == (ended.action, ended.members[0].resolve_reason)
    tick(world)
    assert [] == world.deliver_all()


def test_only_who_heard_nothing_of_the_new_opening_is_told_that_the_old_one_is_over() -> None:
    """The others hear of its own end."""
    world = lost(EngineHarness(alerts(receivers={"hook": webhook_config(), "other": webhook_config()})))
    world.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == world.deliver_all("hook")
    world.observe(good, good, good)
    tick(world)
    assert [("resolve", "Errors")] == world.deliver_all("hook")
    ended = world.deliver("other")
    assert ended is not None
    assert ("resolve", RECONCILED_REASON) == (ended.action, ended.members[0].resolve_reason)
    assert [] == world.deliver_all("hook", "other")


def test_a_store_that_is_read_late_tells_nothing_that_memory_has_overtaken() -> None:
    """The end of the last outage waited in it; by now the next one is told of, and goes on."""
    world = EngineHarness(alerts(rules={"Errors": THREE_FAILURES_RULE, "StoreFailing": {"enabled": False}}))
    world.observe(bad, bad, bad)
    world.deliver()
    world.observe(good, good, good)
    stored, world.state = world.state, State()
    world.stored_rows = {table: {} for table in TABLES}
    world.step(StoreFailed("cannot be read"))
    world.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == world.deliver_all()
    world.state = world.state.merge(stored)
    world.step(Started())
    assert ([], ["Errors"]) == (world.deliver_all(), [incident.rule for incident in world.open_incidents])


def test_a_webhook_may_be_spared_the_end_of_what_nobody_remembers() -> None:
    """One that opens a ticket for whatever it gets, say; what it was told it is told the end of."""
    world = lost(EngineHarness(alerts(receivers={"hook": webhook_config(recall=False), "other": webhook_config()})))
    world.observe(good)
    tick(world)
    assert ([], [("resolve", "Errors")]) == (world.deliver_all("hook"), world.deliver_all("other"))
    world.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == world.deliver_all("hook")
    world.observe(good, good, good)
    assert [("resolve", "Errors")] == world.deliver_all("hook")


def test_who_knew_of_it_is_told_though_the_next_opening_goes_elsewhere() -> None:
    """Its route has changed since the store was lost; the former receiver waits all the same."""
    receivers = {"hook": webhook_config(), "other": webhook_config()}
    world = lost(EngineHarness(alerts(receivers=receivers)))
    world.configure(alerts(receivers=receivers, routes=[{"receivers": ["other"]}]))
    world.crash()
    world.step(Started())
    world.observe(bad, bad, bad)
    assert ([], [("trigger", "Errors")]) == (world.deliver_all("hook"), world.deliver_all("other"))
    world.observe(good, good, good)
    tick(world)
    assert [("resolve", "Errors")] * 2 == world.deliver_all("hook", "other")


def test_who_was_told_before_the_store_could_not_be_read_is_told_of_the_end() -> None:
    """From memory only another was told of the outage that went on."""
    receivers = {"hook": webhook_config(), "other": webhook_config()}
    world = EngineHarness(alerts(receivers=receivers))
    world.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == world.deliver_all("hook")
    stored, world.state = world.state, State()
    world.stored_rows = {table: {} for table in TABLES}
    world.configure(alerts(receivers=receivers, routes=[{"receivers": ["other"]}]))
    world.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == world.deliver_all("other")
    world.state = world.state.merge(stored)
    world.step(Started())
    world.observe(good, good, good)
    tick(world)
    assert [("resolve", "Errors")] * 2 == world.deliver_all("hook", "other")
