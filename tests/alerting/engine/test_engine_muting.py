"""Test muting by silences and maintenance windows."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from streamcanary.alerting.engine.grouping.active_alerts import active_alerts
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


def later(harness: EngineHarness, seconds: float) -> None:
    """Advance the clock and tick."""
    harness.now += seconds
    harness.step(Tick())


# ---- silences


def test_silenced_alert_is_not_notified() -> None:
    """An alert that fires and resolves in a silence sends nothing, and state receivers do not get it."""
    harness = EngineHarness(alerts(receivers={"hook": webhook_config(), "prom": PROM}))
    harness.step(SilenceCreated(a_silence()))
    harness.observe(bad, bad, bad)
    later(harness, 10)
    assert (1, {}, ()) == (
        len(harness.open_incidents),
        harness.state.notifications,
        active_alerts(harness.state, "prom", harness.now),
    )
    harness.observe(good, good, good)
    assert ({}, ()) == (harness.state.notifications, active_alerts(harness.state, "prom", harness.now))


def test_resolve_is_sent_through_a_silence() -> None:
    """A receiver notified before a silence gets the resolve during the silence."""
    harness = EngineHarness()
    harness.observe(bad, bad, bad)
    harness.deliver_all()
    harness.step(SilenceCreated(a_silence()))
    later(harness, 10)
    harness.observe(good, good, good)
    assert [("resolve", "Errors")] == harness.deliver_all()


def test_silenced_group_is_not_repeated() -> None:
    """A silenced group sends no repeat notification until the silence ends."""
    harness = EngineHarness(alerts(repeat_interval="10m"))
    harness.observe(bad, bad, bad)
    harness.deliver_all()
    harness.step(SilenceCreated(a_silence(end=3600)))
    later(harness, 1800)
    assert [] == harness.deliver_all()
    later(harness, 1800)
    assert [("update", "Errors")] == harness.deliver_all()


def test_alert_that_still_fires_when_a_silence_ends_is_notified() -> None:
    """An alert that still fires triggers at the first tick after the silence ends, with its original start time."""
    harness = EngineHarness()
    harness.step(SilenceCreated(a_silence()))
    harness.observe(bad, bad, bad)
    later(harness, 3000)
    assert harness.deliver() is None
    later(harness, 600)
    notification = harness.deliver()
    assert notification is not None
    assert ("trigger", NOON + 61) == (notification.action, notification.members[0].opened)


def test_deleted_silence_ends_at_once() -> None:
    """Deleting a silence sends the muted notifications without waiting for a tick."""
    harness = EngineHarness()
    harness.step(SilenceCreated(a_silence()))
    harness.observe(bad, bad, bad)
    harness.step(SilenceDeleted("s"))
    assert [("trigger", "Errors")] == harness.deliver_all()
    harness.step(SilenceDeleted("no such silence"))


def test_silence_survives_a_restart() -> None:
    """A silence and the alerts that it mutes survive a restart; the trigger is sent when the silence ends."""
    harness = EngineHarness()
    harness.step(SilenceCreated(a_silence()))
    harness.observe(bad, bad, bad)
    harness.crash()
    harness.step(Started())
    assert {} == harness.state.notifications
    harness.crash()
    harness.now = NOON + 3600
    harness.step(Started())
    assert [("trigger", "Errors")] == harness.deliver_all()


def test_future_or_unrelated_silence_mutes_nothing() -> None:
    """A silence that has not started, or that does not match, mutes nothing."""
    harness = EngineHarness()
    harness.step(SilenceCreated(a_silence(start=600)))
    harness.step(SilenceCreated(a_silence('canary="another"', id="t")))
    harness.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == harness.deliver_all()


def test_silence_during_group_wait_mutes_the_trigger() -> None:
    """A silence that starts during ``group_wait`` mutes the trigger."""
    harness = EngineHarness(alerts(group_wait=60))
    harness.observe(bad, bad, bad)
    harness.step(SilenceCreated(a_silence('alertname="Errors"')))
    later(harness, 60)
    assert ({}, []) == (
        harness.state.notifications,
        [group for group in harness.state.groups.values() if group.is_firing],
    )
    harness.step(SilenceDeleted("s"))
    assert [("trigger", "Errors")] == harness.deliver_all()


def test_alert_that_fires_again_in_a_silence_is_not_sent_to_state_receivers() -> None:
    """A resolved alert that fires again in a silence is not sent to state receivers, in an open group or a new one."""
    for others in ((), ("more",)):
        canaries = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("chat", "more")]
        harness = EngineHarness(alerts(receivers={"prom": PROM}, group_by=["alert"], group_interval=10), *canaries)
        for name in ("chat", *others):
            harness.observe(*[msgspec.structs.replace(bad(number), canary=name) for number in range(3)])
        harness.observe(good, good, good)
        later(harness, 300)
        harness.step(SilenceCreated(a_silence()))
        harness.observe(bad, bad, bad)
        known = {
            incident.canary for incident in active_alerts(harness.state, "prom", harness.now) if incident.is_firing
        }
        assert set(others) == known
        harness.step(SilenceDeleted("s"))
        known = {
            incident.canary for incident in active_alerts(harness.state, "prom", harness.now) if incident.is_firing
        }
        assert {"chat", *others} == known


def test_silence_is_deleted_a_day_after_its_end() -> None:
    """A silence is deleted from the store a day after its end."""
    harness = EngineHarness()
    harness.step(SilenceCreated(a_silence()))
    later(harness, 3600 + 86400)
    assert ["s"] == list(harness.state.silences)
    for _ in range(3):
        later(harness, 21)
    assert {} == harness.state.silences


# ---- maintenance


def at(text: str) -> float:
    """Return the Unix time of ``text`` (RFC 3339, UTC)."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def friday(**more: Any) -> Maintenance:
    """Build a maintenance window on Fridays at 17:00 for 30 minutes in Berlin."""
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
def test_maintenance_window_follows_local_time(moment: str, is_open: bool) -> None:
    """A maintenance window starts at the same local time in summer and in winter."""
    assert is_open == friday().is_open(at(moment))


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [("2026-03-29T01:00:00", True), ("2026-03-29T01:59:00", True), ("2026-10-25T00:31:00", True)],
)
def test_maintenance_window_opens_in_nights_of_a_time_change(moment: str, is_open: bool) -> None:
    """A window at 02:30 opens in the night in which 02:30 does not exist and in the night in which it occurs twice."""
    assert is_open == friday(cron="30 2 * * *", **{"for": "1h"}).is_open(at(moment))


