"""What is muted: silences, maintenance, and alerts that another alert explains."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from streamcanary.alerting.inputs import Ran, Silenced, Started, Tick, Unsilenced
from streamcanary.alerting.mute import Maintenance
from streamcanary.alerting.receivers.answer import Refused, Retry
from streamcanary.alerting.standing import standing
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import OutcomeKind
from streamcanary.model.silence import Silence
from support.alerts import NOON, THREE_IN_A_ROW, World, a_fault, a_hook, a_run, alerts, bad, good

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
TWO_HOOKS = {"hook": a_hook(), "other": a_hook()}


def a_silence(match: str = 'canary="chat"', *, start: float = 0, end: float = 3600, id: str = "s") -> Silence:  # noqa: A002
    """Build a silence; ``start`` and ``end`` are seconds from noon."""
    return Silence(id=id, match=(match,), starts=NOON + start, until=NOON + end, by="me", why="a test")


def later(world: World, seconds: float) -> None:
    """Let time pass."""
    world.now += seconds
    world.step(Tick())


# ---- silences


def test_what_fires_in_a_silence_is_told_to_nobody() -> None:
    """Neither that it fires nor that it is over; level receivers do not see it, either."""
    world = World(alerts(receivers={"hook": a_hook(), "prom": PROM}))
    world.step(Silenced(a_silence()))
    world.see(bad, bad, bad)
    later(world, 10)
    assert (1, {}, ()) == (len(world.firing), world.state.notices, standing(world.state, "prom", world.now))
    world.see(good, good, good)
    assert ({}, ()) == (world.state.notices, standing(world.state, "prom", world.now))


def test_who_was_told_before_a_silence_is_told_that_it_is_over() -> None:
    """A silence mutes news only."""
    world = World()
    world.see(bad, bad, bad)
    world.deliver_all()
    world.step(Silenced(a_silence()))
    later(world, 10)
    world.see(good, good, good)
    assert [("resolve", "Errors")] == world.deliver_all()


def test_nothing_is_repeated_in_a_silence() -> None:
    """That it still fires is no news."""
    world = World(alerts(repeat_interval="10m"))
    world.see(bad, bad, bad)
    world.deliver_all()
    world.step(Silenced(a_silence(end=3600)))
    later(world, 1800)
    assert [] == world.deliver_all()
    later(world, 1800)
    assert [("update", "Errors")] == world.deliver_all()


def test_what_is_still_bad_when_a_silence_ends_pages_then() -> None:
    """At the next tick, with when it began."""
    world = World()
    world.step(Silenced(a_silence()))
    world.see(bad, bad, bad)
    later(world, 3000)
    assert world.deliver() is None
    later(world, 600)
    notice = world.deliver()
    assert notice is not None
    assert ("trigger", NOON + 61) == (notice.action, notice.members[0].opened)


def test_a_silence_that_is_ended_early_ends_at_once() -> None:
    """No tick is waited for."""
    world = World()
    world.step(Silenced(a_silence()))
    world.see(bad, bad, bad)
    world.step(Unsilenced("s"))
    assert [("trigger", "Errors")] == world.deliver_all()
    world.step(Unsilenced("no such silence"))


def test_a_silence_and_what_it_mutes_outlive_a_restart() -> None:
    """It pages when the silence is over, not at the start."""
    world = World()
    world.step(Silenced(a_silence()))
    world.see(bad, bad, bad)
    world.crash()
    world.step(Started())
    assert {} == world.state.notices
    world.crash()
    world.now = NOON + 3600
    world.step(Started())
    assert [("trigger", "Errors")] == world.deliver_all()


def test_a_silence_that_is_yet_to_begin_mutes_nothing() -> None:
    """And one that is about something else."""
    world = World()
    world.step(Silenced(a_silence(start=600)))
    world.step(Silenced(a_silence('canary="another"', id="t")))
    world.see(bad, bad, bad)
    assert [("trigger", "Errors")] == world.deliver_all()


def test_a_silence_before_the_page_is_out_keeps_it_in() -> None:
    """What waits in its group is not news yet."""
    world = World(alerts(group_wait=60))
    world.see(bad, bad, bad)
    world.step(Silenced(a_silence('alertname="Errors"')))
    later(world, 60)
    assert ({}, []) == (world.state.notices, [group for group in world.state.groups.values() if group.firing])
    world.step(Unsilenced("s"))
    assert [("trigger", "Errors")] == world.deliver_all()


def test_what_fires_again_in_a_silence_is_not_shown_to_level_receivers() -> None:
    """They have heard that it was over, and know it from a group that others keep open, or that is over."""
    for others in ((), ("more",)):
        canaries = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("chat", "more")]
        world = World(alerts(receivers={"prom": PROM}, group_by=["alert"], group_interval=10), *canaries)
        for name in ("chat", *others):
            world.see(*[msgspec.structs.replace(bad(number), canary=name) for number in range(3)])
        world.see(good, good, good)
        later(world, 300)
        world.step(Silenced(a_silence()))
        world.see(bad, bad, bad)
        known = {incident.canary for incident in standing(world.state, "prom", world.now) if incident.firing}
        assert set(others) == known
        world.step(Unsilenced("s"))
        known = {incident.canary for incident in standing(world.state, "prom", world.now) if incident.firing}
        assert {"chat", *others} == known


def test_a_silence_is_forgotten_a_day_after_its_end() -> None:
    """So that they do not add up."""
    world = World()
    world.step(Silenced(a_silence()))
    later(world, 3600 + 86400)
    assert ["s"] == list(world.state.silences)
    later(world, 61)
    assert {} == world.state.silences


# ---- maintenance


def at(text: str) -> float:
    """Return the moment that ``text`` (RFC 3339, UTC) says."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def friday(**more: Any) -> Maintenance:
    """Build the window on Fridays at five, for half an hour, in Berlin."""
    values = {"match": ['tier="prod"'], "cron": "0 17 * * fri", "for": "30m", "timezone": "Europe/Berlin"}
    return Maintenance.model_validate({**values, **more})


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-07-10T14:59:59", False),
        ("2026-07-10T15:00:00", True),  # summer: two hours ahead
        ("2026-07-10T15:29:59", True),
        ("2026-07-10T15:30:00", False),
        ("2026-07-09T15:00:00", False),  # a Thursday
        ("2026-12-11T15:00:00", False),
        ("2026-12-11T16:00:00", True),  # winter: one hour ahead
        ("2026-12-11T16:30:00", False),
    ],
)
def test_a_window_keeps_to_the_clock_on_the_wall(moment: str, is_open: bool) -> None:
    """Five in the afternoon is five, in summer and in winter."""
    assert is_open == friday().open(at(moment))


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [("2026-03-29T01:00:00", True), ("2026-03-29T01:59:00", True), ("2026-10-25T00:31:00", True)],
)
def test_a_window_in_the_night_of_the_change_is_not_lost(moment: str, is_open: bool) -> None:
    """Half past two does not exist in one night of the year, and twice in another."""
    assert is_open == friday(cron="30 2 * * *", **{"for": "1h"}).open(at(moment))


