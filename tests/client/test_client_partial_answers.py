"""What a caller receives when an attempt fails after text, in each on_partial mode."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streamcanary import Cached, Fault, NonStreaming, Route, Timeouts
from streamcanary.events import AttemptFailed, ContentDelta
from streamcanary.simulator import Simulator
from support.client.drivers import DRIVERS, Driver, DriverClient, driver_client, open_sdk_client
from support.servers.provider import MODEL, FakeProvider
from support.servers.simulator import HANGING_TIMINGS
from support.telemetry.in_memory import RecordedTelemetry

ANSWER = "Pong! The canary sings."
PART = "Pong! The"
AFTER_TEXT = ["cut", "reset-stream", "stall", "keepalive-stall", "truncated", "malformed", "inband-error"]
BEFORE_TEXT = ["reset", "500", "empty", "pings", "json-error-200"]
CLOCKS = Timeouts(first_token=0.3, stall=0.3)


def wait_long(fault: Fault) -> float:
    """Delay the next attempt beyond the duration of any test."""
    return 60.0


every_driver = pytest.mark.parametrize("driver", DRIVERS)
every_mode = pytest.mark.parametrize("mode", ["restart", "fail", "buffer"])


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider(pace=HANGING_TIMINGS) as provider:
        yield provider


@asynccontextmanager
async def ask(driver: Driver, provider: Simulator, **options: Any) -> AsyncIterator[DriverClient]:
    async with open_sdk_client(driver, provider.base_url) as sdk:
        yield driver_client(driver, sdk, **{"timeouts": CLOCKS, **options})


# Each mode delivers the answer exactly once


@every_driver
@pytest.mark.parametrize("fault", AFTER_TEXT)
async def test_restart_delivers_the_answer_once(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """Restart mode discards the text before the fault, and then delivers the complete answer."""
    async with ask(driver, provider, on_partial="restart") as client:
        recording = await client.record_stream(f"sim-{fault}@1")
    assert recording.result is not None
    assert (ANSWER, ANSWER) == (recording.text, recording.result.text)
    delta, rest = "content.delta", ["attempt.started", "content.delta", "completed"]
    assert ["attempt.started", delta, "attempt.failed", "restarted", *rest] == recording.types


@every_driver
@pytest.mark.parametrize("fault", AFTER_TEXT)
async def test_buffer_delivers_only_the_answer(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """Buffer mode delivers no text of a failed attempt, only the answer."""
    async with ask(driver, provider, on_partial="buffer") as client:
        recording = await client.record_stream(f"sim-{fault}@1")
    assert recording.result is not None
    assert ANSWER == "".join(event.delta for event in recording.events if isinstance(event, ContentDelta))
    rest = ["attempt.started", "content.delta", "completed"]
    assert ["attempt.started", "attempt.failed", *rest] == recording.types


@every_driver
@pytest.mark.parametrize("fault", AFTER_TEXT)
async def test_fail_mode_keeps_delivered_text(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """Fail mode ends the call at a fault after text, and the failure carries the delivered text."""
    fallbacks = [Route(model="sim-ok"), NonStreaming()]
    async with ask(driver, provider, on_partial="fail", fallbacks=fallbacks) as client:
        recording = await client.record_stream(f"sim-{fault}@1")
    assert recording.failure is not None
    assert (PART, PART, 1, 1) == (
        recording.text,
        recording.failure.partial_text,
        len(recording.failure.attempts),
        len(provider.requests),
    )
    last = recording.events[-1]
    assert isinstance(last, AttemptFailed)
    assert None is last.next_delay


@every_driver
@every_mode
@pytest.mark.parametrize("fault", BEFORE_TEXT)
async def test_fault_before_text_is_retried_in_every_mode(
    provider: FakeProvider, driver: Driver, mode: str, fault: str
) -> None:
    """A fault before the first text is retried in every mode, without a Restarted event."""
    async with ask(driver, provider, on_partial=mode) as client:
        recording = await client.record_stream(f"sim-{fault}@1")
    rest = ["attempt.started", "content.delta", "completed"]
    assert (["attempt.started", "attempt.failed", *rest], ANSWER) == (recording.types, recording.text)


@every_driver
@every_mode
async def test_failure_carries_the_partial_text(provider: FakeProvider, driver: Driver, mode: str) -> None:
    """When the last attempt fails after text, the failure carries that text and there is no result."""
    async with ask(driver, provider, on_partial=mode) as client:
        recording = await client.record_stream("sim-truncated")
    assert recording.failure is not None
    assert (PART, None) == (recording.failure.partial_text, recording.result)
    assert {"restart": PART, "fail": PART, "buffer": ""}[mode] == recording.text


@every_driver
@pytest.mark.parametrize("mode", ["restart", "buffer"])
@pytest.mark.parametrize("fallback_kind", ["route", "whole", "cache"])
async def test_fallback_replaces_partial_text(
    provider: FakeProvider, driver: Driver, mode: str, fallback_kind: str
) -> None:
    """The answer of a fallback replaces earlier text, and the two are never mixed."""
    fallback = {"route": Route(model="sim-ok"), "whole": NonStreaming(), "cache": Cached()}[fallback_kind]
    async with ask(driver, provider, on_partial=mode, fallbacks=[fallback]) as client:
        await client.complete(MODEL)
        provider.set_fault("cut@2")
        recording = await client.record_stream(MODEL)
    assert recording.result is not None
    degraded = {"route": "fallback", "whole": "non_streaming", "cache": "cache"}[fallback_kind]
    assert (ANSWER, ANSWER, degraded) == (recording.text, recording.result.text, recording.result.degraded)
    restarts = recording.types.count("restarted")
    assert {"restart": 2, "buffer": 0}[mode] == restarts


# The optional metric per chunk


@every_driver
@pytest.mark.parametrize(("time_per_chunk", "recorded_gaps"), [(False, 0), (True, 8)])
async def test_time_per_chunk_is_optional(
    provider: FakeProvider, recorded: RecordedTelemetry, driver: Driver, time_per_chunk: bool, recorded_gaps: int
) -> None:
    """Only a client with time_per_chunk records each gap between chunks, also of failed attempts."""
    metric = "gen_ai.client.operation.time_per_output_chunk"
    model = "sim-cut@1"  # three pieces of text, then seven

    def counted() -> float:
        return recorded.value(metric, gen_ai__response__model=model, gen_ai__provider__name="openai")

    before = counted()
    async with ask(driver, provider, time_per_chunk=time_per_chunk) as client:
        await client.complete(model)
    assert recorded_gaps == counted() - before
