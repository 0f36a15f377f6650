"""The heartbeat: it is sent while all liveness checks pass, and failures are logged once."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from streamcanary.alerting.notify.delivery.http import open_http_client
from streamcanary.alerting.service.heartbeat import Heartbeat, HeartbeatConfig
from streamcanary.alerting.service.liveness import stalled_evaluation_reason, stalled_runs_reason
from streamcanary.model.clock import SystemClock
from support.alerting.builders import CHAT, NOON
from support.servers.receiver import FakeReceiver, Reply


def heartbeat(receiver: FakeReceiver, http: httpx2.AsyncClient, **checks: Any) -> Heartbeat:
    """Create a heartbeat to ``receiver`` with liveness ``checks``."""
    return Heartbeat(HeartbeatConfig.model_validate({"url": receiver.url}), http, SystemClock(), checks)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str | None, str]]:
    """Return event, failed checks and error of each warning."""
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    return [(record.message, vars(record).get("checks"), vars(record)["error"]) for record in warnings]


async def test_heartbeat_is_sent_while_all_checks_pass() -> None:
    """A heartbeat is one GET while all checks pass."""
    async with FakeReceiver() as monitor, httpx2.AsyncClient(trust_env=False) as http:
        assert await heartbeat(monitor, http, runs=lambda: None).ping_if_alive()
        assert len(monitor.deliveries) == 1


async def test_heartbeat_is_withheld_when_a_check_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A failing check withholds the heartbeat and is logged once."""
    async with FakeReceiver() as monitor, httpx2.AsyncClient(trust_env=False) as http:
        beat = heartbeat(monitor, http, runs=lambda: "no run has ended for 5m", outbox=lambda: None)
        assert [await beat.ping_if_alive() for _ in range(3)] == [False] * 3
        assert monitor.deliveries == []
    assert [("heartbeat withheld", "runs", "runs: no run has ended for 5m")] == logged(caplog)


async def test_change_of_the_failing_checks_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Another failing check, or a recovered one, is logged; a longer duration is not."""
    stalled = {"runs": "for 5m", "outbox": None}
    async with FakeReceiver() as monitor, httpx2.AsyncClient(trust_env=False) as http:
        beat = heartbeat(monitor, http, runs=lambda: stalled["runs"], outbox=lambda: stalled["outbox"])
        for change in ({}, {"runs": "for 6m"}, {"outbox": "for 1m"}, {"runs": None}):
            stalled |= change
            await beat.ping_if_alive()
    assert [
        ("heartbeat withheld", "runs", "runs: for 5m"),
        ("heartbeat withheld", "runs, outbox", "runs: for 6m; outbox: for 1m"),
        ("heartbeat withheld", "outbox", "outbox: for 1m"),
    ] == logged(caplog)


async def test_refusal_of_the_monitor_is_logged_and_retried(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal of the monitor is logged without its URL, and the next heartbeat is sent."""
    async with FakeReceiver(Reply(500), Reply(200)) as monitor, httpx2.AsyncClient(trust_env=False) as http:
        beat = heartbeat(monitor, http)
        assert [await beat.ping_if_alive(), await beat.ping_if_alive()] == [False, True]
        assert monitor.url not in str(logged(caplog))
    assert [("heartbeat failed", None, "HTTP 500")] == logged(caplog)


async def test_redirect_of_the_monitor_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A redirect is not followed, and is logged with its target without the query."""
    async with FakeReceiver() as elsewhere, open_http_client() as http:
        target = elsewhere.url.replace("127.0.0.1", "localhost")
        async with FakeReceiver(Reply(302, {"Location": f"{target}/?token=hunter2"})) as monitor:
            assert not await heartbeat(monitor, http).ping_if_alive()
        assert [] == elsewhere.deliveries
    assert [("heartbeat failed", None, f"HTTP 302 redirects to {target}/: redirects are not followed")] == logged(
        caplog
    )


async def test_unreachable_monitor_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An unreachable monitor and a missing URL file are logged and raise nothing."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        unreachable = HeartbeatConfig.model_validate({"url": "http://127.0.0.1:9/a-secret-uuid"})
        missing = HeartbeatConfig(url_file=Path("/nowhere/url"))
        assert not await Heartbeat(unreachable, http, SystemClock(), {}).ping_if_alive()
        assert not await Heartbeat(missing, http, SystemClock(), {}).ping_if_alive()
    assert "a-secret-uuid" not in str(logged(caplog))
    assert "/nowhere/url" in str(logged(caplog))


@pytest.mark.parametrize(
    "section", [{}, {"url": "http://a/b", "url_file": "/a"}, {"url": "ftp://a"}, {"url": "http://a", "every": 0}]
)
def test_heartbeat_without_exactly_one_url_is_rejected(section: dict[str, Any]) -> None:
    """A heartbeat without exactly one valid URL is rejected."""
    with pytest.raises(ValidationError):
        HeartbeatConfig.model_validate(section)


@pytest.mark.parametrize(
    ("now", "expected"),
    [(NOON + 100, None), (NOON + 159, None), (NOON + 161, "no run has ended for 2m41s"), (NOON - 500, None)],
)
def test_runs_are_stalled_when_three_were_due_and_none_ended(now: float, expected: str | None) -> None:
    """Runs are stalled after three intervals, the timeout of a run and ten seconds, but not after a clock step back."""
    assert expected == stalled_runs_reason([CHAT], NOON, now)


def test_evaluation_is_stalled_after_a_minute() -> None:
    """Evaluation is stalled after 60 s of the monotonic clock."""
    assert (None, "no outcome has been evaluated for 1m1s") == (
        stalled_evaluation_reason(0, 60),
        stalled_evaluation_reason(0, 61),
    )