def test_maintenance_mutes_as_a_silence_does() -> None:
    """What fires in it is told when it closes, and who was told before is told when it is over."""
    window = {"match": ['tier="prod"'], "cron": f"{datetime.fromtimestamp(NOON, UTC):%M %H} * * *", "for": "30m"}
    start = NOON - NOON % 60
    world = World(alerts(maintenance={"deploy": window}))
    world.see(bad, bad, bad)
    later(world, 60)
    assert {} == world.state.notices
    world.now = start + 1800
    world.step(Tick())
    assert [("trigger", "Errors")] == world.deliver_all()
    world.now = start + 86400 + 60
    world.step(Tick())
    for _ in range(3):
        world.step(Ran(a_run(9, started=world.now - 1)))
    assert [("resolve", "Errors")] == world.deliver_all()


@pytest.mark.parametrize(
    "wrong", [{"cron": "61 * * * *"}, {"timezone": "Europe/Atlantis"}, {"for": "8d"}, {"match": []}, {"match": ["x"]}]
)
def test_a_window_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """When the configuration is read."""
    with pytest.raises(ValidationError):
        friday(**wrong)


# ---- alerts that explain others

HOSTS = tuple(
    Canary(name=name, target=name, provider=name, interval=30.0, host=host)
    for name, host in (("a", "one"), ("b", "two"))
)


