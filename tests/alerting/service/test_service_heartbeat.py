from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from streamcanary.alerting.service.heartbeat import Heartbeat, HeartbeatConfig
from streamcanary.alerting.service.liveness import stalled_evaluation_reason, stalled_runs_reason
from streamcanary.model.clock import SystemClock
from support.alerting.builders import CHAT, NOON
from support.servers.receiver import FakeReceiver, Reply


def a_heartbeat(receiver: FakeReceiver, http: httpx2.AsyncClient, **vitals: Any) -> Heartbeat:
    """Make a heartbeat to ``receiver``."""
    return Heartbeat(HeartbeatConfig.model_validate({"url": receiver.url}), http, SystemClock(), vitals)


async def test_the_heart_beats_while_all_gets_on() -> None:
    """One GET, answered well."""
    async with FakeReceiver() as monitor, httpx2.AsyncClient(trust_env=False) as http:
        assert await a_heartbeat(monitor, http, runs=lambda: None).ping_if_alive()
        assert len(monitor.deliveries) == 1


async def test_the_heartbeat_is_withheld_when_something_stands_still(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is asked; the log says what stands still, once."""
    async with FakeReceiver() as monitor, httpx2.AsyncClient(trust_env=False) as http:
        heart = a_heartbeat(monitor, http, runs=lambda: "no run has ended for 5m", outbox=lambda: None)
        assert [await heart.ping_if_alive() for _ in range(3)] == [False] * 3
        assert monitor.deliveries == []
    assert [record.message for record in caplog.records] == ["the heartbeat is withheld: runs: no run has ended for 5m"]


async def test_what_stands_still_beside_it_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    """How long it has lasted is no news; that something else stands still, or gets on, is."""
    stuck = {"runs": "for 5m", "outbox": None}
    async with FakeReceiver() as monitor, httpx2.AsyncClient(trust_env=False) as http:
        heart = a_heartbeat(monitor, http, runs=lambda: stuck["runs"], outbox=lambda: stuck["outbox"])
        for change in ({}, {"runs": "for 6m"}, {"outbox": "for 1m"}, {"runs": None}):
            stuck |= change
            await heart.ping_if_alive()
    assert [
        "the heartbeat is withheld: runs: for 5m",
        "the heartbeat is withheld: runs: for 6m; outbox: for 1m",
        "the heartbeat is withheld: outbox: for 1m",
    ] == [record.message for record in caplog.records]


async def test_a_monitor_that_refuses_is_logged_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """Its answer is no reason to end, and its address, which is a secret, stands in no log."""
    async with FakeReceiver(Reply(500), Reply(200)) as monitor, httpx2.AsyncClient(trust_env=False) as http:
        heart = a_heartbeat(monitor, http)
        assert [await heart.ping_if_alive(), await heart.ping_if_alive()] == [False, True]
        assert monitor.url not in caplog.text
    assert "the heartbeat was not taken: HTTP 500" in caplog.text


async def test_a_monitor_that_cannot_be_reached_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Refused connections, and files that are not there."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        nobody = HeartbeatConfig.model_validate({"url": "http://127.0.0.1:9/a-secret-uuid"})
        nothing = HeartbeatConfig(url_file=Path("/nowhere/url"))
        assert not await Heartbeat(nobody, http, SystemClock(), {}).ping_if_alive()
        assert not await Heartbeat(nothing, http, SystemClock(), {}).ping_if_alive()
    assert "a-secret-uuid" not in caplog.text
    assert "/nowhere/url" in caplog.text


@pytest.mark.parametrize(
    "section", [{}, {"url": "http://a/b", "url_file": "/a"}, {"url": "ftp://a"}, {"url": "http://a", "every": 0}]
)
def test_a_heartbeat_without_a_way_is_refused(section: dict[str, Any]) -> None:
    """One address, of one kind."""
    with pytest.raises(ValidationError):
        HeartbeatConfig.model_validate(section)


@pytest.mark.parametrize(
    ("now", "says"),
    [(NOON + 100, None), (NOON + 159, None), (NOON + 161, "no run has ended for 2m41s"), (NOON - 500, None)],
)
def test_runs_stand_still_when_three_were_due_and_none_has_ended(now: float, says: str | None) -> None:
    """Three of 30 s, the minute that a run may take, and ten seconds; a clock that was set back says nothing."""
    assert says == stalled_runs_reason([CHAT], NOON, now)


def test_evaluation_stands_still_after_a_minute() -> None:
    """On the monotonic clock."""
    assert (None, "nothing was evaluated for 1m1s") == (
        stalled_evaluation_reason(0, 60),
        stalled_evaluation_reason(0, 61),
    )
