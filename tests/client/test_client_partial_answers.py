"""What a caller ends up with when an attempt breaks after text came, and what stays behind when the caller leaves."""

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
    """Have the next attempt wait for longer than any test does."""
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


# Each mode: exactly the answer, once


@every_driver
@pytest.mark.parametrize("fault", AFTER_TEXT)
async def test_restart_gives_the_answer_once(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """What was delivered before the fault is declared void, and then the whole answer is delivered."""
    async with ask(driver, provider, on_partial="restart") as client:
        heard = await client.record_stream(f"sim-{fault}@1")
    assert heard.result is not None
    assert (ANSWER, ANSWER) == (heard.text, heard.result.text)
    delta, rest = "content.delta", ["attempt.started", "content.delta", "completed"]
    assert ["attempt.started", delta, "attempt.failed", "restarted", *rest] == heard.types


@every_driver
@pytest.mark.parametrize("fault", AFTER_TEXT)
async def test_buffer_delivers_the_answer_alone(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """Nothing of an attempt that breaks is ever delivered: all the text there is is the answer."""
    async with ask(driver, provider, on_partial="buffer") as client:
        heard = await client.record_stream(f"sim-{fault}@1")
    assert heard.result is not None
    assert ANSWER == "".join(event.delta for event in heard.events if isinstance(event, ContentDelta))
    rest = ["attempt.started", "content.delta", "completed"]
    assert ["attempt.started", "attempt.failed", *rest] == heard.types


@every_driver
@pytest.mark.parametrize("fault", AFTER_TEXT)
async def test_fail_never_takes_text_back(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """After text, a fault ends the call, though attempts and fallbacks are left; the failure has what was delivered."""
    fallbacks = [Route(model="sim-ok"), NonStreaming()]
    async with ask(driver, provider, on_partial="fail", fallbacks=fallbacks) as client:
        heard = await client.record_stream(f"sim-{fault}@1")
    assert heard.failure is not None
    assert (PART, PART, 1, 1) == (
        heard.text,
        heard.failure.partial_text,
        len(heard.failure.attempts),
        len(provider.requests),
    )
    last = heard.events[-1]
    assert isinstance(last, AttemptFailed)
    assert None is last.next_delay


@every_driver
@every_mode
@pytest.mark.parametrize("fault", BEFORE_TEXT)
async def test_before_text_all_modes_are_one(provider: FakeProvider, driver: Driver, mode: str, fault: str) -> None:
    """A fault before the first text is tried again in each mode, and nothing needs to be taken back."""
    async with ask(driver, provider, on_partial=mode) as client:
        heard = await client.record_stream(f"sim-{fault}@1")
    rest = ["attempt.started", "content.delta", "completed"]
    assert (["attempt.started", "attempt.failed", *rest], ANSWER) == (heard.types, heard.text)


@every_driver
@every_mode
async def test_a_failure_after_text(provider: FakeProvider, driver: Driver, mode: str) -> None:
    """When the last attempt breaks too, what had come of it is in the failure, and is not called an answer."""
    async with ask(driver, provider, on_partial=mode) as client:
        heard = await client.record_stream("sim-truncated")
    assert heard.failure is not None
    assert (PART, None) == (heard.failure.partial_text, heard.result)
    assert {"restart": PART, "fail": PART, "buffer": ""}[mode] == heard.text


@every_driver
@pytest.mark.parametrize("mode", ["restart", "buffer"])
@pytest.mark.parametrize("way", ["route", "whole", "cache"])
async def test_a_fallback_after_text(provider: FakeProvider, driver: Driver, mode: str, way: str) -> None:
    """What a fallback answers takes the place of the text that came before; nothing of the two is mixed."""
    fallback = {"route": Route(model="sim-ok"), "whole": NonStreaming(), "cache": Cached()}[way]
    async with ask(driver, provider, on_partial=mode, fallbacks=[fallback]) as client:
        await client.complete(MODEL)
        provider.set_fault("cut@2")
        heard = await client.record_stream(MODEL)
    assert heard.result is not None
    degraded = {"route": "fallback", "whole": "non_streaming", "cache": "cache"}[way]
    assert (ANSWER, ANSWER, degraded) == (heard.text, heard.result.text, heard.result.degraded)
    restarts = heard.types.count("restarted")
    assert {"restart": 2, "buffer": 0}[mode] == restarts


# What is told of each chunk, if asked for


@every_driver
@pytest.mark.parametrize(("asked", "recorded_gaps"), [(False, 0), (True, 8)])
async def test_the_time_between_chunks(
    provider: FakeProvider, recorded: RecordedTelemetry, driver: Driver, asked: bool, recorded_gaps: int
) -> None:
    """Only a client that asks for it records the time per chunk: each after the first, broken attempts too."""
    metric = "gen_ai.client.operation.time_per_output_chunk"
    model = "sim-cut@1"  # three pieces of text, then seven

    def counted() -> float:
        return recorded.value(metric, gen_ai__response__model=model, gen_ai__provider__name="openai")

    before = counted()
    async with ask(driver, provider, time_per_chunk=asked) as client:
        await client.complete(model)
    assert recorded_gaps == counted() - before