def run_all(world: World, kind: FaultKind | None, *names: str) -> None:
    """Let canaries run now, each with the same fault, or well."""
    world.now += 30
    for name in names or ("a", "b"):
        outcome = a_run(
            int(world.now),
            OutcomeKind.FAILED if kind else OutcomeKind.OK,
            kind and a_fault(kind),
            started=world.now - 1,
        )
        world.step(Ran(msgspec.structs.replace(outcome, canary=name, duration=0.5)))


def cut_off(**sections: Any) -> World:
    """Build a world in which two hosts were lost twice: ``CanaryEgressDown`` fires, and nothing else yet."""
    world = World(alerts(**sections), *HOSTS)
    for _ in range(2):
        run_all(world, FaultKind.CONNECT_FAILED)
    assert ["CanaryEgressDown"] == [incident.rule for incident in world.firing]
    return world


def test_no_way_out_is_one_page_for_all() -> None:
    """Once its page was accepted, what it explains is told to nobody, as long as it fires and after."""
    world = cut_off()
    assert [("trigger", "CanaryEgressDown")] == world.deliver_all()
    run_all(world, FaultKind.CONNECT_FAILED)
    assert (3, []) == (len(world.firing), world.deliver_all())
    run_all(world, None, "a")
    world.step(Tick())
    assert [("resolve", "CanaryEgressDown")] == world.deliver_all()
    later(world, 5)
    run_all(world, None)
    run_all(world, None)
    run_all(world, None)
    assert ([], []) == (world.firing, world.deliver_all())


def test_a_further_failure_after_it_is_news() -> None:
    """It was not the way out after all, or not it alone."""
    world = cut_off()
    world.deliver_all()
    run_all(world, FaultKind.CONNECT_FAILED)
    run_all(world, None, "a")
    world.deliver_all()
    later(world, 5)
    assert [] == world.deliver_all()
    run_all(world, FaultKind.STALLED, "b")
    later(world, 5)
    notice = world.deliver()
    assert notice is not None
    assert ("trigger", ["b"]) == (notice.action, [one.canary for one in notice.members])


@pytest.mark.parametrize("answer", [None, Retry(reason="no answer"), Refused("HTTP 400")])
def test_nothing_is_explained_to_who_has_not_heard_of_it(answer: Any) -> None:
    """If the page about the way out does not get through, the others go out."""
    world = cut_off()
    if answer is not None:
        world.deliver(answer=answer)
    run_all(world, FaultKind.CONNECT_FAILED)
    assert 2 == sum(notice.members[0].rule == "Errors" for notice in world.state.notices.values())


def test_each_receiver_of_what_is_explained_must_have_heard() -> None:
    """One of two is not enough; the second makes it so."""
    world = cut_off(receivers=TWO_HOOKS)
    world.deliver_all("hook")
    run_all(world, FaultKind.CONNECT_FAILED, "a")
    run_all(world, FaultKind.CONNECT_FAILED, "a")
    assert [("trigger", "CanaryEgressDown"), ("trigger", "Errors")] == world.deliver_all("other")
    run_all(world, FaultKind.CONNECT_FAILED, "b")
    assert [] == world.deliver_all("other")


def test_nothing_is_explained_by_what_was_told_elsewhere() -> None:
    """The page about the way out goes to another receiver, or to none."""
    for routes in (
        [{"match": ['alert="Errors"'], "receivers": ["hook"]}, {"receivers": ["other"]}],
        [{"match": ['alert="Errors"'], "receivers": ["hook"]}],
    ):
        world = cut_off(receivers=TWO_HOOKS, routes=routes)
        world.deliver_all("other")
        run_all(world, FaultKind.CONNECT_FAILED)
        assert 2 == len(world.deliver_all("hook"))


def test_a_level_receiver_that_is_not_told_of_the_one_is_told_of_the_others() -> None:
    """One that is told of both is told of the one."""
    routes = [{"match": ['alert="Errors"'], "receivers": ["prom"]}, {"receivers": ["hook"]}]
    world = cut_off(receivers={"hook": a_hook(), "prom": PROM}, routes=routes)
    world.deliver_all()
    run_all(world, FaultKind.CONNECT_FAILED)
    assert ["Errors", "Errors"] == [incident.rule for incident in standing(world.state, "prom", world.now)]
    world = cut_off(receivers={"prom": PROM})
    run_all(world, FaultKind.CONNECT_FAILED)
    assert ["CanaryEgressDown"] == [incident.rule for incident in standing(world.state, "prom", world.now)]


