"""A run that the daemon itself delayed says nothing about the target."""

import asyncio
import logging
import socket
import threading
import time
from typing import Any

import pytest

from streamcanary.canary.loop_lag_report import LoopLagReport
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.events import ContentDelta, Event
from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind
from support.servers.threaded import END, HEAD, TOKEN, ThreadedServer
from support.telemetry.in_memory import RecordedTelemetry

CLOCK = SystemClock()


def answer_on_time(connection: socket.socket, stop: threading.Event) -> None:
    """Send a token at once, and the rest 0.1 s later."""
    connection.sendall(HEAD + TOKEN)
    stop.wait(0.1)
    connection.sendall(TOKEN + END)


def block(_canary: Canary, event: Event) -> None:
    """Block the event loop for 1.2 s after the first token."""
    if isinstance(event, ContentDelta):
        asyncio.get_running_loop().call_soon(time.sleep, 1.2)


async def run_with_blocked_loop(**spec: Any) -> Outcome:
    """Run a canary once, whose first token is followed by a blocked event loop."""
    with ThreadedServer(answer_on_time) as server:
        canary = CanarySpec.model_validate({"target": "t", "model": "m", "every": "60s", **spec})
        target = TargetSpec.model_validate({"base_url": server.base_url, "api_key": "none", "provider": "p"})
        async with CanaryRunners({"t": target}, {"c": canary}, clock=CLOCK, on_event=block) as runners:
            return await runners.by_name["c"](CLOCK.time())


def blamed_attempts(recorded: RecordedTelemetry) -> list[float]:
    """Return the number of attempts with the blame ``local`` and ``provider``, of all tests so far."""
    return [recorded.value(names.ATTEMPTS.name, canary="c", blame=blame) for blame in ("local", "provider")]


@pytest.mark.process_lag
@pytest.mark.parametrize("fallbacks", [[], [{"model": "other"}]])
async def test_timeout_of_a_late_loop_is_an_internal_error(
    recorded: RecordedTelemetry, fallbacks: list[dict[str, str]]
) -> None:
    """A total timeout that passes while the loop is blocked blames neither the provider nor the run."""
    before = blamed_attempts(recorded)
    outcome = await run_with_blocked_loop(timeouts={"total": "0.9s"}, fallbacks=fallbacks)
    assert (OutcomeKind.INTERNAL_ERROR, None) == (outcome.kind, outcome.fault)
    assert [FaultKind.CLIENT_DELAYED] == [attempt.fault and attempt.fault.kind for attempt in outcome.attempts]
    assert "but this process itself was late by" in (outcome.reason or "")
    assert outcome.lag > 0.25
    local, provider = (after - each for after, each in zip(blamed_attempts(recorded), before, strict=True))
    assert (1, 0) == (local, provider)


@pytest.mark.process_lag
async def test_objective_missed_by_a_late_loop_is_an_internal_error() -> None:
    """A gap over the objective says nothing if the loop was late by more than the excess."""
    outcome = await run_with_blocked_loop(slo={"max_gap": "0.5s"})
    assert OutcomeKind.INTERNAL_ERROR is outcome.kind
    assert "over the objective of 0.5 s, but the event loop of the daemon was late by" in (outcome.reason or "")


@pytest.mark.process_lag
async def test_answer_within_its_objective_is_ok_after_a_late_loop() -> None:
    """An answer that is within its objectives in spite of the lag is as valid as any other."""
    outcome = await run_with_blocked_loop(slo={"max_gap": "30s"}, timeouts={"stall": "0.5s"})
    assert (OutcomeKind.OK, 1) == (outcome.kind, len(outcome.attempts))


async def test_lag_is_recorded_and_logged_once_a_minute(
    recorded: RecordedTelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """Every interval is a value of the metric; delays of 0.25 s and more are logged, at most once a minute."""
    report, before = LoopLagReport(), recorded.value(names.EVENT_LOOP_LAG.name)
    with caplog.at_level(logging.WARNING):
        for now, longest in ((1.0, 0.1), (2.0, 0.3), (3.0, 0.5), (4.0, 0.4), (70.0, 0.0), (140.0, 0.0)):
            report.record(longest, now)
    logged = [(vars(line)["seconds"], vars(line)["delays"]) for line in caplog.records]
    assert [("event loop late",)] * 2 == [(line.message,) for line in caplog.records]
    assert [(0.3, 1), (0.5, 2)] == logged
    assert 6 == recorded.value(names.EVENT_LOOP_LAG.name) - before
