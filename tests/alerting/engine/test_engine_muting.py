"""What is muted: silences, maintenance, and alerts that another alert explains."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from streamcanary.alerting.engine.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import RunFinished, SilenceCreated, SilenceDeleted, Started, Tick
from streamcanary.alerting.maintenance import Maintenance
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.canary import Canary
from support.alerting.builders import NOON, EngineHarness, a_run, alerts, bad, good, webhook_config

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}


def a_silence(match: str = 'canary="chat"', *, start: float = 0, end: float = 3600, id: str = "s") -> Silence:  # noqa: A002
    """Build a silence; ``start`` and ``end`` are seconds from noon."""
    return Silence(id=id, match=(match,), starts=NOON + start, until=NOON + end, by="me", why="a test")


def later(world: EngineHarness, seconds: float) -> None:
    """Let time pass."""
    world.now += seconds
    world.step(Tick())


# ---- silences


def test_what_fires_in_a_silence_is_told_to_nobody() -> None:
    """Neither that it fires nor that it is over; level receivers do not see it, either."""
    world = EngineHarness(alerts(receivers={"hook": webhook_config(), "prom": PROM}))
    world.step(SilenceCreated(a_silence()))
    world.observe(bad, bad, bad)
    later(world, 10)
    assert (1, {}, ()) == (
        len(world.open_incidents),
        world.state.notifications,
        active_alerts(world.state, "prom", world.now),
    )
    world.observe(good, good, good)
    assert ({}, ()) == (world.state.notifications, active_alerts(world.state, "prom", world.now))


def test_who_was_told_before_a_silence_is_told_that_it_is_over() -> None:
    """A silence mutes news only."""
    world = EngineHarness()
    world.observe(bad, bad, bad)
    world.deliver_all()
    world.step(SilenceCreated(a_silence()))
    later(world, 10)
    world.observe(good, good, good)
    assert [("resolve", "Errors")] == world.deliver_all()


def test_nothing_is_repeated_in_a_silence() -> None:
    """That it still fires is no news."""
    world = EngineHarness(alerts(repeat_interval="10m"))
    world.observe(bad, bad, bad)
    world.deliver_all()
    world.step(SilenceCreated(a_silence(end=3600)))
    later(world, 1800)
    assert [] == world.deliver_all()
    later(world, 1800)
    assert [("update", "Errors")] == world.deliver_all()


def test_what_is_still_bad_when_a_silence_ends_pages_then() -> None:
    """At the next tick, with when it began."""
    world = EngineHarness()
    world.step(SilenceCreated(a_silence()))
    world.observe(bad, bad, bad)
    later(world, 3000)
    assert world.deliver() is None
    later(world, 600)
    notice = world.deliver()
    assert notice is not None
    assert ("trigger", NOON + 61) == (notice.action, notice.members[0].opened)


def test_a_silence_that_is_ended_early_ends_at_once() -> None:
    """No tick is waited for."""
    world = EngineHarness()
    world.step(SilenceCreated(a_silence()))
    world.observe(bad, bad, bad)
    world.step(SilenceDeleted("s"))
    assert [("trigger", "Errors")] == world.deliver_all()
    world.step(SilenceDeleted("no such silence"))


def test_a_silence_and_what_it_mutes_outlive_a_restart() -> None:
    """It pages when the silence is over, not at the start."""
    world = EngineHarness()
    world.step(SilenceCreated(a_silence()))
    world.observe(bad, bad, bad)
    world.crash()
    world.step(Started())
    assert {} == world.state.notifications
    world.crash()
    world.now = NOON + 3600
    world.step(Started())
    assert [("trigger", "Errors")] == world.deliver_all()


def test_a_silence_that_is_yet_to_begin_mutes_nothing() -> None:
    """And one that is about something else."""
    world = EngineHarness()
    world.step(SilenceCreated(a_silence(start=600)))
    world.step(SilenceCreated(a_silence('canary="another"', id="t")))
    world.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == world.deliver_all()


def test_a_silence_before_the_page_is_out_keeps_it_in() -> None:
    """What waits in its group is not news yet."""
    world = EngineHarness(alerts(group_wait=60))
    world.observe(bad, bad, bad)
    world.step(SilenceCreated(a_silence('alertname="Errors"')))
    later(world, 60)
    assert ({}, []) == (world.state.notifications, [group for group in world.state.groups.values() if group.is_firing])
    world.step(SilenceDeleted("s"))
    assert [("trigger", "Errors")] == world.deliver_all()


def test_what_fires_again_in_a_silence_is_not_shown_to_level_receivers() -> None:
    """They have heard that it was over, and know it from a group that others keep open, or that is over."""
    for others in ((), ("more",)):
        canaries = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("chat", "more")]
        world = EngineHarness(alerts(receivers={"prom": PROM}, group_by=["alert"], group_interval=10), *canaries)
        for name in ("chat", *others):
            world.observe(*[msgspec.structs.replace(bad(number), canary=name) for number in range(3)])
        world.observe(good, good, good)
        later(world, 300)
        world.step(SilenceCreated(a_silence()))
        world.observe(bad, bad, bad)
        known = {incident.canary for incident in active_alerts(world.state, "prom", world.now) if incident.is_firing}
        assert set(others) == known
        world.step(SilenceDeleted("s"))
        known = {incident.canary for incident in active_alerts(world.state, "prom", world.now) if incident.is_firing}
        assert {"chat", *others} == known


def test_a_silence_is_forgotten_a_day_after_its_end() -> None:
    """So that they do not add up."""
    world = EngineHarness()
    world.step(SilenceCreated(a_silence()))
    later(world, 3600 + 86400)
    assert ["s"] == list(world.state.silences)
    for _ in range(3):
        later(world, 21)
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
    assert is_open == friday().is_open(at(moment))


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [("2026-03-29T01:00:00", True), ("2026-03-29T01:59:00", True), ("2026-10-25T00:31:00", True)],
)
def test_a_window_in_the_night_of_the_change_is_not_lost(moment: str, is_open: bool) -> None:
    """Half past two does not exist in one night of the year, and twice in another."""
    assert is_open == friday(cron="30 2 * * *", **{"for": "1h"}).is_open(at(moment))


def test_maintenance_mutes_as_a_silence_does() -> None:
    """What fires in it is told when it closes, and who was told before is told when it is over."""
    window = {"match": ['tier="prod"'], "cron": f"{datetime.fromtimestamp(NOON, UTC):%M %H} * * *", "for": "30m"}
    start = NOON - NOON % 60
    world = EngineHarness(alerts(maintenance={"deploy": window}))
    world.observe(bad, bad, bad)
    later(world, 60)
    assert {} == world.state.notifications
    world.now = start + 1800
    world.step(Tick())
    assert [("trigger", "Errors")] == world.deliver_all()
    world.now = start + 86400 + 60
    world.step(Tick())
    for _ in range(3):
        world.step(RunFinished(a_run(9, started=world.now - 1)))
    assert [("resolve", "Errors")] == world.deliver_all()


@pytest.mark.parametrize(
    "wrong", [{"cron": "61 * * * *"}, {"timezone": "Europe/Atlantis"}, {"for": "8d"}, {"match": []}, {"match": ["x"]}]
)
def test_a_window_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """When the configuration is read."""
    with pytest.raises(ValidationError):
        friday(**wrong)