def test_what_nobody_was_told_of_explains_nothing_once_it_is_over() -> None:
    """It was refused, and then over: nobody could have made sense of the silence."""
    world = cut_off(group_wait=120)
    world.deliver(answer=Refused("HTTP 400"))
    run_all(world, FaultKind.CONNECT_FAILED)
    run_all(world, None, "a")
    assert [] == world.deliver_all()
    later(world, 120)
    assert [("trigger", "Errors")] * 2 == world.deliver_all()


def test_what_seems_to_be_over_tomorrow_explains_nothing() -> None:
    """The clock was set back: which came first nobody can tell."""
    world = cut_off()
    world.deliver_all()
    run_all(world, None, "a")
    world.deliver_all()
    world.now -= 7200
    for _ in range(3):
        run_all(world, FaultKind.STALLED, "b")
    later(world, 5)
    assert [("trigger", "Errors")] == world.deliver_all()


def test_a_repetition_that_does_not_get_through_explains_no_less() -> None:
    """The receiver knows since the first page; and the way out is what it is waiting for."""
    world = cut_off(repeat_interval="1h")
    world.deliver_all()
    run_all(world, FaultKind.CONNECT_FAILED)
    later(world, 3600)
    assert [("CanaryEgressDown", "update")] == [
        (notice.members[0].rule, notice.action) for notice in world.state.notices.values() if notice.state == "pending"
    ]
    later(world, 5)
    assert 2 == len(world.state.notices)


def test_one_glitch_is_no_blackout() -> None:
    """Nor is one host alone, whatever the number of its canaries, nor two when a third was reached meanwhile."""
    world = World(alerts(), *HOSTS)
    run_all(world, FaultKind.CONNECT_FAILED)
    assert [] == world.firing
    one_host = [msgspec.structs.replace(canary, host="same") for canary in HOSTS]
    world = World(alerts(rules={}), *one_host)
    for _ in range(5):
        run_all(world, FaultKind.CONNECT_FAILED)
    assert [] == world.firing
    third = Canary(name="c", target="c", provider="c", interval=30.0, host="three")
    world = World(alerts(rules={}), *HOSTS, third)
    for _ in range(5):
        run_all(world, FaultKind.CONNECT_FAILED, "a", "b")
        run_all(world, FaultKind.STALLED, "c")  # somebody answered, and then stalled
    assert [] == world.firing


def test_a_run_that_the_budget_forbade_reaches_nobody() -> None:
    """It neither ends a blackout nor hides one."""
    world = cut_off()
    skipped = a_run(99, OutcomeKind.SKIPPED, reason="budget", started=world.now)
    third = Canary(name="c", target="c", provider="c", interval=30.0, host="three")
    world.configure(alerts(), *HOSTS, third)
    world.step(Ran(msgspec.structs.replace(skipped, canary="c")))
    assert "CanaryEgressDown" in {incident.rule for incident in world.firing}
    world = World(alerts(rules={}), *HOSTS, third)
    for _ in range(2):
        run_all(world, FaultKind.CONNECT_FAILED)
        world.step(Ran(msgspec.structs.replace(skipped, canary="c", started=world.now)))
    assert "CanaryEgressDown" in {incident.rule for incident in world.firing}


def test_a_rejected_target_explains_what_else_its_canary_shows() -> None:
    """And of no other canary."""
    any_fault = {**THREE_IN_A_ROW, "blame": ["config", "provider"]}
    world = World(alerts(rules={"Errors": any_fault, "TargetRejected": {}}), *HOSTS)
    run_all(world, FaultKind.AUTH_FAILED, "a")
    run_all(world, FaultKind.AUTH_FAILED, "a")
    assert [("trigger", "TargetRejected")] == world.deliver_all()
    for _ in range(3):
        run_all(world, FaultKind.AUTH_FAILED, "a")
        run_all(world, FaultKind.STALLED, "b")
    notice = world.deliver()
    assert notice is not None
    assert ("Errors", "b") == (notice.members[0].rule, notice.members[0].canary)
    assert [] == world.deliver_all()