def test_maintenance_mutes_like_a_silence() -> None:
    """An alert that fires in maintenance triggers when the window closes; a resolve is sent during the window."""
    window = {"match": ['tier="prod"'], "cron": f"{datetime.fromtimestamp(NOON, UTC):%M %H} * * *", "for": "30m"}
    start = NOON - NOON % 60
    harness = EngineHarness(alerts(maintenance={"deploy": window}))
    harness.observe(bad, bad, bad)
    later(harness, 60)
    assert {} == harness.state.notifications
    harness.now = start + 1800
    harness.step(Tick())
    assert [("trigger", "Errors")] == harness.deliver_all()
    harness.now = start + 86400 + 60
    harness.step(Tick())
    for _ in range(3):
        harness.step(RunFinished(a_run(9, started=harness.now - 1)))
    assert [("resolve", "Errors")] == harness.deliver_all()


@pytest.mark.parametrize(
    "wrong", [{"cron": "61 * * * *"}, {"timezone": "Europe/Atlantis"}, {"for": "8d"}, {"match": []}, {"match": ["x"]}]
)
def test_invalid_maintenance_window_is_rejected(wrong: dict[str, Any]) -> None:
    """An invalid maintenance window is rejected when the configuration is read."""
    with pytest.raises(ValidationError):
        friday(**wrong)
